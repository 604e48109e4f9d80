"""What this host's taps should have now: endpoints and interfaces brought together.

    endpoints (Changes) ──┐
                          ├──► per interface: wishes, if it carries and has an owner ──► routes, neighbours, sysctls
    links ────────────────┘

Knows wishes only, no kernel: `update` tells which interfaces are to be looked at, which keys of the route and neighbour
targets changed, which addresses are released and must lose their flows, which
have departed with their guest, which endpoints have got a network with flows that another let in, and for which
interfaces `watch` may have another answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from calico_openstack.felix.kernel.neighbours import NeighbourKey
from calico_openstack.felix.kernel.routes import RouteKey, key_of
from calico_openstack.felix.wanted.host import NOTHING, HostRules, HostWants, host_wants
from calico_openstack.felix.wanted.migration import Phase
from calico_openstack.felix.wanted.route_claims import RouteClaims
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint
from calico_openstack.felix.wanted.watch import Watch
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import Net
from calico_openstack.netlink.rtnl_links import Link
from calico_openstack.netlink.rtnl_routes import Route, device_route


class Programmed(NamedTuple):
    """What an interface has, or is about to get."""

    ifindex: int
    wants: HostWants


@dataclass(slots=True)
class Difference:
    """What an update changed. A value None means: not wanted any more."""

    interfaces: set[str] = field(default_factory=set)
    routes: dict[RouteKey, Route | None] = field(default_factory=dict)
    neighbours: dict[NeighbourKey, str | None] = field(default_factory=dict)
    released: set[Net] = field(default_factory=set)
    departed: set[Net] = field(default_factory=set)
    inherited: dict[EndpointKey, set[Net]] = field(default_factory=dict)
    watched: set[str] = field(default_factory=set)

    def merge(self, later: Difference) -> None:
        """As if `later` had happened at the same time."""
        self.interfaces |= later.interfaces
        self.routes.update(later.routes)
        self.neighbours.update(later.neighbours)
        self.released |= later.released
        self.departed |= later.departed
        for key, nets in later.inherited.items():
            self.inherited.setdefault(key, set()).update(nets)
        self.watched |= later.watched


class Taps:
    """`carrying(name)` gives the interface if it is there and carries, `phase` how far the live migration of an
    endpoint is, `has_departed` whether the guest of one that was removed lives on elsewhere."""

    def __init__(
        self,
        rules: HostRules,
        carrying: Callable[[str], Link | None],
        phase: Callable[[EndpointKey], Phase] = lambda key: Phase.BASE,
        has_departed: Callable[[EndpointKey], bool] = lambda key: False,
    ) -> None:
        self.rules = rules
        self._carrying = carrying
        self._phase = phase
        self._has_departed = has_departed
        self.owners: dict[str, WantedEndpoint] = {}
        self.programmed: dict[str, Programmed] = {}
        self.routes: dict[RouteKey, Route] = {}
        self.neighbours: dict[NeighbourKey, str] = {}
        self._endpoints: dict[EndpointKey, WantedEndpoint] = {}
        self._claims = RouteClaims()
        self._listed: Counter[Net] = Counter()
        self._awarded: dict[Net, Route] = {}
        self._holders: dict[Net, str] = {}
        self._names: dict[int, str] = {}
        self._recalled = False
        self._unsettled: set[Net] = set()

    def update(self, changes: Changes, interfaces: Iterable[str] = ()) -> Difference:
        """Take in changed endpoints and interfaces whose link changed."""
        difference = Difference(interfaces=set(interfaces))
        for key in changes.endpoints_removed:
            self._own(key, None, difference)
        for key, endpoint in changes.endpoints.items():
            self._own(key, endpoint, difference)
        # One may have got the index of another: first let go what was, then take what is.
        for interface in difference.interfaces:
            self._leave(interface, difference)
        for interface in difference.interfaces:
            self._look(interface, difference)
        difference.watched |= difference.interfaces
        self._settle(difference)
        if self._recalled:
            self._claims.forget({net for owner in self.owners.values() for net in owner.allowed_pairs}.__contains__)
            self._recalled = False
        return difference

    def use(self, rules: HostRules) -> Difference:
        """Other settings: wish for everything anew."""
        routes, neighbours = self.routes, self.neighbours
        winners = {net: route.ifindex for net, route in self._awarded.items()}
        self.routes, self.neighbours, self.programmed, self._claims = {}, {}, {}, RouteClaims()
        self._awarded = {}
        self.found(winners)
        self.rules = rules
        difference = self.update(Changes(), self.owners)
        difference.routes.update((key, None) for key in routes if key not in self.routes)
        difference.neighbours.update((key, None) for key in neighbours if key not in self.neighbours)
        return difference

    def found(self, holders: Mapping[Net, int]) -> None:
        """Who has which prefix as a former process left it, to be told before the first update."""
        self._recalled = True
        for net, ifindex in holders.items():
            self._claims.prefer(net, ifindex)

    def claimed(self, interface: str, nets: Iterable[Net]) -> Difference:
        """The guest behind that interface says that these addresses are its now. Others' addresses do not count."""
        difference = Difference()
        programmed = self.programmed.get(interface)
        for net in nets if programmed is not None else ():
            assert programmed is not None
            before, ifindex = self._claims.winner(net), programmed.ifindex
            if self._claims.claims(ifindex, net) and not self._claims.is_preferred(net, ifindex):
                self._claims.prefer(net, ifindex)
                self._award(net, difference)
                if before is not None and before != ifindex:
                    difference.interfaces |= {interface, self._names[before]}
        self._settle(difference)
        return difference

    def watch(self, interface: str) -> Watch | None:
        """What the guest may tell about itself that would change something; None if nothing would."""
        programmed, owner = self.programmed.get(interface), self.owners.get(interface)
        if programmed is None or owner is None:
            return None
        arriving = self._phase(owner.key) is Phase.TARGET
        watch = Watch(
            mac=owner.mac,
            arriving=tuple(net for net in owner.addresses if net.is_host) if arriving else None,
            claimable=tuple(sorted(self._claimable(programmed.ifindex, owner))),
        )
        return watch if watch else None

    def _claimable(self, ifindex: int, owner: WantedEndpoint) -> Iterator[Net]:
        """What the guest could claim with an effect: what another has; and what it has itself, but never claimed, so
        that a newer interface would get it. A fixed address is claimable only if another wants it too."""
        for net in self._claims.wanted(ifindex):
            shared = net in owner.allowed_pairs or self._claims.is_disputed(net)
            if net.is_host and shared and not self._claims.is_preferred(net, ifindex):
                yield net

    def is_wanted(self, net: Net) -> bool:
        """Whether a local endpoint lists the address, be its interface there or not."""
        return net.is_host and self._listed[net] > 0

    def awarded(self, net: Net) -> Route | None:
        """The route that exactly this prefix is to have."""
        return self._awarded.get(net)

    def is_routed(self, net: Net) -> bool:
        """Whether an interface is to have a route for exactly this prefix."""
        return self._claims.winner(net) is not None

    def has_claims(self, ifindex: int) -> bool:
        """Whether routes of others on that interface are known to be wrong: its endpoint has or waits for its own."""
        if self._claims.wants(ifindex):
            return True
        owner = self.owners.get(self._names.get(ifindex, ""))
        return owner is not None and self._phase(owner.key) is Phase.TARGET

    def claims(self, ifindex: int, net: Net) -> bool:
        """Whether the endpoint behind that interface has the address, be its route there or at another's."""
        return self._claims.claims(ifindex, net)

    def expected_routes(self, interface: str) -> set[Route]:
        """The routes that the kernel must have before the interface's endpoint is up."""
        programmed = self.programmed.get(interface)
        if programmed is None:
            return set()
        return {self._route(net, programmed.ifindex) for net in self._claims.won(programmed.ifindex)}

    def _own(self, key: EndpointKey, endpoint: WantedEndpoint | None, difference: Difference) -> None:
        before = self._endpoints.pop(key, None)
        if endpoint is not None:
            self._endpoints[key] = endpoint
            self._listed.update(_addresses(endpoint))
            difference.interfaces.add(endpoint.interface)
        if before is not None:
            self._listed.subtract(_addresses(before))
            difference.interfaces.add(before.interface)
            if self.owners.get(before.interface) is before:
                del self.owners[before.interface]
            for net in _addresses(before):
                if not self._listed[net]:
                    del self._listed[net]
                    if self._holders.pop(net, None) is not None and net.is_host:
                        (difference.departed if self._has_departed(key) else difference.released).add(net)
        if endpoint is not None:
            self.owners[endpoint.interface] = endpoint

    def _leave(self, interface: str, difference: Difference) -> None:
        """Nothing is wanted any more of an interface that is gone, has no owner, or is another one now."""
        before, link = self.programmed.get(interface), self._carrying(interface)
        if before is None or (interface in self.owners and link is not None and link.ifindex == before.ifindex):
            return
        del self.programmed[interface]
        self._replace(before.ifindex, before.wants, NOTHING, difference)
        del self._names[before.ifindex]

    def _look(self, interface: str, difference: Difference) -> None:
        """Compare what an interface has with what it should have now."""
        owner, link = self.owners.get(interface), self._carrying(interface)
        if owner is None or link is None:
            return
        before = self.programmed.get(interface)
        wants = host_wants(owner, self.rules, self._phase(owner.key))
        self.programmed[interface] = Programmed(link.ifindex, wants)
        self._names[link.ifindex] = interface
        self._replace(link.ifindex, before.wants if before else NOTHING, wants, difference)

    def _replace(self, ifindex: int, before: HostWants, after: HostWants, difference: Difference) -> None:
        wanted = dict(after.neighbours)
        for address, _ in before.neighbours:
            if address not in wanted:
                self.neighbours.pop(NeighbourKey(ifindex, address), None)
                difference.neighbours[NeighbourKey(ifindex, address)] = None
        for address, mac in wanted.items():
            key = NeighbourKey(ifindex, address)
            self.neighbours[key] = difference.neighbours[key] = mac.lower()
        self._claims.claim(ifindex, after.routes)
        for net in {*before.routes, *after.routes}:
            self._award(net, difference)

    def _award(self, net: Net, difference: Difference) -> None:
        """Give the prefix to whom it belongs now."""
        was, winner = self._awarded.pop(net, None), self._claims.winner(net)
        route = self._route(net, winner) if winner is not None else None
        if was is not None and (route is None or key_of(was) != key_of(route)):
            self.routes.pop(key_of(was), None)
            difference.routes[key_of(was)] = None
        if route is not None:
            self._awarded[net] = self.routes[key_of(route)] = difference.routes[key_of(route)] = route
        self._unsettled.add(net)
        difference.watched.update(self._names[ifindex] for ifindex in self._claims.claimants(net))

    def _settle(self, difference: Difference) -> None:
        """A prefix that has moved to another interface must not take its flows along. Only the end of an update
        counts: on the way to it several may have had the prefix. Of a network, all flows would be too many (it may be
        0.0.0.0/0): those that the new holder does not allow."""
        for net in self._unsettled:
            route = self._awarded.get(net)
            if route is not None:
                before, after = self._holders.get(net), self._names[route.ifindex]
                self._holders[net] = after
                if before is not None and before != after and net.is_host:
                    difference.released.add(net)
                elif before is not None and before != after:
                    difference.inherited.setdefault(self.owners[after].key, set()).add(net)
        self._unsettled.clear()

    def _route(self, net: Net, ifindex: int) -> Route:
        rules = self.rules
        return device_route(
            net,
            ifindex,
            metric=rules.metric(net.version, self.programmed[self._names[ifindex]].wants.elevated),
            protocol=rules.protocol,
            source=rules.source(net.version),
        )


def _addresses(endpoint: WantedEndpoint) -> set[Net]:
    return {*endpoint.addresses, *(nat.external for nat in endpoint.nats)}
