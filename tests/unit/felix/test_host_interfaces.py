"""Which host endpoint is in force where, and when the host's addresses are listed for it."""

from collections.abc import Iterable

from structlog.testing import capture_logs

from calico_openstack.felix.own_interfaces import OwnInterfaces
from calico_openstack.felix.wanted.host_interfaces import in_force
from calico_openstack.felix.wanted.state import Changes, Wanted, WantedHostEndpoint
from calico_openstack.model.net import Net, host_net
from calico_openstack.netlink.rtnl_addresses import Address

HERE, THERE = host_net("192.0.2.1"), host_net("192.0.2.2")


def endpoint(name: str, interface: str = "", *addresses: Net) -> WantedHostEndpoint:
    return WantedHostEndpoint(name=name, interface=interface, addresses=addresses)


def resolved(*endpoints: WantedHostEndpoint) -> dict[str, str]:
    addresses = {"eth0": {HERE}, "eth1": {THERE}, "tap1": {HERE}}
    return in_force(endpoints, addresses, lambda name: name.startswith("tap"))


def test_a_name_is_stronger_than_an_address_and_the_first_of_several_counts() -> None:
    assert resolved(endpoint("b", "eth0"), endpoint("a", "", HERE, THERE), endpoint("c", "eth0")) == {
        "eth0": "b",
        "eth1": "a",
    }


def test_one_for_all_interfaces_leaves_those_that_others_have() -> None:
    assert resolved(endpoint("all", "*"), endpoint("z", "eth0")) == {"*": "all", "eth0": "z"}


def test_guests_interfaces_have_no_host_endpoint() -> None:
    assert resolved(endpoint("a", "tap1"), endpoint("b", "", HERE)) == {"eth0": "b"}


def test_an_address_of_the_loopback_does_not_close_the_loopback() -> None:
    addresses = {"lo": {HERE}, "eth0": {THERE}}
    both = endpoint("a", "", HERE, THERE)

    assert in_force([both], addresses, lambda name: False) == {"eth0": "a"}


class Kernel:
    """Addresses by index of the interface."""

    def __init__(self) -> None:
        self.addresses = {HERE: 2}
        self.asked = 0
        self.broken = False

    def list(self) -> Iterable[Address]:
        self.asked += 1
        if self.broken:
            raise OSError("netlink is away")
        return [Address(net, 24, ifindex) for net, ifindex in self.addresses.items()]


def stage() -> tuple[OwnInterfaces, Wanted, Kernel]:
    wanted, kernel = Wanted(), Kernel()
    names = {2: "eth0", 3: "eth1"}
    return OwnInterfaces(wanted, kernel.list, names.get, lambda name: name.startswith("tap")), wanted, kernel


def settled(interfaces: OwnInterfaces, wanted: Wanted, now: float, *endpoints: WantedHostEndpoint) -> Changes:
    changes = Changes(host_endpoints={one.name: one for one in endpoints})
    wanted.apply(changes)
    interfaces.settle(changes, now)
    return changes


def test_addresses_are_listed_only_for_endpoints_that_ask_for_them_and_after_a_change() -> None:
    interfaces, wanted, kernel = stage()
    settled(interfaces, wanted, 0.0, endpoint("named", "eth5"))
    assert (kernel.asked, wanted.host_interfaces) == (0, {"eth5": "named"})

    settled(interfaces, wanted, 1.0, endpoint("found", "", HERE))
    settled(interfaces, wanted, 2.0)
    assert (kernel.asked, wanted.host_interfaces) == (1, {"eth5": "named", "eth0": "found"})

    kernel.addresses = {HERE: 3}
    interfaces.happened()
    changes = settled(interfaces, wanted, 3.0)
    assert (changes.host_interfaces, changes.host_interfaces_removed) == ({"eth1": "found"}, {"eth0"})
    assert wanted.host_interfaces == {"eth5": "named", "eth1": "found"}


def test_while_addresses_cannot_be_listed_endpoints_stay_where_they_are_and_it_is_tried_again() -> None:
    interfaces, wanted, kernel = stage()
    settled(interfaces, wanted, 0.0, endpoint("found", "", HERE))
    kernel.broken = True
    interfaces.happened()
    settled(interfaces, wanted, 1.0)
    assert wanted.host_interfaces == {"eth0": "found"}
    again = interfaces.failures.wake_at()
    assert again is not None

    kernel.broken, kernel.addresses = False, {HERE: 3}
    settled(interfaces, wanted, again)
    assert wanted.host_interfaces == {"eth1": "found"}
    assert not interfaces.failures


def test_addresses_that_nobody_asks_for_any_more_are_not_tried_again() -> None:
    interfaces, wanted, kernel = stage()
    kernel.broken = True
    settled(interfaces, wanted, 0.0, endpoint("found", "", HERE))
    assert interfaces.failures

    changes = Changes(host_endpoints_removed={"found"})
    wanted.apply(changes)
    interfaces.settle(changes, 0.5)

    assert interfaces.failures.wake_at() is None


def test_that_an_endpoint_is_in_force_nowhere_is_said_once_and_why() -> None:
    interfaces, wanted, _ = stage()
    nowhere = endpoint("nowhere", "", host_net("192.0.2.9"))
    with capture_logs() as lines:
        settled(
            interfaces, wanted, 0.0, nowhere, endpoint("guests", "tap1"), endpoint("a", "eth0"), endpoint("b", "eth0")
        )
        for now in (1.0, 2.0):
            interfaces.happened()
            settled(interfaces, wanted, now)

    assert {line["name"]: line["reason"] for line in lines} == {
        "b": "a comes before it on eth0",
        "guests": "tap1 is an interface of guests",
        "nowhere": "no interface of the host has one of its addresses that no other host endpoint has",
    }
    assert len(lines) == 3
    with capture_logs() as lines:
        settled(interfaces, wanted, 3.0, endpoint("nowhere", "eth9"))
        settled(interfaces, wanted, 4.0, nowhere)
    assert [line["name"] for line in lines] == ["nowhere"]
