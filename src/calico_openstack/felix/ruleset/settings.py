"""What the renderer must be told: the firewall's share of FelixConfiguration, checked and converted by the
caller."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from calico_openstack.model import failsafe
from calico_openstack.model.failsafe import Failsafe
from calico_openstack.model.net import Net

INET_TABLE = "calico"
BOOT_TABLE = "calico-boot"


class Service(NamedTuple):
    address: Net
    port: int


class LogRate(NamedTuple):
    """So many lines per unit, and so many at once."""

    lines: int
    unit: Literal["second", "minute", "hour", "day"]
    burst: int = 5


class RulesetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Upstream parameter names in brackets.

    `tap_prefixes` [InterfacePrefix]: interfaces with such a name belong to guests, and pass nothing unless
    an endpoint owns them. `endpoint_to_host` [DefaultEndpointToHostAction]: for packets to the host that
    the guest's egress policy allows. `deny` [NftablesFilterDenyAction]. `dhcp`, `dns`: guests may ask the
    host (upstream: always in OpenStack). `metadata` [MetadataAddr, MetadataPort]: destination of
    169.254.169.254:80, None for no translation. `metadata_proxy`: our own proxy listens on
    169.254.169.254:80 and [fe80::a9fe:a9fe]:80 instead. `allow_vxlan` [AllowVXLANPacketsFromWorkloads],
    `allow_ipip` [AllowIPIPPacketsFromWorkloads], `vxlan_port` [VXLANPort], `drop_invalid` [not
    DisableConntrackInvalidCheck], `log_prefix` [LogPrefix], `log_rate` [LogActionRateLimit and -Burst].

    For packets from a pool with natOutgoing to the outside: `nat_address` [NATOutgoingAddress] instead of the
    interface's, for its family; `nat_ports` [NATPortRange]; `nat_interface` [IptablesNATOutgoingInterfaceFilter],
    where a final `+` stands for any rest; `nat_excludes_hosts` [NATOutgoingExclusions]. `floating_source`: a guest
    with a floating IP has it as source outside all pools (upstream: its fixed one); without pools in effect nowhere,
    because then nobody says what is outside. `limit_floods`: bounds for what guests ask of the host (`floods`).

    For host endpoints: `mark` [NftablesMarkMask, its lowest bit]: on packets that an early policy has allowed; the next
    higher bit is used, too. `failsafe_in`, `failsafe_out` [FailsafeInboundHostPorts, FailsafeOutboundHostPorts]: what
    policies cannot close.
    """

    tap_prefixes: tuple[str, ...] = ("tap",)
    endpoint_to_host: Literal["drop", "accept", "return"] = "drop"
    deny: Literal["drop", "reject"] = "drop"
    dhcp: bool = True
    dns: bool = True
    metadata: Service | None = None
    metadata_proxy: bool = False
    allow_vxlan: bool = False
    allow_ipip: bool = False
    vxlan_port: int = 4789
    drop_invalid: bool = True
    log_prefix: str = "calico-packet"
    log_rate: LogRate | None = None
    nat_address: Net | None = None
    nat_ports: tuple[int, int] | None = None
    nat_interface: str = ""
    nat_excludes_hosts: bool = False
    floating_source: bool = False
    limit_floods: bool = True
    mark: int = 0x10000
    failsafe_in: tuple[Failsafe, ...] = failsafe.INBOUND
    failsafe_out: tuple[Failsafe, ...] = failsafe.OUTBOUND

    def is_tap(self, interface: str) -> bool:
        return interface.startswith(self.tap_prefixes)
