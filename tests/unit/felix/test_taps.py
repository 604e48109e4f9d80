"""Endpoints and interfaces together: what changes, and that the sum of all changes is what is wanted now."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.felix.kernel.neighbours import NeighbourKey
from calico_openstack.felix.kernel.routes import RouteKey
from calico_openstack.felix.taps import Difference, Taps
from calico_openstack.felix.wanted.host import HostRules
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import Net, parse_net
from calico_openstack.netlink.rtnl_links import Link
from calico_openstack.netlink.rtnl_routes import Route


@dataclass
class Host:
    """Taps, the links that exist, and what a kernel would have that does all it is told."""

    links: dict[str, Link] = field(default_factory=dict)
    routes: dict[RouteKey, Route] = field(default_factory=dict)
    neighbours: dict[NeighbourKey, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.taps = Taps(HostRules(), self.links.get)

    def told(self, difference: Difference) -> Difference:
        for key, route in difference.routes.items():
            self.routes.pop(key, None) if route is None else self.routes.update({key: route})
        for neighbour, mac in difference.neighbours.items():
            self.neighbours.pop(neighbour, None) if mac is None else self.neighbours.update({neighbour: mac})
        return difference

    def endpoint(self, name: str, interface: str, *addresses: str) -> Difference:
        wanted = endpoint(name, interface, *addresses)
        return self.told(self.taps.update(Changes(endpoints={wanted.key: wanted})))

    def gone(self, name: str) -> Difference:
        return self.told(self.taps.update(Changes(endpoints_removed={key(name)})))

    def link(self, interface: str, ifindex: int | None) -> Difference:
        self.links.pop(interface, None)
        if ifindex is not None:
            self.links[interface] = Link(interface, ifindex, up=True, running=True)
        return self.told(self.taps.update(Changes(), [interface]))

    def routed(self) -> dict[str, int]:
        return {route.destination.address: route.ifindex for route in self.routes.values()}


def key(name: str) -> EndpointKey:
    return EndpointKey("openstack", "h", "openstack", "vm", name)


def endpoint(name: str, interface: str, *addresses: str) -> WantedEndpoint:
    nets = tuple(parse_net(address) for address in addresses)
    return WantedEndpoint(key=key(name), interface=interface, mac="FA:16:3E:00:00:01", addresses=nets)


def released(difference: Difference) -> set[str]:
    return {net.address for net in difference.released}


def test_nothing_is_wished_for_until_both_endpoint_and_interface_are_there() -> None:
    host = Host()
    assert host.endpoint("a", "tap1", "10.0.0.1").routes == {}

    host.link("tap1", 7)

    assert host.routed() == {"10.0.0.1": 7}
    assert list(host.neighbours.items()) == [(NeighbourKey(7, parse_net("10.0.0.1")), "fa:16:3e:00:00:01")]


def test_an_interface_that_goes_takes_routes_along_but_keeps_its_flows() -> None:
    host = Host()
    host.endpoint("a", "tap1", "10.0.0.1")
    host.link("tap1", 7)

    difference = host.link("tap1", None)

    assert (host.routed(), released(difference)) == ({}, set())


def test_a_tap_with_a_new_index_is_programmed_anew() -> None:
    host = Host()
    host.endpoint("a", "tap1", "10.0.0.1")
    host.link("tap1", 7)

    difference = host.link("tap1", 9)

    assert host.routed() == {"10.0.0.1": 9}
    assert {neighbour.ifindex for neighbour in host.neighbours} == {9}
    assert released(difference) == set()


def test_an_address_that_nobody_has_any_more_loses_its_flows() -> None:
    host = Host()
    host.endpoint("a", "tap1", "10.0.0.1", "10.0.0.2")
    host.link("tap1", 7)

    assert released(host.endpoint("a", "tap1", "10.0.0.1")) == {"10.0.0.2"}
    assert released(host.gone("a")) == {"10.0.0.1"}


def test_an_endpoint_deleted_after_its_tap_loses_its_flows_as_well() -> None:
    host = Host()
    host.endpoint("a", "tap1", "10.0.0.1")
    host.link("tap1", 7)
    host.link("tap1", None)

    assert released(host.gone("a")) == {"10.0.0.1"}


def test_a_shared_address_moves_to_the_newest_tap_and_back_without_its_flows() -> None:
    host = Host()
    for name, interface, ifindex in (("a", "tap1", 7), ("b", "tap2", 9)):
        host.endpoint(name, interface, "10.0.0.100")
        last = host.link(interface, ifindex)
    assert host.routed() == {"10.0.0.100": 9}
    assert released(last) == {"10.0.0.100"}

    back = host.gone("b")

    assert host.routed() == {"10.0.0.100": 7}
    assert released(back) == {"10.0.0.100"}


def test_an_address_that_changes_hands_in_one_batch_keeps_one_route() -> None:
    host = Host()
    host.link("tap1", 7)
    host.link("tap2", 9)
    host.endpoint("a", "tap1", "10.0.0.1")
    wanted = endpoint("b", "tap2", "10.0.0.1")

    difference = host.told(host.taps.update(Changes(endpoints={wanted.key: wanted}, endpoints_removed={key("a")})))

    assert host.routed() == {"10.0.0.1": 9}
    assert released(difference) == {"10.0.0.1"}


def test_other_settings_replace_every_route() -> None:
    host = Host()
    host.link("tap1", 7)
    host.endpoint("a", "tap1", "10.0.0.1", "2001:db8::1")

    host.told(host.taps.use(HostRules(metric4=512, protocol=80)))

    assert {(route.destination.version, route.metric, route.protocol) for route in host.routes.values()} == {
        (4, 512, 80),
        (6, 1024, 80),
    }


steps = st.one_of(
    st.tuples(
        st.just("endpoint"),
        st.sampled_from("abc"),
        st.sampled_from(("tap1", "tap2", "tap3")),
        st.lists(st.sampled_from(("10.0.0.1", "10.0.0.2", "2001:db8::1", "10.9.0.0/24")), unique=True),
    ),
    st.tuples(st.just("gone"), st.sampled_from("abc")),
    st.tuples(st.just("link"), st.sampled_from(("tap1", "tap2", "tap3")), st.one_of(st.none(), st.integers(2, 30))),
)


@given(st.lists(steps, max_size=20))
def test_all_differences_together_are_what_a_fresh_start_would_want(history: list[tuple[object, ...]]) -> None:
    host = Host()
    now: dict[str, tuple[str, list[str]]] = {}
    links: dict[str, int] = {}
    for step in history:
        match step:
            case ("endpoint", str(name), str(interface), list(addresses)):
                # The graph lets one endpoint own an interface at a time.
                if any(other != name and owned == interface for other, (owned, _) in now.items()):
                    continue
                host.endpoint(name, interface, *addresses)
                now[name] = (interface, addresses)
            case ("gone", str(name)):
                host.gone(name)
                now.pop(name, None)
            case ("link", str(interface), ifindex):
                if ifindex in links.values():
                    continue
                host.link(interface, ifindex if isinstance(ifindex, int) else None)
                links.pop(interface, None)
                if isinstance(ifindex, int):
                    links[interface] = ifindex

    fresh = Host()
    for interface, ifindex in links.items():
        fresh.link(interface, ifindex)
    for name, (interface, addresses) in now.items():
        fresh.endpoint(name, interface, *addresses)
    assert host.routes == fresh.routes == host.taps.routes
    assert host.neighbours == fresh.neighbours == host.taps.neighbours
    listed: set[Net] = {parse_net(text) for _, addresses in now.values() for text in addresses}
    assert {net for net in listed if net.is_host} == {net for net in listed if host.taps.is_wanted(net)}


@given(st.permutations((7, 8, None)), st.permutations(("tap1", "tap2", "tap3")))
def test_interfaces_that_take_each_others_names_at_once_take_over_what_belongs_to_the_name(
    indexes: list[int | None], order: list[str]
) -> None:
    host = Host()
    for number, ifindex in ((1, 7), (2, 8), (3, None)):
        host.endpoint(f"e{number}", f"tap{number}", f"10.0.0.{number}", "10.0.0.9")
        host.link(f"tap{number}", ifindex)
    there = {name: Link(name, i, True, True) for name, i in zip(("tap1", "tap2", "tap3"), indexes, strict=True) if i}
    host.links.clear()
    host.links.update(there)

    host.told(host.taps.update(Changes(), order))

    own = {f"10.0.0.{name[3]}": link.ifindex for name, link in there.items()}
    assert host.routed() == own | {"10.0.0.9": 8}
    assert {(key.ifindex, key.address.address) for key in host.neighbours} == {
        (ifindex, address) for own_address, ifindex in own.items() for address in (own_address, "10.0.0.9")
    }
    assert host.routes == host.taps.routes
