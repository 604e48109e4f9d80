from __future__ import annotations

from calico_openstack.bgp.view import View
from calico_openstack.etcd.values import Event
from calico_openstack.model.keys import ResourceKey

NODE = ResourceKey("Node", "h1")
GOOD = b'{"spec": {"bgp": {"ipv4Address": "192.0.2.1/24"}}}'


def test_a_document_comes_spoils_heals_and_goes() -> None:
    view = View()

    assert view.apply([Event(NODE.path, GOOD, 1)]) == {NODE}
    assert "h1" in view.cluster().nodes
    assert view.apply([Event(NODE.path, b"{", 2)]) == {NODE}
    assert "h1" not in view.cluster().nodes
    assert "Node/h1" in view.cluster().absent
    assert view.apply([Event(NODE.path, GOOD, 3)]) == {NODE}
    assert view.cluster().absent == {}
    assert view.apply([Event(NODE.path, None, 4)]) == {NODE}
    assert view.cluster().nodes == {}


def test_a_change_that_means_nothing_here_is_no_change() -> None:
    view = View()
    view.apply([Event(NODE.path, GOOD, 1)])

    assert view.apply([Event(NODE.path, GOOD.replace(b"{", b'{"status": {},', 1), 2)]) == set()
    assert view.apply([Event("/calico/resources/v3/projectcalico.org/ippools/p", b"x", 3)]) == set()
    assert view.apply([Event(NODE.path + "x", None, 4)]) == set()


def test_a_cluster_does_not_follow_later_events() -> None:
    view = View()
    view.apply([Event(NODE.path, GOOD, 1)])
    before = view.cluster()

    view.apply([Event(NODE.path, None, 2)])

    assert list(before.nodes) == ["h1"]
