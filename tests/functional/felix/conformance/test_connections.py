"""The yardstick of this directory: a flow counts as passed only if the other side has it."""

import pytest

from calico_openstack.testing.connections import SCTP, TCP, UDP, Try
from calico_openstack.testing.trio import PORTS, Trio

pytestmark = pytest.mark.root

CLOSED = 4444


@pytest.mark.parametrize("version", [4, 6])
def test_only_what_arrives_counts(trio: Trio, version: int) -> None:
    w0, w1 = trio.workloads[:2]

    def from_w0(address: str, port: int, protocol: str) -> Try:
        return Try(w0.guest.name, w0.address(version), address, port, protocol)

    good = {from_w0(w1.address(version), PORTS[0], protocol) for protocol in (TCP, UDP, SCTP)}
    closed = {from_w0(w1.address(version), CLOSED, protocol) for protocol in (TCP, UDP)}
    # The host has no way there and says so.
    nowhere = {from_w0({4: "203.0.113.1", 6: "2001:db8:dead::1"}[version], 80, protocol) for protocol in (TCP, UDP)}

    assert trio.listeners.passes(good | closed | nowhere, good) == good


def test_what_does_not_pass_is_named(trio: Trio) -> None:
    trio.put(*(one.document(profiles=[]) for one in trio.workloads[:1]))

    with pytest.raises(AssertionError, match=r"\('w0', 'w1', 80, 'tcp', 4\)"):
        trio.expect({"w1>w2", "w2>w1", "w0>w1"}, protocols=(TCP,), versions=(4,))
