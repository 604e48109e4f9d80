"""Frames that a guest should not get away with: each passes without our tables, and not with them.

guest one (10.65.0.1, 2001:db8::1) -- tapone  host (192.0.2.1)  taptwo -- guest two (10.65.0.2, 2001:db8::2)

Policy allows pings between the guests, or everything where that is the point. What arrives is counted by a table of the
test's own, behind ours.
"""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from calico_openstack.felix.wanted.state import WantedRule
from calico_openstack.testing import frames
from calico_openstack.testing.guests import ALL, Felix, Guest, endpoint, run, set_sysctl

pytestmark = pytest.mark.root

PINGS = (WantedRule(action="allow", protocol=1), WantedRule(action="allow", protocol=58))
ONE4, TWO4, ONE6, TWO6, LINK = "10.65.0.1", "10.65.0.2", "2001:db8::1", "2001:db8::2", "fe80::f816:3eff:fe00:1"


class Trick(NamedTuple):
    """`match` counts what arrives at `hook`; `rules` are what policy allows."""

    name: str
    script: str
    match: str
    hook: str = "forward"
    rules: tuple[WantedRule, ...] = PINGS


def frames_of(source: str, destination: str, packets: str, to: str = "ROUTER") -> str:
    """`packets` makes packets from `s` to `d`."""
    ends = f"s, d = a('{source}'), a('{destination}')"
    return f"{ends}\nfor packet in {packets}: wire.send(ethernet(packet, {to}))"


def v4(packets: str) -> str:
    return frames_of(ONE4, TWO4, packets)


def v6(packets: str) -> str:
    return frames_of(ONE6, TWO6, packets)


PORT, ANSWER4, ANSWER6, RA = "udp dport 9999", "udp sport 67", "udp sport 547", "icmpv6 type nd-router-advert"
UDP = "udp(s, d, (9, 9999))"
GROUP = r"b'\x33\x33\0\0\0\1'"
ADVERT = r"icmp6(s, d, 134, bytes((64, 0)) + struct.pack('!HII', 1800, 0, 0) + b'\1\1' + MAC)"
REDIRECT = f"icmp6(s, d, 137, bytes(4) + a('{TWO6}') * 2)"


def options(then: int, data: str) -> str:
    """IPv6 options of 8 bytes, filled with padding."""
    return rf"bytes(({then}, 0)) + b'\1\4\0\0\0\0' + {data}"


def alone(protocol: int, data: str) -> str:
    """An IPv6 fragment that is the whole."""
    return f"[v6(s, d, 44, struct.pack('!BxHI', {protocol}, 0, 9) + {data})]"


def advert(packets: str, source: str = LINK) -> str:
    return frames_of(source, "ff02::1", packets, GROUP)


TRICKS = [
    Trick("UDP that nobody allows", v4(f"[v4(s, d, 17, {UDP})]"), PORT),
    Trick("behind IPv4 options", v4(rf"[v4(s, d, 17, {UDP}, b'\7\7\4\0\0\0\0\0')]"), PORT),
    Trick("in IPv4 fragments", v4(f"fragments4(s, d, 17, {UDP}, 8)"), PORT),
    Trick("behind IPv6 destination options", v6(f"[v6(s, d, 60, {options(17, UDP)})]"), PORT),
    Trick("behind two kinds of IPv6 options", v6(f"[v6(s, d, 0, {options(60, options(17, UDP))})]"), PORT),
    Trick("in IPv6 fragments", v6(f"fragments6(s, d, 17, {UDP}, 8)"), PORT),
    Trick("in an IPv6 fragment that is all of it", v6(alone(17, UDP)), PORT),
    Trick("VXLAN", v4("[v4(s, d, 17, udp(s, d, (9, 4789)))]"), "udp dport 4789", rules=ALL),
    Trick("VXLAN over IPv6", v6("[v6(s, d, 17, udp(s, d, (9, 4789)))]"), "udp dport 4789", rules=ALL),
    Trick("IP in IP", v4("[v4(s, d, 4, v4(d, s, 17, udp(d, s, (9, 9))))]"), "ip protocol 4", rules=ALL),
    Trick("router advertisement", advert(f"[v6(s, d, 58, {ADVERT})]"), RA, "input", ALL),
    Trick("router advertisement behind options", advert(f"[v6(s, d, 60, {options(58, ADVERT)})]"), RA, "input", ALL),
    Trick("router advertisement in fragments", advert(f"fragments6(s, d, 58, {ADVERT}, 8)"), RA, "input", ALL),
    Trick("router advertisement from its address", advert(f"[v6(s, d, 58, {ADVERT})]", ONE6), RA, "input", ALL),
    Trick(
        "redirect", frames_of(LINK, "fe80::1", f"[v6(s, d, 58, {REDIRECT})]"), "icmpv6 type nd-redirect", "input", ALL
    ),
    Trick(
        "DHCP server's answer",
        frames_of(ONE4, "255.255.255.255", "[v4(s, d, 17, udp(s, d, (67, 68)))]", "ALL"),
        ANSWER4,
        "input",
        ALL,
    ),
    Trick("DHCP server's answer to a guest", v4("[v4(s, d, 17, udp(s, d, (67, 68)))]"), ANSWER4, rules=ALL),
    Trick(
        "DHCPv6 server's answer",
        frames_of(LINK, "fe80::1", "[v6(s, d, 17, udp(s, d, (547, 546)))]"),
        ANSWER6,
        "input",
        ALL,
    ),
    Trick("the host's loopback", frames_of(ONE4, "127.0.0.1", f"[v4(s, d, 17, {UDP})]"), PORT, "input", ALL),
    Trick("the host's link-local address", frames_of(LINK, "fe80::1", f"[v6(s, d, 17, {UDP})]"), PORT, "input", ALL),
    Trick("another address of the host", frames_of(ONE4, "192.0.2.1", f"[v4(s, d, 17, {UDP})]"), PORT, "input", ALL),
    Trick("an address on another tap", frames_of(ONE6, "2001:db8:2::1", f"[v6(s, d, 17, {UDP})]"), PORT, "input", ALL),
    Trick(
        "a foreign source with a priority tag",
        frames_of("10.65.0.99", TWO4, f"[v4(s, d, 17, {UDP})]", r"tag=b'\x81\0\0\0'"),
        PORT,
        rules=ALL,
    ),
]


