"""One address that a guest here and one elsewhere have: each host sends to its own, else to the other's."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.root, pytest.mark.slow]

BOTH = ("10.65.0.7/32", "fd65::7/128")


@pytest.mark.conformance("R4")
def test_the_local_guest_wins_and_the_remote_one_takes_over_when_it_goes(mesh: Any, wait_for: Any) -> None:
    one, two, three = mesh
    for host in (one, two):
        host.plug("tap1")
        for address in BOTH:
            host.route("add", address, "tap1")
    for address in BOTH:
        for host in mesh:
            wait_for("both ways are known", lambda host=host, address=address: known(host, address) == 2)
        assert (way(one, address), way(two, address), way(three, address)) == ("tap1", "tap1", "eth0")

    for address in BOTH:
        one.route("del", address, "tap1")
        wait_for("the remote guest", lambda address=address: way(one, address) == "eth0")
        assert way(two, address) == "tap1"

    for address in BOTH:
        one.route("add", address, "tap1")
        wait_for("the local guest", lambda address=address: way(one, address) == "tap1")


def known(host: Any, address: str) -> int:
    """How many ways to an address BIRD has, in use or not."""
    return int(host.birdc(f"show route {address}").count(" unicast ["))


def way(host: Any, address: str) -> str:
    """The device over which the kernel sends to an address."""
    found = host.ip("route", "get", address.partition("/")[0])
    return str(found.split(" dev ")[1].split()[0])
