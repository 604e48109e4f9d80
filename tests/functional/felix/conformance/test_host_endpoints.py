"""Host endpoints, with real flows: an outside host on eth0 of the compute host, the host itself, and its guests.

out (192.0.2.2, 2001:db8:99::2) --- eth0 (192.0.2.1, 2001:db8:99::1) compute host --- w0, w1, w2
"""

import contextlib
import select
import socket
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from calico_openstack.model import failsafe
from calico_openstack.model.failsafe import parse_failsafes
from calico_openstack.testing.compute_host import Guest, in_namespace, ip
from calico_openstack.testing.connections import TCP, UDP, Try
from calico_openstack.testing.trio import ALLOW, DENY, HOST, Trio, policy
from calico_openstack.testing.trio import trio as trio_of_settings
from calico_openstack.testing.written import Document, document

pytestmark = pytest.mark.root

SETTINGS: dict[str, Any] = {
    "default_endpoint_to_host_action": "accept",
    "failsafe_inbound_host_ports": failsafe.INBOUND,
    "failsafe_outbound_host_ports": failsafe.OUTBOUND,
}
PORTS = (80, 81)
SSH = 22
PING = {"action": "Allow", "protocol": "TCP", "destination": {"ports": [80]}}


class Outside(NamedTuple):
    """The world behind eth0."""

    trio: Trio
    guest: Guest

    def try_of(self, line: str, port: int, protocol: str = TCP, version: int = 4) -> Try:
        """`out>host`, `host>out`, `out>w0`, `w0>out`, `w0>host`, `host>w0`."""
        outer, inner = ("192.0.2.2", "192.0.2.1") if version == 4 else ("2001:db8:99::2", "2001:db8:99::1")
        spaces = {"out": (self.guest.name, outer), "host": ("", inner)}
        for one in self.trio.workloads:
            spaces[one.name] = (one.guest.name, one.address(version))
        sender, receiver = (spaces[name] for name in line.split(">"))
        return Try(sender[0], sender[1], receiver[1], port, protocol)

    def expect(
        self, *lines: str, among: str, ports: tuple[int, ...] = PORTS, protocols: tuple[str, ...] = (TCP, UDP)
    ) -> None:
        """Of `among` exactly those lines pass; a line may end with `:port` to mean that port only."""
        tries, wanted = {}, set()
        allowed = {line.partition(":")[::2] for line in lines}
        for line in among.split():
            for port in ports:
                for protocol in protocols:
                    for version in (4, 6):
                        one = self.try_of(line, port, protocol, version)
                        tries[one] = f"{line}:{port} {protocol} {version}"
                        if (line, "") in allowed or (line, str(port)) in allowed:
                            wanted.add(one)
        passed = self.trio.listeners.passes(tries, wanted)
        assert {tries[one] for one in passed} == {tries[one] for one in wanted}


