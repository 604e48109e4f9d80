"""Real packets between two guests behind veth taps and their host, IPv4 and IPv6.

guest one (10.65.0.1, 2001:db8::1) -- tapone  host  taptwo -- guest two (10.65.0.2, 2001:db8::2)
"""

import contextlib
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from calico_openstack.felix.kernel.nft import NftTables
from calico_openstack.felix.ruleset.boot import boot_text
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import (
    Changes,
    MemberChange,
    SetId,
    WantedEndpoint,
    WantedMatch,
    WantedPolicy,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import host_net, parse_net
from calico_openstack.model.policy import PolicyKey, PortRange

pytestmark = pytest.mark.root

ONE4, ONE6, TWO4, TWO6 = "10.65.0.1", "2001:db8::1", "10.65.0.2", "2001:db8::2"
GROUP = PolicyKey("NetworkPolicy", "openstack", "ossg.default.one")
TAP_MAC = "ee:ee:ee:ee:ee:ee"
MEMBERS = SetId("s:members")
PING4, PING6 = WantedRule(action="allow", protocol=1), WantedRule(action="allow", protocol=58)
ALL = (WantedRule(action="allow"),)


def run(*command: str, check: bool = True) -> bool:
    done = subprocess.run(command, capture_output=True, text=True)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.returncode == 0


@dataclass
class Guest:
    """One guest: a namespace behind a tap."""

    name: str
    number: int

    @property
    def space(self) -> str:
        return f"cot-{os.getpid()}-nft-{self.name}"

    @property
    def tap(self) -> str:
        return f"tap{self.name}"

    @property
    def mac(self) -> str:
        return f"fa:16:3e:00:00:0{self.number}"

    def up(self) -> None:
        run("ip", "netns", "add", self.space)
        run("ip", "link", "add", self.tap, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        run("ip", "link", "set", self.tap, "address", TAP_MAC, "up", "addrgenmode", "none")
        for place, value in (
            (f"ipv4/conf/{self.tap}/proxy_arp", "1"),
            (f"ipv4/neigh/{self.tap}/proxy_delay", "0"),
            (f"ipv4/conf/{self.tap}/rp_filter", "0"),
            (f"ipv6/conf/{self.tap}/accept_dad", "0"),
        ):
            set_sysctl(place, value)
        run("ip", "address", "add", "fe80::1/64", "dev", self.tap, "nodad")
        self.ip("link", "set", "eth0", "address", self.mac, "up")
        self.own(f"10.65.0.{self.number}", f"2001:db8::{self.number}")
        self.ip("route", "add", "169.254.1.1", "dev", "eth0")
        self.ip("neighbour", "add", "169.254.1.1", "lladdr", TAP_MAC, "dev", "eth0", "nud", "permanent")
        self.ip("route", "add", "default", "via", "169.254.1.1", "dev", "eth0")
        self.ip("-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")

    def own(self, *addresses: str) -> None:
        """Configure addresses in the guest, and the way back to them on the host."""
        for address in addresses:
            self.ip("address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
            run("ip", "route", "replace", address, "dev", self.tap)

    def ip(self, *arguments: str) -> None:
        run("ip", "-n", self.space, *arguments)

    def pings(self, target: str, source: str = "") -> bool:
        frm = ["-I", source] if source else []
        return run("ip", "netns", "exec", self.space, "ping", "-c", "1", "-W", "1", *frm, target, check=False)

    def reaches(self, target: str, source: str = "") -> bool:
        """A ping is answered in the end: a busy machine may lose the first ones to neighbour discovery."""
        return any(self.pings(target, source) for _ in range(10))

    def down(self) -> None:
        run("ip", "netns", "delete", self.space, check=False)


def set_sysctl(place: str, value: str) -> None:
    with open(f"/proc/sys/net/{place}", "w") as file:
        file.write(value)


@pytest.fixture
def guests(namespace: None) -> Iterator[tuple[Guest, Guest]]:
    one, two = Guest("one", 1), Guest("two", 2)
    set_sysctl("ipv4/ip_forward", "1")
    set_sysctl("ipv6/conf/all/forwarding", "1")
    try:
        one.up()
        two.up()
        yield one, two
    finally:
        one.down()
        two.down()


def both_open(*guests: Guest) -> Changes:
    return Changes(
        policies={GROUP: WantedPolicy(key=GROUP, ingress=ALL, egress=ALL)},
        endpoints={endpoint(guest).key: endpoint(guest) for guest in guests},
    )


def endpoint(guest: Guest, *extra: str) -> WantedEndpoint:
    own = (f"10.65.0.{guest.number}", f"2001:db8::{guest.number}")
    return WantedEndpoint(
        key=EndpointKey("openstack", "here", "openstack", guest.name, guest.name),
        interface=guest.tap,
        mac=guest.mac,
        addresses=tuple(host_net(text) for text in own),
        allowed_pairs=tuple(parse_net(text) for text in extra),
        tiers=(WantedTier(name="default", ingress=(GROUP,), egress=(GROUP,)),),
    )


class Felix:
    """Renderer and kernel, as the agent uses them."""

    def __init__(self, settings: RulesetSettings | None = None) -> None:
        self.renderer = RulesetRenderer(settings or RulesetSettings())
        self.kernel = NftTables()

    def say(
        self, *endpoints: WantedEndpoint, ingress: tuple[WantedRule, ...] = ALL, egress: tuple[WantedRule, ...] = ALL
    ) -> None:
        changes = Changes()
        changes.policies = {GROUP: WantedPolicy(key=GROUP, ingress=ingress, egress=egress)}
        changes.endpoints = {value.key: value for value in endpoints}
        self.apply(changes)

    def apply(self, changes: Changes) -> None:
        sent = self.kernel.transactions
        self.kernel.apply(self.renderer.apply(changes))
        assert self.kernel.transactions <= sent + 1


@pytest.fixture
def felix(namespace: None) -> Iterator[Felix]:
    agent = Felix()
    yield agent
    agent.kernel.close()


def test_without_rules_the_guests_reach_each_other_so_that_silence_later_means_something(
    guests: tuple[Guest, Guest],
) -> None:
    one, _ = guests
    assert one.reaches(TWO4)
    assert one.reaches(TWO6)


def test_a_guest_is_reached_only_by_what_its_group_allows(guests: tuple[Guest, Guest], felix: Felix) -> None:
    one, two = guests
    felix.say(endpoint(one), endpoint(two), ingress=())
    assert not one.pings(TWO4)
    assert not one.pings(TWO6)

    felix.say(ingress=(PING4,))
    assert one.reaches(TWO4)
    assert not one.pings(TWO6)

    felix.say(ingress=(PING6,))
    assert not one.pings(TWO4)
    assert one.reaches(TWO6)


def test_membership_of_a_remote_group_opens_and_closes_the_way(guests: tuple[Guest, Guest], felix: Felix) -> None:
    one, two = guests
    felix.apply(Changes(sets={MEMBERS: frozenset()}))
    from_group = WantedRule(action="allow", source=WantedMatch(sets=(MEMBERS,)))
    felix.say(endpoint(one), endpoint(two), ingress=(from_group,))
    assert not one.pings(TWO4)

    addresses = frozenset({host_net(ONE4), parse_net("2001:db8::/127")})
    felix.apply(Changes(members={MEMBERS: MemberChange(addresses, frozenset())}))
    assert one.reaches(TWO4)
    assert one.reaches(TWO6)

    felix.apply(Changes(members={MEMBERS: MemberChange(frozenset(), addresses)}))
    assert not one.pings(TWO4)
    assert not one.pings(TWO6)


def test_a_port_is_open_only_while_the_rule_is_there(guests: tuple[Guest, Guest], felix: Felix) -> None:
    one, two = guests
    port_80 = WantedRule(action="allow", protocol=6, destination=WantedMatch(ports=(PortRange(80, 80),)))
    with served(two, 80, 81):
        for address in (TWO4, TWO6):
            felix.say(endpoint(one), endpoint(two), ingress=(port_80,))
            assert connects(one, address, 80)
            assert not connects(one, address, 81)

            felix.say(ingress=())
            assert not connects(one, address, 80)


def test_egress_rules_hold_the_sender(guests: tuple[Guest, Guest], felix: Felix) -> None:
    one, two = guests
    felix.say(endpoint(one), endpoint(two), egress=(PING4,))

    assert one.reaches(TWO4)
    assert not one.pings(TWO6)


def test_a_source_that_is_not_the_guests_own_is_dropped_until_it_is_allowed(
    guests: tuple[Guest, Guest], felix: Felix
) -> None:
    one, two = guests
    one.own("10.65.0.99", "2001:db8::99")
    felix.say(endpoint(one), endpoint(two))
    assert one.reaches(TWO4)
    assert not one.pings(TWO4, source="10.65.0.99")
    assert not one.pings(TWO6, source="2001:db8::99")

    felix.say(endpoint(one, "10.65.0.96/29", "2001:db8::99/128"))
    assert one.reaches(TWO4, source="10.65.0.99")
    assert one.reaches(TWO6, source="2001:db8::99")


def test_a_frame_with_a_foreign_mac_is_dropped(guests: tuple[Guest, Guest], felix: Felix) -> None:
    one, two = guests
    felix.say(endpoint(one), endpoint(two))
    assert one.reaches(TWO4)

    one.ip("link", "set", "eth0", "address", "fa:16:3e:00:00:77")

    assert not one.pings(TWO4)


def test_a_tap_that_no_endpoint_owns_passes_nothing_even_for_known_flows(
    guests: tuple[Guest, Guest], felix: Felix
) -> None:
    one, two = guests
    felix.say(endpoint(one), endpoint(two))
    assert one.reaches(TWO4)

    felix.apply(Changes(endpoints_removed={endpoint(two).key}))

    assert not one.pings(TWO4)
    assert not two.pings(ONE4)


def test_the_host_itself_is_closed_but_for_the_listed_services(guests: tuple[Guest, Guest], felix: Felix) -> None:
    one, two = guests
    run("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
    felix.say(endpoint(one), endpoint(two))
    assert not one.pings("192.0.2.1")

    # The same state under another setting: only the difference is sent.
    open_host = RulesetRenderer(RulesetSettings(endpoint_to_host="accept"))
    open_host.apply(both_open(one, two))
    assert len(felix.kernel.synchronise(open_host.full())) == 1
    assert one.reaches("192.0.2.1")


def test_the_boot_table_keeps_taps_shut_and_goes_with_the_first_transaction(
    guests: tuple[Guest, Guest], felix: Felix
) -> None:
    one, two = guests
    subprocess.run(["nft", "-f", "-"], input=boot_text(), text=True, check=True)
    assert not one.pings(TWO4)
    felix.renderer.apply(both_open(one, two))

    felix.kernel.synchronise(felix.renderer.full())

    assert one.reaches(TWO4)
    assert "calico-boot" not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
    assert felix.kernel.transactions == 1


def test_the_host_never_claims_a_guests_own_address_nor_believes_a_false_claim(
    guests: tuple[Guest, Guest], felix: Felix
) -> None:
    one, two = guests
    felix.say(endpoint(one), endpoint(two))
    # Route the guest's address elsewhere: then proxy ARP would answer the guest's own probe for it.
    run("ip", "route", "replace", ONE4, "dev", two.tap)
    assert not answered(one, sender="0.0.0.0", target=ONE4)
    assert answered(one, sender=ONE4, target=TWO4)
    assert not answered(one, sender="10.65.0.50", target=TWO4)


def answered(guest: Guest, sender: str, target: str) -> bool:
    """Does the host answer this ARP request of the guest?"""
    script = f"""
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
s.bind(("eth0", 0x0806)); s.settimeout(0.7)
mac = bytes.fromhex("{guest.mac.replace(":", "")}")
request = b"\\xff" * 6 + mac + b"\\x08\\x06" + b"\\0\\1\\x08\\0\\6\\4\\0\\1"
request += mac + socket.inet_aton("{sender}") + bytes(6) + socket.inet_aton("{target}")
s.send(request)
try:
    while True:
        got = s.recv(200)
        if got[20:22] == b"\\0\\2" and got[28:32] == socket.inet_aton("{target}"):
            sys.exit(0)
except TimeoutError:
    sys.exit(1)
"""
    return run("ip", "netns", "exec", guest.space, "python3", "-c", script, check=False)


@contextlib.contextmanager
def served(guest: Guest, *ports: int) -> Iterator[None]:
    """TCP listeners on all addresses of the guest."""
    script = f"""
import socket, sys, time
held = [socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) for port in {ports}]
print("ready", flush=True)
time.sleep(600)
"""
    command = ["ip", "netns", "exec", guest.space, "python3", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.terminate()


def connects(guest: Guest, address: str, port: int) -> bool:
    script = f"import socket; socket.create_connection(('{address}', {port}), timeout=0.7)"
    return run("ip", "netns", "exec", guest.space, "python3", "-c", script, check=False)


def test_the_spoof_helpers_speak_the_byte_order_they_claim() -> None:
    assert struct.unpack("!I", socket.inet_aton(ONE4))[0] == host_net(ONE4).value
