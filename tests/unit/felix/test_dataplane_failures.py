"""What fails for one endpoint stays with it; what cannot be read is read again; nothing of that ends the process."""

import errno
from collections.abc import Callable
from unittest.mock import ANY

import pytest
from structlog.testing import capture_logs

from calico_openstack.felix.dataplane import Dataplane, DataplaneSettings, Report
from calico_openstack.felix.kernel.barred import PERIOD
from calico_openstack.felix.kernel.routes import GRACE
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint, WantedProfile, WantedRule
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import parse_net
from calico_openstack.netlink import rtnl
from calico_openstack.netlink.conntrack import Ends, Tracked
from calico_openstack.netlink.rtnl_routes import device_route, read_route
from calico_openstack.netlink.wire import Message, Request
from calico_openstack.testing.fake_kernel import FakeKernel

OPEN = WantedProfile(name="open", ingress=(WantedRule(action="allow"),), egress=(WantedRule(action="allow"),))


def endpoint(name: str, address: str) -> WantedEndpoint:
    return WantedEndpoint(
        key=EndpointKey("openstack", "h", "openstack", "vm", name),
        interface=f"tap{name}",
        mac="fa:16:3e:00:00:01",
        addresses=(parse_net(address),),
        profiles=("open",),
    )


A, B = endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2")


class Stage:
    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self.kernel.plug("tapa")
        self.kernel.plug("tapb")
        self.now = 1000.0
        self.up: dict[EndpointKey, bool] = {}
        settings = DataplaneSettings(remove_upstream_rules=False)
        self.dataplane = Dataplane(settings, lambda: self.now, self.kernel.access())

    def step(self, changes: Changes | None = None, seconds: float = 0.0) -> Report:
        self.now += seconds
        report = self.dataplane.step(changes or Changes(), self.now)
        self.up.update(report.statuses)
        return report

    def begin(self) -> Report:
        return self.step(Changes(profiles={"open": OPEN}, endpoints={A.key: A, B.key: B}))


TCP = Tracked(
    Ends(parse_net("10.0.0.8"), parse_net("10.0.0.1"), 6, (40000, 22)),
    Ends(parse_net("10.0.0.1"), parse_net("10.0.0.8"), 6, (22, 40000)),
)


def first(times: int, code: int, *kinds: int) -> Callable[[Request], int]:
    """The first so many requests of these kinds fail."""
    left = [times]

    def fails(request: Request) -> int:
        if request.kind in kinds and left[0] > 0:
            left[0] -= 1
            return code
        return 0

    return fails


def test_interfaces_that_cannot_be_listed_are_trouble_and_are_listed_later() -> None:
    stage = Stage()
    stage.kernel.fails = first(1, errno.EINTR, rtnl.GETLINK)

    report = stage.begin()
    assert report.trouble is not None
    assert "Interrupted" in report.trouble.reason
    assert report.wake_at is not None
    assert stage.up == {A.key: False, B.key: False}

    report = stage.step(seconds=report.wake_at - stage.now)
    assert report.trouble is None
    assert stage.up == {A.key: True, B.key: True}


@pytest.mark.parametrize("kind", [rtnl.GETROUTE, rtnl.GETNEIGH])
def test_a_dump_that_others_interrupt_is_made_again(kind: int) -> None:
    stage = Stage()
    stage.kernel.fails = first(1, errno.EINTR, kind)
    stage.begin()

    for _ in range(4):
        report = stage.step(seconds=1.5)

    assert report.trouble is None
    assert stage.up == {A.key: True, B.key: True}


def test_routes_that_cannot_be_read_back_keep_those_down_that_were_just_made_and_nobody_else() -> None:
    stage = Stage()
    stage.step(Changes(profiles={"open": OPEN}, endpoints={A.key: A}))
    stage.step()
    assert stage.up == {A.key: True}
    stage.kernel.fails = lambda request: errno.ENOBUFS if request.kind == rtnl.GETROUTE else 0

    report = stage.step(Changes(endpoints={B.key: B}))

    assert stage.up == {A.key: True, B.key: False}
    assert "cannot be read back" in report.failures["tapb"]
    stage.kernel.fails = lambda request: 0
    stage.step(seconds=2)
    assert stage.up == {A.key: True, B.key: True}


def test_a_route_that_is_refused_keeps_its_own_endpoint_down() -> None:
    def fails(request: Request) -> int:
        route = read_route(Message(request.kind, 0, 0, request.body)) if request.kind == rtnl.NEWROUTE else None
        return errno.EPERM if route is not None and route.route.destination in B.addresses else 0

    stage = Stage()
    stage.kernel.fails = fails

    report = stage.begin()

    assert stage.up == {A.key: True, B.key: False}
    assert report.trouble is None
    assert "not permitted" in report.failures["tapb"]


