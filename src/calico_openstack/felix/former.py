"""What a former process left undone, as far as the kernel still tells: flows that it was to end before it died.

A process that removes an address or a floating IP, or moves one, ends its flows before its neighbour entry and before
a new route. So an entry or a route that contradicts what is wanted, and a sender that the firewall listed before its
first transaction, mean flows that may still be there. Ending those of an address that has none is harmless.

Not told by anything, if the process died between the transaction and the end of the flows: an address whose tap is gone
as well, or that had no MAC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from calico_openstack.felix.kernel.neighbours import NeighbourKey
from calico_openstack.felix.kernel.routes import RouteKey
from calico_openstack.felix.ruleset import named_sets
from calico_openstack.felix.ruleset.difference import Actual
from calico_openstack.felix.taps import Taps
from calico_openstack.felix.wanted.state import Wanted
from calico_openstack.model.endpoint import Nat
from calico_openstack.model.net import Net
from calico_openstack.netlink.rtnl_routes import Route

_NAME, _MAC = slice(0, 16), slice(16, 22)
_ADDRESS = 24
"""Places in a key of the sets of senders: interface, MAC (padded to 8), address."""


class Sender(NamedTuple):
    """Who was allowed to send from an address; without a MAC: whoever is behind that interface."""

    interface: str
    mac: str | None
    address: Net


class Former(NamedTuple):
    """What the firewall said before this process touched it."""

    senders: frozenset[Sender] = frozenset()
    nats: frozenset[Nat] = frozenset()

    def released(
        self, taps: Taps, routes: Mapping[RouteKey, Route], neighbours: Mapping[NeighbourKey, str]
    ) -> set[Net]:
        """Addresses that somebody had who has them no more. `routes` and `neighbours` are what the kernel has."""
        right = {key.destination for key in routes if key in taps.routes}
        # Another metric to the same tap is the same owner's route.
        ways = {(key.ifindex, key.destination) for key in taps.routes}
        found = {key.destination for key in routes if (key.ifindex, key.destination) not in ways}
        found = {net for net in found if net.is_host}
        found |= {key.address for key, mac in neighbours.items() if taps.neighbours.get(key) != mac}
        names = {programmed.ifindex: name for name, programmed in taps.programmed.items()}
        heirs = {key.destination: names.get(key.ifindex, "") for key in taps.routes}
        for sender in self.senders:
            owner = taps.owners.get(sender.interface)
            has = owner is not None and sender.address in owner.addresses and owner.mac in (None, sender.mac)
            # Of several that have it, another is about to get the route than perhaps had it.
            has = has and heirs.get(sender.address, sender.interface) == sender.interface
            if not has and sender.address not in right:
                found.add(sender.address)
        return found

    def nats_gone(self, wanted: Wanted, taps: Taps, neighbours: Mapping[NeighbourKey, str]) -> set[Nat]:
        """Floating IPs that are no more: those of the firewall, and each neighbour that nobody wants may have been one
        of any address of that tap's endpoint."""
        names = {programmed.ifindex: name for name, programmed in taps.programmed.items()}
        found = set(self.nats)
        for key in neighbours.keys() - taps.neighbours.keys():
            owner = taps.owners.get(names.get(key.ifindex, ""))
            inside = owner.addresses if owner is not None else ()
            found.update(Nat(net, key.address) for net in inside if net.is_host and net.version == key.address.version)
        return found - {nat for endpoint in wanted.endpoints.values() for nat in endpoint.nats}


def former(actual: Actual) -> Former:
    """From what was read back."""
    table = actual.get(named_sets.INET)
    if table is None:
        return Former()
    senders, nats = set(), set()
    for version in (4, 6):
        if named_sets.SOURCES[version].name in table.sets:
            for key in table.sets[named_sets.SOURCES[version].name].elements:
                if isinstance(key, bytes):
                    senders.add(_sender(version, key, key[_MAC].hex(":")))
        if named_sets.SOURCES_WIDE[version].name in table.sets:
            for key in table.sets[named_sets.SOURCES_WIDE[version].name].elements:
                if isinstance(key, tuple) and key[0][_ADDRESS:] == key[1][_ADDRESS:]:
                    senders.add(_sender(version, key[0], None))
        if named_sets.FLOATING[version].name in table.sets:
            for key, internal in table.sets[named_sets.FLOATING[version].name].elements.items():
                if isinstance(key, bytes) and isinstance(internal, bytes):
                    nats.add(Nat(_net(version, internal), _net(version, key)))
    return Former(frozenset(senders), frozenset(nats))


def _sender(version: int, key: bytes, mac: str | None) -> Sender:
    return Sender(key[_NAME].rstrip(b"\0").decode(errors="replace"), mac, _net(version, key[_ADDRESS:]))


def _net(version: int, packed: bytes) -> Net:
    return Net(version, int.from_bytes(packed, "big"), 32 if version == 4 else 128)
