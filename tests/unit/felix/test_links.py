"""Links: names and indexes, and what a look at the present alone would miss."""

from typing import cast

import pytest

from calico_openstack.felix.kernel.links import Links
from calico_openstack.netlink.rtnl_links import Link, LinkEvent
from calico_openstack.netlink.socket import NetlinkSocket
from calico_openstack.testing.fake_kernel import FakeKernel
from calico_openstack.testing.fake_rtnetlink import FakeRouteSocket


def link(name: str, ifindex: int, running: bool = True) -> Link:
    return Link(name, ifindex, up=True, running=running)


def links_with(*those: Link) -> Links:
    links = Links()
    links.apply(LinkEvent(one, False) for one in those)
    links.take_changes()
    return links


def test_an_echo_of_what_is_known_is_no_change() -> None:
    links = links_with(link("tap1", 7))

    links.apply([LinkEvent(link("tap1", 7), False)])

    assert links.take_changes() == (set(), set())


def test_away_and_back_between_two_looks_is_a_flap() -> None:
    links = links_with(link("tap1", 7))

    links.apply([LinkEvent(link("tap1", 7, running=False), False), LinkEvent(link("tap1", 7), False)])

    assert links.take_changes() == ({"tap1"}, {"tap1"})
    assert links.carrying("tap1") == link("tap1", 7)


def test_the_same_name_with_another_index_is_another_interface() -> None:
    links = links_with(link("tap1", 7))

    links.apply([LinkEvent(link("tap1", 9), False), LinkEvent(link("tap1", 7), True)])

    assert links.take_changes() == ({"tap1"}, {"tap1"})
    assert links.carrying("tap1") == link("tap1", 9)
    assert 7 not in links.by_index


def test_a_rename_is_a_loss_and_a_gain() -> None:
    links = links_with(link("tap1", 7))

    links.apply([LinkEvent(link("tap2", 7), False)])

    assert links.take_changes() == ({"tap1", "tap2"}, {"tap1"})
    assert links.carrying("tap1") is None


def test_a_new_interface_that_does_not_carry_yet_is_no_flap() -> None:
    links = links_with()

    links.apply([LinkEvent(link("tap1", 7, running=False), False), LinkEvent(link("tap1", 7), False)])

    assert links.take_changes() == ({"tap1"}, set())


@pytest.mark.parametrize("names", [("tapb", "tapa"), ("tapb", "tapc"), ("tapc", "tapa")])
def test_interfaces_that_took_each_others_names_unseen_are_known_by_both(names: tuple[str, str]) -> None:
    kernel = FakeKernel()
    connection = cast(NetlinkSocket, FakeRouteSocket(kernel))
    indexes = [kernel.plug(name) for name in ("tapa", "tapb")]
    before = kernel.links

    renamed = {index: kernel.links[index]._replace(name=name) for index, name in zip(indexes, names, strict=True)}
    # The kernel lists by a hash of the index, so the order says nothing.
    for listed in (renamed, dict(reversed(renamed.items()))):
        links = Links()
        kernel.links = before
        links.read(connection)
        kernel.links = listed
        links.read(connection)

        assert links.by_index == renamed
        assert links.by_name == {link.name: link for link in renamed.values()}