def test_a_sysctl_of_the_host_that_cannot_be_set_is_listed_as_long_as_that_lasts_and_logged_once() -> None:
    stage = Stage()
    del stage.kernel.sysctls["ipv4/ip_forward"]
    with capture_logs() as lines:
        reports = [stage.begin(), stage.step(), stage.step()]

    assert [report.failures for report in reports] == [{"ipv4/ip_forward": ANY}] * 3
    assert [line["event"] for line in lines].count("sysctl.failed") == 1
    stage.kernel.sysctls["ipv4/ip_forward"] = "0"
    assert stage.step().failures == {}


@pytest.mark.conformance("R13")
def test_a_sysctl_that_is_missing_keeps_its_own_endpoint_down_until_it_is_there() -> None:
    stage = Stage()
    lost = stage.kernel.sysctls.pop("ipv4/conf/tapb/proxy_arp")
    # Best effort: without it an endpoint is up all the same.
    del stage.kernel.sysctls["ipv4/neigh/tapa/proxy_delay"]

    report = stage.begin()

    assert stage.up == {A.key: True, B.key: False}
    assert "proxy_arp" in report.failures["tapb"]

    # Nothing tells that it is there; it is tried again.
    stage.kernel.sysctls["ipv4/conf/tapb/proxy_arp"] = lost
    for _ in range(3):
        stage.step(seconds=60)
    assert stage.up == {A.key: True, B.key: True}
    assert stage.kernel.sysctls["ipv4/conf/tapb/proxy_arp"] == "1"


def test_traffic_control_that_fails_keeps_nobody_down() -> None:
    stage = Stage()
    stage.kernel.fails = lambda request: errno.ENOMEM if 36 <= request.kind <= 46 else 0

    stage.begin()

    assert stage.up == {A.key: True, B.key: True}


def test_after_lost_events_everything_is_read_again() -> None:
    stage = Stage()
    stage.begin()
    stage.step()
    routes, neighbours = dict(stage.kernel.routes), dict(stage.kernel.neighbours)
    # Nobody tells of it.
    stage.kernel.routes.clear()
    stage.kernel.neighbours.clear()
    stage.step()
    assert not stage.kernel.routes

    stage.kernel.happened.lost = True
    stage.step()

    assert stage.kernel.routes == routes
    assert stage.kernel.neighbours == neighbours


def test_a_tap_that_came_while_events_were_lost_is_found() -> None:
    stage = Stage()
    stage.kernel.unplug("tapb")
    stage.begin()
    assert stage.up == {A.key: True, B.key: False}
    stage.kernel.plug("tapb")
    stage.kernel.happened.links.clear()
    stage.kernel.happened.lost = True

    stage.step()

    assert stage.up == {A.key: True, B.key: True}


def test_while_the_firewall_is_refused_nothing_spins() -> None:
    stage = Stage()
    stage.kernel.refuses = lambda operation: True

    report = stage.begin()

    assert report.trouble is not None
    assert report.wake_at is not None
    assert report.wake_at > stage.now
    assert stage.kernel.routes == {}


def test_a_strangers_grace_that_ends_while_routes_cannot_be_read_makes_nobody_spin() -> None:
    stage = Stage()
    stranger = device_route(parse_net("10.0.0.9"), stage.kernel.plug("tapc"), metric=0)
    stage.kernel.routes[stranger.destination, 0, 0] = stranger
    stage.begin()
    assert stage.step(seconds=2).wake_at == stage.now + GRACE - 2
    stage.kernel.fails = first(1, errno.EBUSY, rtnl.GETROUTE)

    report = stage.step(seconds=GRACE + 1)

    assert report.trouble is not None
    assert report.wake_at is not None
    assert report.wake_at > stage.now
    stage.step(seconds=5)
    assert stranger not in stage.kernel.routes.values()


def test_flows_whose_time_comes_while_the_firewall_is_refused_make_nobody_spin() -> None:
    stage = Stage()
    stage.begin()
    flows = stage.dataplane._flows
    flows._barred.bar([TCP], stage.now)
    flows._trouble.failed("judge", "no buffer space", stage.now)
    stage.kernel.refuses = lambda operation: True

    report = stage.step(Changes(endpoints={A.key: endpoint("a", "10.0.0.7")}), seconds=PERIOD + 1)

    assert report.trouble is not None
    assert report.wake_at is not None
    assert report.wake_at > stage.now