@pytest.fixture(scope="module")
def world() -> Iterator[Outside]:
    with trio_of_settings(**SETTINGS) as trio:
        guest = Guest.__new__(Guest)
        Guest.count += 1
        guest.name, guest.tap, guest.mac = f"coth-{Guest.count}-out", "eth0", "02:00:00:00:99:02"
        ip("netns", "add", guest.name)
        try:
            guest.plug("192.0.2.2/24", "2001:db8:99::2/64")
            for address in ("192.0.2.1/24", "2001:db8:99::1/64"):
                ip("address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
            for words in ("route add 10.65.0.0/24 via 192.0.2.1", "-6 route add 2001:db8:a41::/64 via 2001:db8:99::1"):
                ip("-n", guest.name, *words.split())
            trio.listeners.open(guest.name, *PORTS, SSH)
            trio.listen_on_host(*PORTS, SSH)
            yield Outside(trio, guest)
        finally:
            guest.close()


@pytest.fixture
def out(world: Outside) -> Iterator[Outside]:
    yield world
    world.trio.use(**SETTINGS)
    world.trio.fresh()


def host_endpoint(interface: str = "eth0", name: str = "he", **spec: Any) -> Document:
    body = {"node": HOST, "interfaceName": interface, **spec}
    return document("HostEndpoint", name, "", body, labels={"role": "host"})


def hosts(name: str, ingress: list[Any] | None = None, egress: list[Any] | None = None, **spec: Any) -> Document:
    return policy(name, "role == 'host'", ingress, egress, **spec)


ALL = "out>host host>out out>w0 w0>out w0>host host>w0 w0>w1"
EVERYWHERE = tuple(ALL.split())
NAMED_OR_ALL = pytest.mark.parametrize("interface", ["eth0", "*"])
BY_ADDRESS = {"interfaceName": "", "expectedIPs": ["192.0.2.1"]}


def test_without_host_endpoints_the_host_is_not_our_business(out: Outside) -> None:
    out.expect(*EVERYWHERE, among=ALL)


@pytest.mark.conformance("H3", "H8")
@NAMED_OR_ALL
def test_a_host_endpoint_without_policies_closes_the_host_but_for_failsafe_ports(out: Outside, interface: str) -> None:
    out.trio.put(host_endpoint(interface))

    out.expect("out>w0", "w0>out", "w0>host", "host>w0", "w0>w1", among=ALL)
    out.expect("out>host", among="out>host", ports=(SSH,), protocols=(TCP,))
    assert out.guest.pings("192.0.2.1") is False
    # Neighbours are found all the same.
    ip("-n", out.guest.name, "neighbour", "flush", "dev", "eth0")
    out.expect("out>w0", among="out>w0")


def test_failsafe_ports_are_what_the_settings_say_at_once_and_where_they_say(out: Outside) -> None:
    out.trio.put(host_endpoint())
    failsafes = parse_failsafes("tcp:80,tcp:192.0.2.2/32:81,udp:[2001:db8:99::/64]:81,udp:203.0.113.0/24:80")
    out.trio.use(
        failsafe_inbound_host_ports=failsafes,
        failsafe_outbound_host_ports=failsafes[:1],
    )

    every = [
        out.try_of(line, port, protocol, version)
        for line in ("out>host", "host>out")
        for port in (*PORTS, SSH)
        for protocol in (TCP, UDP)
        for version in (4, 6)
    ]
    opened = {out.try_of(line, 80, TCP, version) for line in ("out>host", "host>out") for version in (4, 6)}
    opened |= {out.try_of("out>host", 81, TCP, 4), out.try_of("out>host", 81, UDP, 6)}
    assert out.trio.listeners.passes(every, opened) == opened


def test_a_host_endpoint_is_found_by_an_expected_address(out: Outside) -> None:
    out.trio.put(host_endpoint(**BY_ADDRESS))
    out.expect("out>w0", among="out>host host>out out>w0")

    ip("address", "del", "192.0.2.1/24", "dev", "eth0")
    try:
        out.trio.step()
        version6 = [out.try_of("out>host", 80, TCP, 6)]
        assert out.trio.listeners.passes(version6, version6) == set(version6)
    finally:
        ip("address", "add", "192.0.2.1/24", "dev", "eth0")
    out.trio.step()
    out.expect("out>w0", among="out>host host>out out>w0")


def test_an_endpoint_found_by_its_address_follows_an_interface_that_is_renamed_and_goes_with_it(out: Outside) -> None:
    def places() -> dict[str, str]:
        out.trio.step()
        return dict(out.trio.dataplane.wanted.host_interfaces)

    out.trio.put(host_endpoint("", expectedIPs=["198.51.100.8"]))
    assert places() == {}
    ip("link", "add", "eth8", "type", "veth", "peer", "name", "eth8-peer")
    try:
        ip("address", "add", "198.51.100.8/24", "dev", "eth8")
        assert places() == {"eth8": "he"}
        ip("link", "set", "eth8", "name", "eth7")
        assert places() == {"eth7": "he"}
        # Nova may call it so: then it is a guest's.
        ip("link", "set", "eth7", "name", "tapeth7")
        assert places() == {}
    finally:
        ip("link", "delete", "eth8-peer")
    assert places() == {}


@pytest.mark.conformance("H4")
@NAMED_OR_ALL
def test_policies_open_what_they_say_in_their_direction(out: Outside, interface: str) -> None:
    out.trio.put(host_endpoint(interface), hosts("web", ingress=[PING]), hosts("all", egress=[ALLOW]))

    lines = ("out>host:80", "host>out", "out>w0", "w0>out", "w0>host", "host>w0", "w0>w1")
    out.expect(*lines, among=ALL, protocols=(TCP,))
    out.expect("host>out", among="out>host host>out", protocols=(UDP,))


RAW = (253, 254)
"""Protocol numbers for experiments (RFC 3692): no ports, nothing but IP."""


def raw_sockets(space: str) -> dict[tuple[int, int], socket.socket]:
    """By IP version and protocol, in a namespace (the test's own without a name)."""
    with in_namespace(f"/run/netns/{space}") if space else contextlib.nullcontext():
        return {
            (version, number): socket.socket(family, socket.SOCK_RAW, number)
            for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6))
            for number in RAW
        }


