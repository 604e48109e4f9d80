"""A guest speaks for itself only: real packets with other sources, and strays that deserve an answer; both families."""

import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from calico_openstack.testing.compute_host import in_namespace, ip
from calico_openstack.testing.connections import UDP, Try
from calico_openstack.testing.guests import OUTSIDE4, OUTSIDE6, outside
from calico_openstack.testing.trio import Trio

pytestmark = pytest.mark.root

FREE = {4: "10.65.0.77", 6: "2001:db8:a41::77"}
PREFIX = {4: "198.51.100.0/24", 6: "2001:db8:c00::/64"}
INSIDE = {4: "198.51.100.7", 6: "2001:db8:c00::7"}


@contextmanager
def also_has(trio: Trio, *addresses: str) -> Iterator[None]:
    """w0 has these addresses of its own making."""
    name = trio.workloads[0].guest.name
    with ExitStack() as stack:
        for address in addresses:
            extra = ["nodad"] if ":" in address else []
            ip("-n", name, "address", "add", address, "dev", "eth0", *extra)
            stack.callback(ip, "-n", name, "address", "del", f"{address}/{128 if extra else 32}", "dev", "eth0")
        yield


def from_w0(trio: Trio, version: int, source: str) -> Try:
    one, two = trio.workloads[:2]
    return Try(one.guest.name, source, two.address(version), 80, UDP)


@pytest.mark.conformance("A1", "A2")
@pytest.mark.parametrize("version", [4, 6])
def test_only_packets_with_an_own_source_arrive(trio: Trio, version: int) -> None:
    neighbour = trio.workloads[2].address(version)
    with also_has(trio, FREE[version], neighbour):
        own = from_w0(trio, version, trio.workloads[0].address(version))
        tries = [own, from_w0(trio, version, FREE[version]), from_w0(trio, version, neighbour)]

        assert trio.listeners.passes(tries, [own]) == {own}


@pytest.mark.conformance("A4")
@pytest.mark.parametrize("version", [4, 6])
def test_a_foreign_prefix_needs_the_setting_and_reaches_no_further_than_itself(trio: Trio, version: int) -> None:
    w0 = trio.workloads[0]
    spoofing = w0.document(allowSpoofedSourcePrefixes=[PREFIX[version]])
    own = from_w0(trio, version, w0.address(version))
    inside, beyond = from_w0(trio, version, INSIDE[version]), from_w0(trio, version, FREE[version])
    with also_has(trio, INSIDE[version], FREE[version]):
        trio.put(spoofing)
        assert w0.guest.tap not in trio.dataplane.taps.programmed
        assert trio.listeners.passes([own, inside, beyond], []) == set()

        trio.use(workload_source_spoofing=True)
        try:
            assert w0.guest.tap in trio.dataplane.taps.programmed
            assert trio.listeners.passes([own, inside, beyond], [own, inside]) == {own, inside}
        finally:
            trio.use(workload_source_spoofing=False)
        assert trio.listeners.passes([own, inside, beyond], []) == set()


@pytest.mark.conformance("A3")
@pytest.mark.parametrize("version", [4, 6])
def test_a_stray_segment_from_outside_is_answered_by_a_reset(trio: Trio, version: int) -> None:
    w0 = trio.workloads[0]
    with outside() as space:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with in_namespace(f"/run/netns/{space}"), socket.socket(family, socket.SOCK_RAW, 6) as raw:
            source = OUTSIDE4 if version == 4 else OUTSIDE6
            raw.bind((source, 0))
            segment = acknowledgement(source, w0.address(version), 45678, 80, acknowledged=0x01020304)
            deadline = time.monotonic() + 10
            while not (answer := reset(raw, segment, w0.address(version))):
                assert time.monotonic() < deadline, "no reset"

    # A reset begins where the stray segment said that it had got to.
    assert answer == 0x01020304


def acknowledgement(source: str, target: str, port: int, to: int, acknowledged: int) -> bytes:
    """A TCP segment from the middle of a connection that nobody knows."""
    header = struct.pack("!HHIIBBHHH", port, to, 7, acknowledged, 5 << 4, 0x10, 1000, 0, 0)
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    pseudo = socket.inet_pton(family, source) + socket.inet_pton(family, target) + struct.pack("!II", len(header), 6)
    total = sum(struct.unpack(f"!{len(pseudo + header) // 2}H", pseudo + header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return header[:16] + struct.pack("!H", ~total & 0xFFFF) + header[18:]


def reset(raw: socket.socket, segment: bytes, target: str) -> int | None:
    """Send it, and wait half a second for a segment with RST from there: its sequence number."""
    raw.sendto(segment, (target, 0))
    end = time.monotonic() + 0.5
    while (left := end - time.monotonic()) > 0:
        if not select.select([raw], [], [], left)[0]:
            return None
        packet = raw.recv(2048)
        tcp = packet[(packet[0] & 15) * 4 :] if raw.family == socket.AF_INET else packet
        if tcp[13] & 0x04 and struct.unpack("!HH", tcp[:4]) == (80, 45678):
            return int(struct.unpack("!I", tcp[4:8])[0])
    return None
