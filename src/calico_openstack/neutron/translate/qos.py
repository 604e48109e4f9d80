"""Neutron's QoS rules as `qosControls`, in upstream's form and with upstream's clamps.

`max_burst_kbps` becomes the *peak rate* and the burst size is an option of the deployment: that is how upstream reads
it, and a shared etcd must not be rewritten back and forth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from calico_openstack.neutron.translate.site import QosDefaults

DEFAULT_BURST_BITS: Final = 4294967296
DEFAULT_BURST_PACKETS: Final = 5


def qos_controls(rules: Iterable[Mapping[str, Any]], defaults: QosDefaults) -> dict[str, int]:
    """`rules`: dicts with `rule_type` (`bandwidth_limit`, `packet_rate_limit`; others are skipped), `direction` and
    limits.

    Units: bit/s, bit, byte, packet/s, packet, connections. Empty when nothing is limited.
    """
    controls: dict[str, int] = {}
    for rule in rules:
        direction = rule.get("direction") or "egress"
        if rule.get("rule_type") == "bandwidth_limit":
            _bandwidth(controls, direction, rule, defaults)
        elif rule.get("rule_type") == "packet_rate_limit":
            _packet_rate(controls, direction, rule, defaults)
    for direction in ("ingress", "egress"):
        connections = getattr(defaults, f"max_{direction}_connections_per_port")
        if connections:
            controls[f"{direction}MaxConnections"] = _clamp(connections, 1, 4294967295)
    return controls


def _bandwidth(controls: dict[str, int], direction: str, rule: Mapping[str, Any], defaults: QosDefaults) -> None:
    rate, peak = rule.get("max_kbps") or 0, rule.get("max_burst_kbps") or 0
    if rate:
        controls[f"{direction}Bandwidth"] = _clamp(rate * 1000, 1000, 10**15)
        burst = getattr(defaults, f"{direction}_burst_bits") or DEFAULT_BURST_BITS
        controls[f"{direction}Burst"] = _clamp(burst, 1000, 34359738360)
    if peak:
        controls[f"{direction}Peakrate"] = _clamp(peak * 1000, 1010, 10**15 + 10**13)
    minburst = getattr(defaults, f"{direction}_minburst_bytes")
    if rate and peak and minburst:
        controls[f"{direction}Minburst"] = _clamp(minburst, 1000, 10**8)


def _packet_rate(controls: dict[str, int], direction: str, rule: Mapping[str, Any], defaults: QosDefaults) -> None:
    rate = rule.get("max_kpps") or 0
    if rate:
        controls[f"{direction}PacketRate"] = _clamp(rate * 1000, 1, 10**4)
        burst = getattr(defaults, f"{direction}_burst_packets") or DEFAULT_BURST_PACKETS
        controls[f"{direction}PacketBurst"] = _clamp(burst, 1, 10**4)


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))