@pytest.mark.conformance("H3", "H4")
@NAMED_OR_ALL
def test_policies_open_protocols_by_their_number_and_no_others(out: Outside, interface: str) -> None:
    outside, here = raw_sockets(out.guest.name), raw_sockets("")
    ways = {
        "in": (outside, here, {4: "192.0.2.1", 6: "2001:db8:99::1"}),
        "out": (here, outside, {4: "192.0.2.2", 6: "2001:db8:99::2"}),
    }

    def arrived(way: str, *, allowed: set[int]) -> set[tuple[int, int]]:
        """By IP version and protocol. The denied ones are sent first, and packets do not overtake one another."""
        subprocess.run(["conntrack", "-F"], capture_output=True, check=True)
        senders, receivers, addresses = ways[way]
        for version, number in sorted(senders, key=lambda key: key[1] in allowed):
            with contextlib.suppress(PermissionError):
                senders[version, number].sendto(b"x", (addresses[version], 0))
        names, found = {one: key for key, one in receivers.items()}, set()
        while ready := select.select(names, [], [], 10.0 if len(found) < 2 * len(allowed) else 0.2)[0]:
            for one in ready:
                one.recv(100)
                found.add(names[one])
        return found

    def both(*numbers: int) -> set[tuple[int, int]]:
        return {(version, number) for version in (4, 6) for number in numbers}

    try:
        for way in ways:
            assert arrived(way, allowed=set(RAW)) == both(*RAW)
        out.trio.put(host_endpoint(interface))
        for way in ways:
            assert arrived(way, allowed=set()) == set()
        ingress, egress = ({"action": "Allow", "protocol": number} for number in RAW)
        out.trio.put(hosts("raw", [ingress], [egress]))
        assert arrived("in", allowed={RAW[0]}) == both(RAW[0])
        assert arrived("out", allowed={RAW[1]}) == both(RAW[1])
    finally:
        for one in (*outside.values(), *here.values()):
            one.close()


@pytest.mark.conformance("H6")
def test_a_profile_opens_and_a_policy_of_one_direction_closes_that_direction(out: Outside) -> None:
    out.trio.put(host_endpoint(profiles=["open"]))
    out.expect(*EVERYWHERE, among=ALL)

    out.trio.put(hosts("closed", egress=[DENY]))
    every = "out>host host>out out>w0 w0>out host>w0 w0>w1"
    out.expect("out>host", "out>w0", "w0>out", "host>w0", "w0>w1", among=every)
    out.trio.put(hosts("closed", ingress=[DENY]))
    out.expect("host>out", "out>w0", "w0>out", "host>w0", "w0>w1", among=every)
    out.trio.put(hosts("closed", ingress=[DENY], applyOnForward=True))
    out.expect("host>out", "w0>out", "host>w0", "w0>w1", among=every)
    out.trio.put(hosts("closed", egress=[DENY], applyOnForward=True))
    out.expect("out>host", "out>w0", "host>w0", "w0>w1", among=every)


@pytest.mark.conformance("H5", "H9")
@NAMED_OR_ALL
def test_apply_on_forward_closes_the_way_to_guests_but_not_the_hosts_own(out: Outside, interface: str) -> None:
    out.trio.put(host_endpoint(interface, profiles=["open"]), hosts("all", [ALLOW], [ALLOW], order=20))
    out.expect(*EVERYWHERE, among=ALL)

    only80 = {"action": "Deny", "protocol": "TCP", "destination": {"notPorts": [80]}}
    out.trio.put(hosts("through", [only80, {**DENY, "protocol": "UDP"}, ALLOW], [DENY], order=10, applyOnForward=True))
    lines = ("out>w0:80", "w0>w1", "host>w0", "w0>host", "out>host:80")
    out.expect(*lines, among=ALL, protocols=(TCP,))
    out.expect("w0>w1", "host>w0", "w0>host", among=ALL, protocols=(UDP,))


