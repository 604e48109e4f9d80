"""Packet sockets on taps: how many there are, and what their end costs."""

import time

import pytest

from calico_openstack.felix.kernel.captures import CLOSED_AT_ONCE, MOST, Captures
from calico_openstack.felix.wanted.watch import Watch
from calico_openstack.model.net import host_net
from calico_openstack.testing.compute_host import ip

pytestmark = pytest.mark.root

CLAIMS = Watch("fa:16:3e:00:00:01", claimable=(host_net("10.0.0.100"),))
ARRIVES = Watch("fa:16:3e:00:00:01", arriving=(host_net("10.0.0.1"),))


def sockets() -> int:
    with open("/proc/thread-self/net/packet") as file:
        return len(file.readlines()) - 1


def test_many_that_end_at_once_are_closed_a_few_at_a_time(namespace: None) -> None:
    captures = Captures()
    names = [f"tap{number}" for number in range(3 * CLOSED_AT_ONCE)]
    for name in names:
        ip("link", "add", name, "type", "veth", "peer", "name", f"p{name}")
        captures.listen(name, 0, CLAIMS, time.monotonic())
    assert (sockets(), captures.wake_at()) == (len(names), None)

    for name in names:
        captures.listen(name, 0, None, time.monotonic())
    assert (captures.watching(), sockets()) == ({}, len(names))
    left = []
    while captures.wake_at() is not None:
        captures.end_some()
        left.append(sockets())

    assert left == [2 * CLOSED_AT_ONCE, CLOSED_AT_ONCE, 0]
    captures.close()


def test_a_guest_that_arrives_is_listened_to_however_many_others_are(
    namespace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calico_openstack.felix.kernel.captures.MOST", 1)
    assert MOST > 1
    captures = Captures()
    for name in ("tapa", "tapb", "tapc"):
        ip("link", "add", name, "type", "veth", "peer", "name", f"p{name}")
    captures.listen("tapa", 0, CLAIMS, 0.0)
    captures.listen("tapb", 0, CLAIMS, 0.0)
    captures.listen("tapc", 0, ARRIVES, 0.0)

    assert captures.watching().keys() == {"tapa", "tapc"}
    captures.close()
    assert sockets() == 0


def test_a_tap_that_is_not_there_is_tried_again(namespace: None) -> None:
    captures = Captures()
    captures.listen("tapa", 7, ARRIVES, 100.0)
    assert captures.watching() == {}
    assert captures.failures.due(200.0) == ["tapa"]

    ip("link", "add", "tapa", "type", "veth", "peer", "name", "ptapa")
    captures.listen("tapa", 7, ARRIVES, 200.0)

    assert captures.watching() == {"tapa": ARRIVES}
    assert captures.failures.wake_at() is None
    captures.close()


def test_a_tap_for_which_there_is_no_room_any_more_is_not_tried_again(
    namespace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calico_openstack.felix.kernel.captures.MOST", 1)
    ip("link", "add", "tapa", "type", "veth", "peer", "name", "ptapa")
    captures = Captures()
    captures.listen("tapb", 7, CLAIMS, 100.0)
    captures.listen("tapa", 8, CLAIMS, 100.0)
    assert captures.failures.due(200.0) == ["tapb"]

    captures.listen("tapb", 7, CLAIMS, 200.0)

    assert captures.watching() == {"tapa": CLAIMS}
    assert captures.wake_at() is None
    captures.close()


def test_a_tap_without_room_gets_it_when_another_goes(namespace: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calico_openstack.felix.kernel.captures.MOST", 1)
    for name in ("tapa", "tapb"):
        ip("link", "add", name, "type", "veth", "peer", "name", f"p{name}")
    captures = Captures()
    captures.listen("tapa", 7, CLAIMS, 100.0)
    captures.listen("tapb", 8, CLAIMS, 100.0)
    assert (captures.watching(), captures.waiting()) == ({"tapa": CLAIMS}, [])

    captures.listen("tapa", 7, None, 101.0)

    assert captures.waiting() == ["tapb"]
    captures.listen("tapb", 8, CLAIMS, 102.0)
    assert (captures.watching(), captures.waiting()) == ({"tapb": CLAIMS}, [])
    captures.close()
