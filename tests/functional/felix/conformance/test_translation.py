"""Addresses that are not what they seem: floating IPs, pools, metadata, and what a guest may always ask of its host.

w0, w1, w2 sit behind their host; `outside` is a machine beyond it that knows the way to everything here.
"""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from calico_openstack.felix.settings import FelixSettings
from calico_openstack.testing.compute_host import eventually, in_namespace, ip
from calico_openstack.testing.connections import TCP, UDP, Try
from calico_openstack.testing.guests import HOST4, HOST6, OUTSIDE4, OUTSIDE6, heard, outside
from calico_openstack.testing.trio import DENY, Trio, policy
from calico_openstack.testing.written import document

pytestmark = pytest.mark.root

FLOATING = {4: "172.24.4.33", 6: "2001:db8:f1::33"}
BEYOND = {4: OUTSIDE4, 6: OUTSIDE6}
LOCAL = {4: HOST4, 6: HOST6}
FELIX_DEFAULTS = FelixSettings("any")


@pytest.fixture
def away(trio: Trio) -> Iterator[str]:
    """The namespace of the machine outside."""
    with outside() as space:
        yield space


def floating(trio: Trio, *versions: int) -> tuple[str, bytes]:
    w0 = trio.workloads[0]
    return w0.document(
        ipNATs=[{"internalIP": w0.address(version), "externalIP": FLOATING[version]} for version in versions]
    )


@pytest.mark.conformance("N2")
@pytest.mark.parametrize("version", [4, 6])
def test_a_floating_ip_leads_to_its_guest_from_everywhere_and_goes_with_it(trio: Trio, away: str, version: int) -> None:
    w0, w1 = trio.workloads[:2]
    target = FLOATING[version]
    tries = {Try(away, BEYOND[version], target, 80, protocol) for protocol in (TCP, UDP)} | {
        # Another guest, the host itself (its output hook), and the guest by way of its own floating IP.
        Try(w1.guest.name, w1.address(version), target, 80),
        Try("", LOCAL[version], target, 80),
        Try(w0.guest.name, w0.address(version), target, 80),
    }
    assert trio.listeners.passes(tries, []) == set()

    trio.put(floating(trio, version))
    assert trio.listeners.passes(tries, tries) == tries
    assert w0.guest.tap in ip("route", "get", target)

    # Policy looks at the fixed address.
    trio.put(policy("shut", "w == 'w0'", ingress=[DENY]))
    barred = {one for one in tries if one.space}
    assert trio.listeners.passes(barred, []) == set()
    trio.delete(policy("shut", "w == 'w0'"))

    trio.put(w0.document())
    assert trio.listeners.passes(tries, []) == set()
    assert w0.guest.tap not in ip(f"-{version}", "route", "show", "exact", target)

    trio.put(floating(trio, version))
    assert translations(version).count(target) == 2
    assert w0.guest.tap in ip(f"-{version}", "route", "show", "exact", target)
    trio.delete(w0.document())
    assert target not in translations(version)
    assert ip(f"-{version}", "route", "show", "exact", target) == ""


def translations(version: int) -> str:
    """The firewall's maps from floating IPs to their guests, and for a guest that asks for itself."""
    maps = (f"nft list map inet calico {name}{version}" for name in ("floating", "hairpin"))
    return "".join(subprocess.run(one.split(), capture_output=True, text=True, check=True).stdout for one in maps)


@pytest.mark.conformance("N1")
@pytest.mark.parametrize("version", [4, 6])
def test_a_pool_hides_its_guests_behind_the_host_as_the_settings_say(trio: Trio, away: str, version: int) -> None:
    w0, w1 = trio.workloads[:2]
    cidr = {4: "10.65.0.0/16", 6: "2001:db8:a41::/64"}[version]
    pool = document("IPPool", "guests", "", {"cidr": cidr, "natOutgoing": True})

    def seen(sender: str) -> tuple[str, int]:
        found = heard(away, sender, BEYOND[version])
        return found.source, found.port

    assert seen(w0.guest.name)[0] == w0.address(version)
    trio.put(pool)
    try:
        assert seen(w0.guest.name)[0] == LOCAL[version]
        assert heard(w1.guest.name, w0.guest.name, w1.address(version)).source == w0.address(version)

        trio.use(nat_port_range=(1024, 1030))
        source, port = seen(w0.guest.name)
        assert (source, port in range(1024, 1031)) == (LOCAL[version], True)

        trio.use(nat_outgoing_interface_filter="other+")
        assert seen(w0.guest.name)[0] == w0.address(version)
        trio.use(nat_outgoing_interface_filter="up+")
        assert seen(w0.guest.name)[0] == LOCAL[version]
    finally:
        trio.use(nat_port_range=None, nat_outgoing_interface_filter="")
    trio.delete(pool)
    assert seen(w0.guest.name)[0] == w0.address(version)