@contextlib.contextmanager
def own_input(policy: str) -> Iterator[None]:
    """The host's own INPUT, with this policy; what belongs to a known flow passes."""
    chain = f"type filter hook input priority 0; policy {policy}; ct state established,related accept;"
    subprocess.run(["nft", "-f", "-"], input=f"table inet own {{ chain INPUT {{ {chain} }}; }}", text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", "own"], check=True)


EARLY = hosts("early", [DENY], preDNAT=True, applyOnForward=True)


@pytest.mark.conformance("H1")
@pytest.mark.parametrize("policy_of_input", ["accept", "drop"])
@pytest.mark.parametrize(
    "documents",
    [(), (host_endpoint(),), (host_endpoint("*"),), (host_endpoint("*"), EARLY), (host_endpoint(), EARLY)],
    ids=["none", "eth0", "*", "* with pre-DNAT", "eth0 with pre-DNAT"],
)
def test_guests_reach_the_host_as_the_setting_says_whatever_host_endpoints_there_are(
    out: Outside, documents: tuple[Document, ...], policy_of_input: str
) -> None:
    """A packet needs the consent of every table: what the host's own INPUT drops, our ACCEPT does not save."""
    out.trio.put(*documents)
    with own_input(policy_of_input):
        for action in ("drop", "accept", "return"):
            out.trio.use(default_endpoint_to_host_action=action)

            allowed = action != "drop" and policy_of_input == "accept"
            out.expect(*(["w0>host"] if allowed else []), among="w0>host")


@pytest.mark.conformance("H10")
@NAMED_OR_ALL
def test_untracked_policies_need_both_directions_and_leave_no_flow(out: Outside, interface: str) -> None:
    out.trio.put(host_endpoint(interface))
    out.expect(among="out>host host>out")
    subprocess.run(["conntrack", "-F"], capture_output=True, check=True)

    web = {"action": "Allow", "protocol": "TCP", "destination": {"ports": [80]}}
    reply = {"action": "Allow", "protocol": "TCP", "source": {"ports": [80]}}
    out.trio.put(hosts("untracked", [web], [reply], doNotTrack=True, applyOnForward=True))
    out.expect("out>host:80", among="out>host host>out", protocols=(TCP,))

    listed = subprocess.run(["conntrack", "-L"], capture_output=True, text=True, check=True).stdout
    assert "dport=80 " not in listed
    out.trio.delete(hosts("untracked"))
    out.expect(among="out>host host>out")


@pytest.mark.conformance("H11", "H8")
@NAMED_OR_ALL
def test_pre_dnat_policies_go_by_the_port_that_was_asked_for(out: Outside, interface: str) -> None:
    """Other software sends port 8080 of the host to port 80 of w0, and port 81 of w0 is asked for directly."""
    rules = "table ip foreign { chain pre { type nat hook prerouting priority -90; ip daddr 192.0.2.1 tcp dport 8080"
    subprocess.run(["nft", "-f", "-"], input=f"{rules} dnat to 10.65.0.1:80; }}; }}", text=True, check=True)
    forwarded, direct = out.try_of("out>host", 8080), out.try_of("out>w0", 81)
    try:
        out.trio.put(host_endpoint(interface))
        assert out.trio.listeners.passes([forwarded], [forwarded]) == {forwarded}

        closed = hosts("closed", [DENY], order=20, preDNAT=True, applyOnForward=True)
        out.trio.put(closed)
        assert out.trio.listeners.passes([forwarded, direct], []) == set()
        out.expect("w0>out", "w0>w1", among="w0>out w0>w1 out>host")

        def pinhole(port: int) -> Document:
            rule = {"action": "Allow", "protocol": "TCP", "destination": {"ports": [port]}}
            return hosts("pinhole", [rule], order=10, preDNAT=True, applyOnForward=True)

        out.trio.put(pinhole(80))
        assert out.trio.listeners.passes([forwarded], []) == set()
        # Port 80 of the host itself is open now, without any normal policy.
        out.expect("out>host:80", among="out>host", protocols=(TCP,))
        out.trio.put(pinhole(8080))
        assert out.trio.listeners.passes([forwarded, direct], [forwarded]) == {forwarded}

        # The guest's own policy is asked as well.
        guests = policy("guest", "w == 'w0'", ingress=[])
        out.trio.put(guests)
        assert out.trio.listeners.passes([forwarded], []) == set()
    finally:
        subprocess.run(["nft", "delete", "table", "ip", "foreign"], check=True)


@pytest.mark.conformance("H2")
def test_another_table_that_drops_what_is_forwarded_goes_on_dropping_it(out: Outside) -> None:
    out.trio.put(host_endpoint(profiles=["open"]), hosts("all", [ALLOW], [ALLOW], applyOnForward=True))
    rules = (
        'table ip foreign { chain f { type filter hook forward priority 10; policy drop; iifname "tap*" accept; }; }'
    )
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        there, back = out.try_of("out>w0", 80), out.try_of("w0>w1", 80)
        assert out.trio.listeners.passes([there, back], [back]) == {back}
    finally:
        subprocess.run(["nft", "delete", "table", "ip", "foreign"], check=True)


@pytest.mark.conformance("H7")
def test_forwarding_stays_off_where_it_is_switched_off(out: Outside) -> None:
    def forwarding() -> str:
        with open("/proc/sys/net/ipv4/ip_forward") as file:
            return file.read().strip()

    out.trio.use(ip_forwarding=False)
    try:
        with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
            file.write("0")
        out.trio.put(host_endpoint(), hosts("all", [ALLOW], [ALLOW]))
        assert forwarding() == "0"
        for line in ("out>host", "host>out", "host>w0"):
            one = out.try_of(line, 80)
            assert out.trio.listeners.passes([one], [one]) == {one}, line
    finally:
        out.trio.use(ip_forwarding=True)
    out.trio.step()
    assert forwarding() == "1"
