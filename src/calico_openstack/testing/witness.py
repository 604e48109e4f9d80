"""Watches a kernel in memory after each operation: does a packet pass, or a flow live on, that should not?

    passing   a new packet from a tap or from outside is walked through the ruleset and the routes as they are at this
              moment. If it gets through, the state before the batch or the state after it must let exactly this
              packet through: its sender may use that source, its receiver has that address, both policies allow it.
    handed    an established flow must not lead to another tap than the one with which it was made.
    at rest   no flow is left that the new state does not allow; none is missing that old and new allow, and whose ends
              are where they were.

The meaning of a state is `ruleset.meaning`, not the ruleset.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from calico_openstack.felix.ruleset import fields, meaning, walk
from calico_openstack.felix.ruleset.difference import as_read
from calico_openstack.felix.ruleset.meaning import Flow
from calico_openstack.felix.ruleset.objects import Ruleset
from calico_openstack.felix.wanted.state import Wanted, WantedEndpoint
from calico_openstack.model.endpoint import Nat
from calico_openstack.model.net import Net
from calico_openstack.netlink.conntrack import Ends, Tracked
from calico_openstack.testing.fake_kernel import FakeKernel

UPLINK = "eth0"
_T = TypeVar("_T")


class Probe(NamedTuple):
    """A first packet: where it comes in, from which MAC, and its flow as its sender writes it."""

    interface: str
    mac: str
    flow: Flow


class Arrival(NamedTuple):
    """What became of a probe that got through: by which interface it left, and its flow after translation."""

    interface: str
    flow: Flow


class Witness:
    """Of one history; answers are remembered, since its lives repeat each other."""

    def __init__(self, is_tap: Callable[[str], bool]) -> None:
        self._is_tap = is_tap
        self._known: dict[Hashable, object] = {}
        self._rulesets: dict[int, tuple[Ruleset, Hashable]] = {}

    def passing(self, kernel: FakeKernel, probes: Iterable[Probe]) -> list[tuple[Probe, Arrival]]:
        """The probes that get through now, and how."""
        identity = self._identity(kernel.ruleset)
        return [(probe, arrival) for probe in probes if (arrival := self._arrival(kernel, identity, probe)) is not None]

    def _arrival(self, kernel: FakeKernel, identity: Hashable, probe: Probe) -> Arrival | None:
        flow = self._once(("in", identity, probe), lambda: _arriving(kernel.ruleset, probe))
        if flow is None:
            return None
        way = kernel.way_to(flow.destination) or UPLINK
        passes = self._once(("through", identity, probe, way), lambda: _gets_through(kernel.ruleset, probe, way))
        return Arrival(way, flow) if passes else None

    def allowed(self, name: Hashable, state: Wanted, probe: Probe, arrival: Arrival) -> bool:
        """Does the state (with this name) let the probe through to there?"""
        return self._once(("allowed", name, probe, arrival), lambda: self._allowed(state, probe, arrival))

    def _allowed(self, state: Wanted, probe: Probe, arrival: Arrival) -> bool:
        owners = {endpoint.interface: endpoint for endpoint in state.endpoints.values()}
        flow = arrival.flow
        if probe.flow.destination != flow.destination:
            pair = Nat(flow.destination, probe.flow.destination)
            if not any(pair in endpoint.nats for endpoint in owners.values()):
                return False
        if self._is_tap(probe.interface):
            sender = owners.get(probe.interface)
            if sender is None or (sender.mac and sender.mac != probe.mac):
                return False
            sources = (*sender.addresses, *sender.allowed_pairs, *sender.spoof)
            if not _within(flow.source, sources) or not meaning.allows(state, sender, "egress", flow):
                return False
        if not self._is_tap(arrival.interface):
            return True
        receiver = owners.get(arrival.interface)
        if receiver is None or not _within(flow.destination, receiver.addresses):
            return False
        return meaning.allows(state, receiver, "ingress", flow)

    def _identity(self, ruleset: Ruleset) -> Hashable:
        """Equal rulesets of different lives are one."""
        if id(ruleset) not in self._rulesets:
            self._rulesets[id(ruleset)] = ruleset, hash(repr(sorted(as_read(ruleset).items())))
        return self._rulesets[id(ruleset)][1]

    def _once(self, key: Hashable, answer: Callable[[], _T]) -> _T:
        if key not in self._known:
            self._known[key] = answer()
        return self._known[key]  # type: ignore[return-value]


def probes_of(states: Sequence[Wanted], kinds: Sequence[Flow], others: Sequence[Net], mac: str) -> list[Probe]:
    """From every tap and from outside, to every address that anybody has; `kinds` lend protocol and ports.

    A tap's packets come from the addresses that it has in one of the states, and from one that it has not; with the
    MACs of either. What comes from outside comes from `others`.
    """
    taps: dict[str, tuple[set[Net], set[str]]] = {}
    everybody: set[Net] = set()
    for state in states:
        for endpoint in state.endpoints.values():
            own, macs = taps.setdefault(endpoint.interface, (set(), set()))
            hosts = {net for net in (*endpoint.addresses, *endpoint.allowed_pairs) if net.is_host}
            own |= hosts
            macs.add(endpoint.mac or mac)
            everybody |= hosts | {nat.external for nat in endpoint.nats}
    senders = [(UPLINK, mac, net) for net in others]
    for tap, (own, macs) in taps.items():
        strange = sorted(everybody - own)[:1]
        senders += [(tap, one, net) for one in sorted(macs) for net in (*sorted(own), *strange)]
    return [
        Probe(interface, one, Flow(source, destination, kind.protocol, kind.ports, kind.icmp))
        for interface, one, source in senders
        for destination in sorted(everybody | set(others))
        if destination.version == source.version and destination != source
        for kind in kinds
        if kind.protocol not in (1, 58) or (kind.protocol == 1) == (source.version == 4)
    ]


def tracked(probe: Probe, arrival: Arrival) -> Tracked:
    """The flow that the kernel tracks when a probe got through."""
    first, last = probe.flow, arrival.flow
    ports = (last.ports[1], last.ports[0]) if last.ports else None
    original = Ends(first.source, first.destination, first.protocol, first.ports, first.icmp)
    icmp = {8: 0, 128: 129}
    back = (icmp.get(last.icmp[0], last.icmp[0]), last.icmp[1]) if last.icmp else None
    return Tracked(original, Ends(last.destination, last.source, last.protocol, ports, back))


def holder(kernel: FakeKernel, address: Net) -> str:
    """The tap to which the kernel has a route of just this address; empty if there is none."""
    found = (route for route in kernel.routes.values() if route.destination == address)
    return next((kernel.name_of(route.ifindex) for route in found), "")


def local_ends(state: Wanted, flow: Tracked) -> list[tuple[WantedEndpoint, bool]]:
    """The endpoints here that have one of the flow's ends; whether as its sender."""
    found = []
    for endpoint in state.endpoints.values():
        for net, sends in ((flow.original.source, True), (flow.reply.source, False)):
            if _within(net, endpoint.addresses):
                found.append((endpoint, sends))
    return found


def _within(address: Net, nets: Iterable[Net]) -> bool:
    return any(net.contains(address) for net in nets)


def _packet(probe: Probe) -> walk.Packet:
    flow = probe.flow
    return walk.packet(
        flow.source,
        flow.destination,
        flow.protocol,
        ports=flow.ports,
        icmp=flow.icmp,
        source_mac=probe.mac,
        in_interface=probe.interface,
    )


def _arriving(ruleset: Ruleset, probe: Probe) -> Flow | None:
    done = walk.walk(ruleset, _packet(probe), "prerouting")
    if done.result == "drop":
        return None
    return replace(probe.flow, destination=_destination(done.packet, probe.flow.destination))


def _gets_through(ruleset: Ruleset, probe: Probe, way: str) -> bool:
    return walk.forwarded(ruleset, replace(_packet(probe), out_interface=way)).result == "accept"


def _destination(packet: walk.Packet, before: Net) -> Net:
    place = fields.DESTINATION[before.version].where
    length = before.length
    return Net(before.version, int.from_bytes(packet.network[place : place + length // 8], "big"), length)