@pytest.mark.conformance("N3")
def test_metadata_and_dns_of_the_host_are_reached_whatever_policy_says(trio: Trio) -> None:
    trio.own("192.0.2.1/32", "2001:db8:99::1/128")
    trio.listen_on_host(53, 547, 8775, 8776)
    trio.use(metadata_addr="192.0.2.1", metadata_port=8775)
    try:
        trio.put(policy("shut", "all()", [DENY], [DENY]))
        w0 = trio.workloads[0]
        four, six = w0.addresses

        def ask(address: str, port: int, protocol: str) -> Try:
            return Try(w0.guest.name, six if ":" in address else four, address, port, protocol)

        good = {
            ask("169.254.169.254", 80, TCP),
            ask("192.0.2.1", 53, UDP),
            ask("192.0.2.1", 53, TCP),
            ask("2001:db8:99::1", 53, UDP),
            ask("2001:db8:99::1", 53, TCP),
        }
        bad = {
            ask("192.0.2.1", 8776, TCP),
            ask("192.0.2.1", 547, UDP),
            ask("2001:db8:99::1", 8776, TCP),
            # Of DHCPv6, but not from a client's port.
            ask("2001:db8:99::1", 547, UDP),
            ask("169.254.169.254", 81, TCP),
        }
        assert trio.listeners.passes(good | bad, good) == good

        # A tap without an endpoint has none of this.
        trio.delete(w0.document())
        assert trio.listeners.passes(good | bad, []) == set()
    finally:
        trio.use(metadata_addr=FELIX_DEFAULTS.metadata_addr, metadata_port=FELIX_DEFAULTS.metadata_port)


@pytest.mark.conformance("N3")
def test_a_guest_without_an_address_yet_is_heard_by_dhcp(trio: Trio) -> None:
    w0 = trio.workloads[0]
    trio.put(policy("shut", "all()", [DENY], [DENY]))
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        server.bind(("", 67))
        server.settimeout(0.2)
        with in_namespace(f"/run/netns/{w0.guest.name}"):
            wire = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
            wire.bind(("eth0", 0))
        discover = frame(w0.guest.mac, b"discover")

        def arrives() -> bool:
            wire.send(discover)
            try:
                return server.recvfrom(100)[0] == b"discover"
            except TimeoutError:
                return False

        eventually(arrives, "a DHCPDISCOVER at the host")

        # Of another MAC it is not the guest's.
        wire.send(frame("fa:16:3e:00:00:77", b"forged"))
        wire.send(discover)
        assert server.recvfrom(100)[0] == b"discover"


def frame(mac: str, data: bytes) -> bytes:
    """A broadcast UDP datagram from 0.0.0.0 port 68 to port 67, in an Ethernet frame; without a UDP checksum."""
    length = 8 + len(data)
    ip4 = bytes.fromhex(f"4500{20 + length:04x}000040004011") + b"\0\0" + bytes(4) + b"\xff" * 4
    total = sum(int.from_bytes(ip4[n : n + 2]) for n in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    ip4 = ip4[:10] + (~total & 0xFFFF).to_bytes(2) + ip4[12:]
    udp = b"\0\x44\0\x43" + length.to_bytes(2) + b"\0\0"
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) + b"\x08\0" + ip4 + udp + data


@pytest.mark.conformance("Q4")
@pytest.mark.parametrize("version", [4, 6])
def test_a_limit_of_connections_holds_for_clients_from_outside(trio: Trio, away: str, version: int) -> None:
    w0 = trio.workloads[0]
    trio.put(w0.document(qosControls={"ingressMaxConnections": 3}))
    with ExitStack() as stack:
        with in_namespace(f"/run/netns/{w0.guest.name}"):
            # The kernel completes what nobody has accepted yet.
            stack.enter_context(socket.create_server(("::", 5001), family=socket.AF_INET6, dualstack_ipv6=True))

        def connect() -> socket.socket:
            with in_namespace(f"/run/netns/{away}"):
                return stack.enter_context(socket.create_connection((w0.address(version), 5001), timeout=5))

        first, *_ = [connect() for _ in range(3)]
        with pytest.raises(ConnectionError):
            connect()
        # Reset, so that no side waits for the other to close.
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        first.close()

        def room() -> bool:
            try:
                return connect() is not None
            except ConnectionError:
                return False

        eventually(room, "a place for another connection")
