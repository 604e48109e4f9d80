"""`up` is said only after the kernel has shown what was programmed; why not, otherwise."""

from types import SimpleNamespace
from typing import Any

from calico_openstack.felix.read_back import ReadBack
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import parse_net
from calico_openstack.netlink.rtnl_routes import device_route

KEY = EndpointKey("openstack", "h", "openstack", "vm", "a")
ROUTE = device_route(parse_net("10.0.0.1"), 7, metric=0)


class Stage:
    def __init__(self) -> None:
        self.firewall: Any = SimpleNamespace(refused={}, trouble=None)
        self.keeper: Any = SimpleNamespace(trouble=[], failures=[])
        self.present: set[Any] = {ROUTE}
        taps: Any = SimpleNamespace(
            owners={"tapa": SimpleNamespace(key=KEY)},
            programmed={"tapa": SimpleNamespace(ifindex=7)},
            expected_routes=lambda _: {ROUTE},
        )
        routes: Any = SimpleNamespace(present=lambda _: self.present)
        self.read_back = ReadBack(taps, self.firewall, routes, [self.keeper])

    def up(self, protected: bool = True) -> bool:
        ((key, up),) = self.read_back.prove({"tapa"}, protected, {}, 1.0)
        assert key == KEY
        return up


def test_what_is_there_is_up_and_said_once() -> None:
    stage = Stage()

    assert stage.up()
    assert stage.read_back.prove({"tapa"}, True, {}, 2.0) == []


def test_without_the_firewall_nothing_is_up() -> None:
    assert not Stage().up(protected=False)


def test_without_its_routes_it_is_not_up_until_they_are_there() -> None:
    stage = Stage()
    stage.present = set()
    assert not stage.up()

    stage.present = {ROUTE}
    assert stage.up()


def test_while_routes_or_neighbours_cannot_be_kept_at_all_nothing_is_up() -> None:
    stage = Stage()
    stage.keeper.trouble = [(None, SimpleNamespace(reason="the dump failed"))]

    assert not stage.up()


def test_what_flaps_while_up_is_said_to_be_down() -> None:
    stage = Stage()
    assert stage.read_back.interrupted({"tapa"}) == []
    assert stage.up()

    assert stage.read_back.interrupted({"tapa"}) == [(KEY, False)]
    assert stage.up()
