"""Which listings of the kernel's flows are asked for: each is a walk through the whole table."""

import pytest

from calico_openstack.felix.kernel.conntrack import MOST_SEARCHES, WORTH, listings
from calico_openstack.model.net import Net, parse_net
from calico_openstack.netlink.conntrack import DIRECTIONS, all_flows, find_flows

ONE, TWO, SIX, WIDE = (parse_net(text) for text in ("10.0.0.1", "10.0.0.2", "2001:db8::1", "10.0.0.0/8"))


def test_without_flows_nothing_is_listed() -> None:
    assert listings({ONE, WIDE}, 0) == []


def test_without_addresses_nothing_is_listed() -> None:
    assert listings(set(), 10**6) == []


@pytest.mark.parametrize("tracked", [10**6, None])
def test_few_addresses_among_many_flows_are_looked_for_by_the_kernel(tracked: int | None) -> None:
    assert listings([ONE], tracked) == [find_flows(ONE, direction) for direction in DIRECTIONS]


def test_few_flows_are_all_listed_in_one_walk() -> None:
    assert listings([ONE], WORTH) == [all_flows(4)]
    assert listings([ONE], WORTH + 1) != [all_flows(4)]
    assert listings([ONE, TWO], 3 * WORTH) == [all_flows(4)]
    assert listings([ONE, SIX], 5) == [all_flows()]


def test_the_kernel_is_never_asked_to_look_for_an_ipv6_address() -> None:
    assert listings([SIX], 10**6) == [all_flows(6)]
    assert listings([ONE, SIX], 10**6) == [*(find_flows(ONE, direction) for direction in DIRECTIONS), all_flows(6)]


def test_networks_and_many_addresses_take_one_walk() -> None:
    assert listings([WIDE], 10**6) == [all_flows(4)]
    assert listings([Net(4, value, 32) for value in range(MOST_SEARCHES + 1)], 10**6) == [all_flows(4)]
