"""Who may reach whom, computed from the documents in etcd alone: what real probes in a cloud are compared with.

Uses intake and the meaning of policies, and nothing of Felix: if both agree about a packet, they agree from two sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from calico_openstack.model.endpoint import Endpoint
from calico_openstack.model.net import Net
from calico_openstack.policy.state import Packet, State
from calico_openstack.policy.verdict import Verdict, verdict
from calico_openstack.testing.oracle import state_of

PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}
ECHO = {4: (1, (8, 0)), 6: (58, (128, 0))}
EPHEMERAL = 40000
"""Any source port: policies of a cloud do not look at it."""


class Probe(NamedTuple):
    """A new flow between two ports (Neutron's ids), to the destination's first address of the family.

    `protocol` is `icmp` (an echo request), `tcp`, `udp` or `sctp`; `port` is 0 for ICMP.
    """

    source: str
    destination: str
    version: int
    protocol: str
    port: int = 0


class Answer(NamedTuple):
    """`reaches` is true if both sides allow; the verdicts say why. An absent endpoint or address reaches nothing."""

    reaches: bool
    egress: Verdict | None = None
    ingress: Verdict | None = None


def expected(documents: Mapping[str, bytes], probes: Iterable[Probe]) -> dict[Probe, Answer]:
    """What each probe should see, given everything that is stored."""
    state = state_of(documents)
    ports = {endpoint.key.endpoint: endpoint for endpoint in state.endpoints.values()}
    return {probe: _answer(state, ports, probe) for probe in probes}


def _answer(state: State, ports: Mapping[str, Endpoint], probe: Probe) -> Answer:
    sender, receiver = ports.get(probe.source), ports.get(probe.destination)
    if sender is None or receiver is None:
        return Answer(False)
    source, destination = _address(sender, probe.version), _address(receiver, probe.version)
    if source is None or destination is None:
        return Answer(False)
    return may_reach(state, sender, receiver, packet_of(probe, source, destination))


def packet_of(probe: Probe, source: Net, destination: Net) -> Packet:
    if probe.protocol == "icmp":
        number, kind = ECHO[probe.version]
        return Packet(source, destination, number, icmp=kind)
    return Packet(source, destination, PROTOCOL_NUMBERS[probe.protocol], EPHEMERAL, probe.port)


def may_reach(state: State, sender: Endpoint, receiver: Endpoint, packet: Packet) -> Answer:
    """Both sides' verdicts; a source address that is not the sender's own reaches nobody."""
    if not any(net.contains(packet.source) for net in sender.addresses):
        return Answer(False)
    outwards = verdict(state, sender, "egress", packet)
    inwards = verdict(state, receiver, "ingress", packet)
    return Answer(outwards.allowed and inwards.allowed, outwards, inwards)


def _address(endpoint: Endpoint, version: int) -> Net | None:
    own = [net for net in endpoint.addresses if net not in endpoint.allowed_pairs]
    return next((net for net in own if net.version == version), None)