@pytest.fixture
def stage(guests: tuple[Guest, Guest]) -> tuple[Guest, Guest]:
    one, two = guests
    run("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
    run("ip", "address", "add", "2001:db8:2::1/128", "dev", two.tap, "nodad")
    run("ip", "route", "add", "10.65.0.99", "dev", one.tap)
    # As Felix has it for metadata at a loopback address.
    set_sysctl(f"ipv4/conf/{one.tap}/route_localnet", "1")
    return one, two


@contextlib.contextmanager
def counted(match: str, hook: str, interface: str = "tapone") -> Iterator["Counter"]:
    run("nft", f"add table inet witness; add chain inet witness c {{ type filter hook {hook} priority 20; }}")
    run("nft", f'add rule inet witness c iifname "{interface}" {match} counter')
    try:
        yield Counter()
    finally:
        run("nft", "delete", "table", "inet", "witness", check=False)


class Counter:
    def now(self) -> int:
        shown = subprocess.run(["nft", "-j", "list", "chain", "inet", "witness", "c"], capture_output=True, check=True)
        (rule,) = (entry["rule"] for entry in json.loads(shown.stdout)["nftables"] if "rule" in entry)
        return next(int(part["counter"]["packets"]) for part in rule["expr"] if "counter" in part)


def send(guest: Guest, script: str) -> None:
    frames.send(guest.space, guest.mac, script)


@pytest.mark.parametrize("trick", TRICKS, ids=[trick.name for trick in TRICKS])
def test_this_does_not_get_through(stage: tuple[Guest, Guest], felix: Felix, trick: Trick) -> None:
    one, two = stage
    with counted(trick.match, trick.hook) as counter:
        send(one, trick.script)
        assert counter.now() == 1, "without our tables it arrives"
        felix.say(endpoint(one), endpoint(two), ingress=trick.rules, egress=trick.rules)

        send(one, trick.script)

        assert counter.now() == 1
    assert one.reaches(TWO4)
    assert one.reaches(TWO6)


@pytest.mark.parametrize("trick", TRICKS[:7], ids=[trick.name for trick in TRICKS[:7]])
def test_what_policy_allows_passes_in_the_same_disguise(stage: tuple[Guest, Guest], felix: Felix, trick: Trick) -> None:
    """So that the ports are seen and not the disguise refused."""
    one, two = stage
    felix.say(endpoint(one), endpoint(two), ingress=ALL, egress=ALL)
    with counted(trick.match, trick.hook) as counter:
        send(one, trick.script)

        assert counter.now() == 1


SOURCES = {
    "multicast": ("224.0.0.5", TWO4),
    "reserved": ("240.0.0.1", TWO4),
    "loopback": ("127.0.0.1", "192.0.2.1"),
    "the host's own": ("192.0.2.1", TWO4),
    "IPv6 multicast": ("ff05::5", TWO6),
    "IPv6 loopback": ("::1", TWO6),
    "link-local to a global address": (LINK, TWO6),
}


@pytest.mark.parametrize(("source", "destination"), SOURCES.values(), ids=SOURCES)
def test_a_guest_that_may_send_from_any_address_may_not_send_from_these(
    stage: tuple[Guest, Guest], felix: Felix, source: str, destination: str
) -> None:
    one, two = stage
    felix.say(endpoint(one, "0.0.0.0/0", "::/0"), endpoint(two, "0.0.0.0/0", "::/0"))
    hook = "forward" if destination in (TWO4, TWO6) else "input"
    make = "v6" if ":" in source else "v4"

    def attempt(sender: str) -> str:
        packet = f"{make}(s, d, 17, udp(s, d, (9, 53)))"
        return f"s, d = a('{sender}'), a('{destination}')\nwire.send(ethernet({packet}))"

    with counted("udp dport 53", hook) as counter:
        send(one, attempt(source))
        assert counter.now() == 0
        # A free choice otherwise.
        run("ip", "route", "add", "198.51.100.0/24", "dev", one.tap)
        send(one, attempt("2001:db8:77::7" if ":" in source else "198.51.100.7"))
        assert counter.now() == 1


TAGGED = f"""
s, d = a('{ONE4}'), a('{TWO4}')
for kind in (b"\\x81\\0", b"\\x88\\xa8"):
    wire.send(ethernet(v4(s, d, 17, udp(s, d, (9, 9999))), tag=kind + b"\\0\\5"))
"""


def test_a_tagged_frame_is_nobodys_and_a_tag_without_a_vlan_is_no_tag(stage: tuple[Guest, Guest], felix: Felix) -> None:
    one, two = stage
    with counted("udp dport 9999", "forward") as counter:
        send(one, TAGGED)
        assert counter.now() == 0, "the kernel takes no tag off by itself"
        felix.say(endpoint(one), endpoint(two))
        # Only a priority: such frames of the guest's own address are like any other.
        send(one, TAGGED.replace("\\5", "\\0"))
        assert counter.now() >= 1


def test_a_vlan_of_a_tap_is_a_tap_that_nobody_owns(stage: tuple[Guest, Guest], felix: Felix) -> None:
    one, two = stage
    if not run("ip", "link", "add", "link", one.tap, "name", "tapone.5", "type", "vlan", "id", "5", check=False):
        pytest.skip("this kernel has no VLAN devices")
    run("ip", "link", "set", "tapone.5", "up")
    set_sysctl("ipv4/conf/tapone.5/rp_filter", "0")
    with counted("udp dport 9999", "forward", "tapone.5") as counter:
        send(one, TAGGED)
        assert counter.now() == 1, "without our tables it is forwarded"
        felix.say(endpoint(one), endpoint(two))
        send(one, TAGGED)
        assert counter.now() == 1


def test_frames_of_unknown_types_go_nowhere(stage: tuple[Guest, Guest], felix: Felix) -> None:
    one, two = stage
    felix.say(endpoint(one), endpoint(two))
    shown = ["ip", "-s", "-json", "link", "show", "dev"]

    def figures(tap: str) -> tuple[int, int]:
        (link,) = json.loads(subprocess.run([*shown, tap], capture_output=True, check=True).stdout)
        return link["stats64"]["rx"]["dropped"], link["stats64"]["tx"]["packets"]

    before, sent = figures(one.tap)[0], figures(two.tap)[1]
    send(
        one,
        """
for number in range(10):
    for kind in (b"\\x88\\xb5", b"\\x88\\x47", b"\\x88\\x64", b"\\x81\\x37"):
        for to in (ALL, ROUTER, bytes.fromhex("fa163e000002")):
            wire.send(to + MAC + kind + bytes(60))
""",
    )

    assert figures(one.tap)[0] >= before + 40, "the kernel has no use for them"
    assert figures(two.tap)[1] <= sent + 5, "nothing of it reaches the other guest"


def test_false_neighbour_advertisements_and_arp_change_nothing_for_the_true_owner(
    stage: tuple[Guest, Guest], felix: Felix
) -> None:
    one, two = stage
    felix.say(endpoint(one), endpoint(two))
    assert one.reaches(TWO6)
    assert one.reaches(TWO4)

    send(
        one,
        f"""
for s in (a('{LINK}'), a('{ONE6}')):
    for d in (a('ff02::1'), a('fe80::1')):
        lie = icmp6(s, d, 136, b"\\xe0\\0\\0\\0" + a('{TWO6}') + b"\\2\\1" + MAC)
        wire.send(ethernet(v6(s, d, 58, lie), {GROUP} if d == a('ff02::1') else ROUTER))
for operation in (1, 2):
    claim = b"\\0\\1\\x08\\0\\6\\4" + bytes((0, operation)) + MAC + a('{TWO4}') + MAC + a('{TWO4}')
    wire.send(ALL + MAC + b"\\x08\\x06" + claim)
""",
    )

    # Entries are kept per interface: what is said on a tap is believed of that tap alone, and no address of another
    # guest is asked there.
    assert not {TWO4, TWO6} & neighbours(one.tap)
    for target in (TWO4, TWO6):
        assert one.reaches(target)
    assert macs(two.tap) <= {two.mac}


def neighbours(tap: str) -> set[str]:
    shown = subprocess.run(["ip", "-json", "neigh", "show", "dev", tap], capture_output=True, check=True).stdout
    return {entry["dst"] for entry in json.loads(shown or "[]")}


def macs(tap: str) -> set[str]:
    shown = subprocess.run(["ip", "-json", "neigh", "show", "dev", tap], capture_output=True, check=True).stdout
    return {entry["lladdr"] for entry in json.loads(shown or "[]") if "lladdr" in entry}
