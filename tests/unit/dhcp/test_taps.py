from calico_openstack.dhcp.tap_addresses import TapAddress
from calico_openstack.dhcp.taps import changes
from calico_openstack.model.net import host_net
from calico_openstack.netlink.rtnl_links import Link

GATEWAY4, GATEWAY6 = TapAddress(host_net("10.65.0.1"), 32), TapAddress(host_net("2001:db8::1"), 64)
OLD = TapAddress(host_net("10.65.0.2"), 32)


def test_only_what_differs_is_touched() -> None:
    links = {"tapa": Link("tapa", 7, True, True), "tapb": Link("tapb", 8, True, True)}
    wanted = {"tapa": frozenset({GATEWAY4, GATEWAY6}), "tapc": frozenset({GATEWAY4})}

    found = changes(wanted, links, {7: frozenset({GATEWAY4, OLD}), 8: frozenset({GATEWAY4})})

    assert [(one.address, one.length, one.ifindex) for one in found.add] == [(GATEWAY6.address, 64, 7)]
    assert [(one.address, one.ifindex) for one in found.remove] == [(OLD.address, 7), (GATEWAY4.address, 8)]


def test_taps_that_are_right_need_nothing() -> None:
    links = {"tapa": Link("tapa", 7, True, True)}

    assert changes({"tapa": frozenset({GATEWAY4})}, links, {7: frozenset({GATEWAY4})}) == ((), ())
