"""What the kernel still tells of a former process: each sign by itself."""

from types import SimpleNamespace
from typing import Any

import msgspec

from calico_openstack.felix.former import Former, Sender, former
from calico_openstack.felix.kernel.neighbours import NeighbourKey
from calico_openstack.felix.kernel.routes import RouteKey
from calico_openstack.felix.ruleset.difference import as_read
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import Changes, Wanted, WantedEndpoint
from calico_openstack.model.endpoint import EndpointKey, Nat
from calico_openstack.model.net import host_net, parse_net
from calico_openstack.netlink.rtnl_routes import device_route

MAC, OTHER_MAC = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"
OWN, GONE, NETWORK, FLOATING = (
    host_net("10.0.0.1"),
    host_net("10.0.0.2"),
    parse_net("10.0.9.0/24"),
    host_net("192.0.2.9"),
)
RIGHT = RouteKey(7, OWN, 0)
KEY = EndpointKey("openstack", "h", "openstack", "vm", "a")
ENDPOINT = WantedEndpoint(key=KEY, interface="tapa", mac=MAC, addresses=(OWN,))
TAPS: Any = SimpleNamespace(
    owners={"tapa": ENDPOINT},
    programmed={"tapa": SimpleNamespace(ifindex=7)},
    routes={RIGHT: device_route(OWN, 7, metric=0)},
    neighbours={NeighbourKey(7, OWN): MAC},
)


def routes(*keys: RouteKey) -> dict[RouteKey, Any]:
    return {key: device_route(key.destination, key.ifindex, metric=key.metric) for key in keys}


def test_a_route_to_elsewhere_tells_of_an_address_and_another_metric_or_a_network_does_not() -> None:
    found = routes(RouteKey(8, GONE, 0), RouteKey(7, OWN, 100), RouteKey(8, NETWORK, 0))

    assert Former().released(TAPS, found, {}) == {GONE}


def test_a_neighbour_that_nobody_wants_or_with_another_mac_tells_of_an_address() -> None:
    found = {NeighbourKey(7, OWN): OTHER_MAC, NeighbourKey(8, GONE): MAC}

    assert Former().released(TAPS, {}, found) == {OWN, GONE}
    assert Former().released(TAPS, {}, {NeighbourKey(7, OWN): MAC}) == set()


def test_a_sender_that_is_none_any_more_tells_of_its_address_unless_the_route_is_right_already() -> None:
    def released(sender: Sender, *present: RouteKey) -> set[Any]:
        return Former(frozenset((sender,))).released(TAPS, routes(*present), {})

    assert released(Sender("tapa", MAC, OWN)) == set()
    assert released(Sender("tapa", OTHER_MAC, OWN)) == {OWN}
    assert released(Sender("tapa", MAC, GONE)) == {GONE}
    assert released(Sender("tapb", MAC, OWN)) == {OWN}
    assert released(Sender("tapb", MAC, OWN), RIGHT) == set()


def test_of_two_that_have_an_address_the_one_that_is_not_to_get_the_route_may_have_had_it() -> None:
    both: Any = SimpleNamespace(**vars(TAPS))
    both.owners = {"tapa": ENDPOINT, "tapb": WantedEndpoint(key=KEY, interface="tapb", mac=MAC, addresses=(OWN,))}

    assert Former(frozenset((Sender("tapb", MAC, OWN),))).released(both, {}, {}) == {OWN}
    assert Former(frozenset((Sender("tapa", MAC, OWN),))).released(both, {}, {}) == set()


def test_a_floating_ip_of_the_firewall_or_of_a_neighbour_is_gone_unless_it_is_wanted() -> None:
    nat = Nat(OWN, FLOATING)

    assert Former(nats=frozenset((nat,))).nats_gone(Wanted(), TAPS, {}) == {nat}
    assert Former().nats_gone(Wanted(), TAPS, {NeighbourKey(7, FLOATING): MAC}) == {nat}
    kept = WantedEndpoint(key=KEY, interface="tapa", mac=MAC, addresses=(OWN,), nats=(nat,))
    assert Former(nats=frozenset((nat,))).nats_gone(Wanted(endpoints={KEY: kept}), TAPS, {}) == set()


def test_the_firewall_tells_who_might_send_from_an_address_with_a_mac_or_with_any() -> None:
    own6 = host_net("2001:db8::1")
    known = msgspec.structs.replace(ENDPOINT, addresses=(OWN, own6, NETWORK))
    any_mac = msgspec.structs.replace(
        known, key=KEY._replace(endpoint="b"), interface="tapb", mac=None, addresses=(GONE, NETWORK)
    )
    renderer = RulesetRenderer(RulesetSettings())
    renderer.apply(Changes(endpoints={one.key: one for one in (known, any_mac)}))

    assert former(as_read(renderer.full())).senders == {
        Sender("tapa", MAC, OWN),
        Sender("tapa", MAC, own6),
        Sender("tapb", None, GONE),
    }


def test_whoever_might_send_with_any_mac_is_none_any_more_when_the_endpoint_has_one() -> None:
    anonymous = Former(frozenset((Sender("tapa", None, OWN),)))
    nameless: Any = SimpleNamespace(**vars(TAPS))
    nameless.owners = {"tapa": msgspec.structs.replace(ENDPOINT, mac=None)}

    assert anonymous.released(TAPS, {}, {}) == {OWN}
    assert anonymous.released(nameless, {}, {}) == set()
