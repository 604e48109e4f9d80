"""A guest may send from its own addresses and MAC only. Packets made by hand are looked for where they would arrive."""

import json
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from calico_openstack.sandbox import Sandbox
from calico_openstack.sandbox.guests import Booted
from calico_openstack.sandbox.namespaces import inside
from calico_openstack.sandbox.probes import Probe, Prober, checksum, echo_request

pytestmark = pytest.mark.root
ETH_P_ALL = 0x0003


def ipv4_echo(source: str, target: str, marker: int) -> bytes:
    body = echo_request(socket.AF_INET, marker, 1)
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 1, 0) + addresses
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body


def ipv6_echo(source: str, target: str, marker: int) -> bytes:
    body = echo_request(socket.AF_INET6, marker, 1)
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    pseudo = addresses + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return struct.pack("!IHBB", 0x60000000, len(body), 58, 64) + addresses + body


@contextmanager
def sniffer(guest: Booted) -> Iterator[socket.socket]:
    """Everything that arrives at a guest's eth0."""

    def make() -> socket.socket:
        sniff = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        sniff.bind(("eth0", ETH_P_ALL))
        return sniff

    sniff = inside(guest.namespace, make)
    sniff.setblocking(False)
    try:
        yield sniff
    finally:
        sniff.close()


def send(guest: Booted, packet: bytes, source_mac: str | None = None) -> None:
    """Puts a frame on a guest's wire, towards its host."""
    own = bytes.fromhex((source_mac or guest.mac).replace(":", ""))
    kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800

    def put() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind(("eth0", 0))
            wire.send(gateway_mac(guest) + own + struct.pack("!H", kind) + packet)

    inside(guest.namespace, put)


def gateway_mac(guest: Booted) -> bytes:
    """The MAC of the tap's host end, which the guest has learnt as its gateway's."""
    output = subprocess.run(
        ["ip", "-n", guest.namespace, "-json", "neigh", "show", "dev", "eth0"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    macs = [entry["lladdr"] for entry in json.loads(output) if "lladdr" in entry]
    assert macs, "the guest knows no neighbour"
    return bytes.fromhex(macs[0].replace(":", ""))


MAKE = {4: ipv4_echo, 6: ipv6_echo}
FOREIGN = {4: "10.65.0.253", 6: "2001:db8:65::dead"}


@pytest.mark.conformance("A1")
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("same_host", [True, False])
def test_only_packets_from_the_guests_own_address_and_mac_arrive(
    sandbox: Sandbox, prober: Prober, version: int, same_host: bool
) -> None:
    sender = sandbox.guest("db1")
    target = sandbox.guest("web1" if same_host else "web2")
    other = sandbox.guest("client1")
    assert prober.check_one(Probe(sender.namespace, target.address(version)), wait=10)

    with sniffer(target) as sniff:
        make = MAKE[version]
        forged = [
            make(other.address(version), target.address(version), 0x1111),
            make(FOREIGN[version], target.address(version), 0x2222),
        ]
        for packet in forged:
            send(sender, packet)
        wrong_mac = make(sender.address(version), target.address(version), 0x3333)
        send(sender, wrong_mac, source_mac="fa:16:3e:00:00:01")
        honest = make(sender.address(version), target.address(version), 0x4444)
        send(sender, honest)

        seen = frames_until(sniff, honest, limit=10)

    assert [packet for packet in (*forged, wrong_mac) if any(frame.endswith(packet[-20:]) for frame in seen)] == []


def frames_until(sniff: socket.socket, last: bytes, limit: float) -> list[bytes]:
    """All frames up to the honest one: it was sent last on the same path, so what has not come by then never will."""
    frames: list[bytes] = []
    deadline = time.monotonic() + limit
    while (left := deadline - time.monotonic()) > 0:
        if select.select([sniff], [], [], left)[0]:
            frames.append(sniff.recv(2048))
            if frames[-1].endswith(last[-20:]):
                return frames
    raise AssertionError("the honest packet did not arrive either")


def test_a_guest_cannot_answer_arp_for_another_address(sandbox: Sandbox, prober: Prober) -> None:
    """An ARP reply that claims another guest's address changes nothing for the host."""
    liar, victim = sandbox.guest("db1"), sandbox.guest("web1")
    assert prober.check_one(Probe(liar.namespace, victim.address(4)), wait=10)
    mac = bytes.fromhex(liar.mac.replace(":", ""))
    claim = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac + socket.inet_aton(victim.address(4))
    claim += gateway_mac(liar) + socket.inet_aton("10.65.0.1")

    def put() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind(("eth0", 0))
            for _ in range(5):
                wire.send(gateway_mac(liar) + mac + struct.pack("!H", 0x0806) + claim)

    inside(liar.namespace, put)

    router = sandbox.namespace("fabric")
    assert prober.check_one(Probe(router, victim.address(4)), wait=5)
