"""The kernel's flows, found by either kind of listing."""

import socket
import subprocess
from collections.abc import Iterator

import pytest

from calico_openstack.felix.kernel import conntrack
from calico_openstack.felix.kernel.conntrack import Conntrack
from calico_openstack.model.net import Net, parse_net
from calico_openstack.netlink.conntrack import Tracked, concerns, read_flow
from calico_openstack.testing.compute_host import ip

pytestmark = pytest.mark.root

ONE, TWO, SIX = parse_net("10.1.0.1"), parse_net("10.1.0.2"), parse_net("2001:db8::6")
SEARCH, WALK = 0, 10**9
"""Values of WORTH: the kernel looks for each address, or everything is listed."""


@pytest.fixture
def flows(namespace: None) -> Iterator[Conntrack]:
    """Datagrams from each address to itself and from one to two."""
    for address in (ONE, TWO, SIX):
        ip("address", "add", str(address), "dev", "lo", *(["nodad"] if address.version == 6 else []))
    rules = "table inet t { chain c { type filter hook output priority 0; ct state new accept; }; }"
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    for source, destination in ((ONE, ONE), (TWO, TWO), (SIX, SIX), (ONE, TWO)):
        family = socket.AF_INET6 if source.version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            one.bind((host(source), 0))
            one.sendto(b"x", (host(destination), 9))
    tracker = Conntrack()
    yield tracker
    tracker.close()


def host(address: Net) -> str:
    return str(address).partition("/")[0]


def listed(tracker: Conntrack, *addresses: Net) -> set[Tracked]:
    found = {read_flow(message) for part in tracker.parts(addresses) for message in part}
    return {flow for flow in found if flow is not None and concerns(flow, addresses)}


@pytest.mark.parametrize(("addresses", "number"), [((ONE,), 2), ((TWO,), 2), ((SIX,), 1), ((ONE, SIX), 3)])
def test_searching_and_walking_find_the_same_flows(
    flows: Conntrack, addresses: tuple[Net, ...], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for worth in (SEARCH, WALK):
        monkeypatch.setattr(conntrack, "WORTH", worth)
        found.append(listed(flows, *addresses))

    assert found[0] == found[1]
    assert len(found[0]) == number


@pytest.mark.parametrize("worth", [SEARCH, WALK])
def test_released_addresses_lose_their_flows_and_others_keep_theirs(
    flows: Conntrack, worth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conntrack, "WORTH", worth)

    flows.release([ONE])

    assert flows.ended == 2
    assert listed(flows, ONE) == set()
    assert len(listed(flows, TWO, SIX)) == 2


def test_a_listing_that_is_given_up_does_not_spoil_the_next_one(flows: Conntrack) -> None:
    given_up = flows.parts([ONE])
    next(given_up)
    given_up.close()  # type: ignore[attr-defined]

    assert len(listed(flows, ONE)) == 2
    assert len(listed(flows, ONE)) == 2
