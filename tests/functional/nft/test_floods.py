"""A guest that floods the host: what it takes, and what the other guest still gets. Real packets, a real kernel.

guest one (10.65.0.1, 2001:db8::1) -- tapone  host  taptwo -- guest two (10.65.0.2, 2001:db8::2)
"""

import json
import subprocess

import pytest

from calico_openstack.felix.ruleset import floods
from calico_openstack.testing import frames
from calico_openstack.testing.guests import Felix, Guest, endpoint, run

pytestmark = pytest.mark.root

OWN = "fe80::f816:3eff:fe00:1"


def send(guest: Guest, script: str) -> None:
    frames.send(guest.space, guest.mac, script)


def neighbours(tap: str) -> set[str]:
    """Who the host believes to live behind the tap, by IPv6 address."""
    shown = subprocess.run(["ip", "-6", "-json", "neigh", "show", "dev", tap], capture_output=True, text=True).stdout
    return {entry["dst"] for entry in json.loads(shown or "[]")}


MANY_SOURCES = """
for number in range(1, 3001):
    wire.send(solicit(bytes.fromhex("fe80") + bytes(6) + number.to_bytes(8, "big"), a("fe80::1")))
"""


def test_a_guest_with_ever_new_link_local_addresses_gets_a_few_neighbour_entries_and_keeps_its_own_address(
    guests: tuple[Guest, Guest], felix: Felix
) -> None:
    one, two = guests
    send(one, "for number in range(1, 21): wire.send(solicit(a(f'fe80::{number:x}:1'), a('fe80::1')))")
    assert len([address for address in neighbours(one.tap) if address.startswith("fe80::")]) >= 20, "without a firewall"
    run("ip", "-6", "neigh", "flush", "dev", one.tap)
    felix.say(endpoint(one), endpoint(two))

    send(one, MANY_SOURCES)

    found = [address for address in neighbours(one.tap) if address.startswith("fe80::")]
    assert 0 < len(found) <= floods.LINK_BURST + floods.LINK_RATE + 1
    # Its own link-local address, and the other guest's, need no room.
    send(one, f"wire.send(solicit(a('{OWN}'), a('fe80::1')))")
    assert OWN in neighbours(one.tap)
    send(two, "wire.send(solicit(a('fe80::5:5:5:5'), a('fe80::1')))")
    assert "fe80::5:5:5:5" in neighbours(two.tap)
    # What packets have put into the sets is no drift.
    assert len(felix.kernel.synchronise(felix.renderer.full())) == 0


def test_a_guest_that_asks_without_end_takes_nothing_from_another(guests: tuple[Guest, Guest], felix: Felix) -> None:
    one, two = guests
    felix.say(endpoint(one), endpoint(two))
    witness()
    try:
        send(
            one,
            f"""
for number in range(3000):
    wire.send(solicit(a("{OWN}"), a("fe80::1")))
    wire.send(udp4(bytes(4), b"\\xff" * 4, (68, 67), b"discover"))
""",
        )
        counted = heard()
        # A second or two of a busy machine is within it.
        assert floods.DISCOVERY[1] <= counted["discovery", one.tap] < 2000
        assert floods.DHCP[1] <= counted["dhcp", one.tap] < 1000

        send(
            two,
            """
for number in range(5):
    wire.send(solicit(a("2001:db8::2"), a("fe80::1")))
    wire.send(udp4(bytes(4), b"\\xff" * 4, (68, 67), b"discover"))
""",
        )
        counted = heard()
        assert (counted["discovery", two.tap], counted["dhcp", two.tap]) == (5, 5)
        assert two.reaches("10.65.0.1")
        assert two.reaches("2001:db8::1")
        # Nor from itself, as far as it is forwarded.
        assert one.reaches("10.65.0.2")
    finally:
        run("nft", "delete", "table", "inet", "witness", check=False)


def test_arp_has_a_bound_of_its_own(guests: tuple[Guest, Guest], felix: Felix) -> None:
    one, two = guests
    felix.say(endpoint(one), endpoint(two))
    run("nft", "add table arp witness; add chain arp witness in { type filter hook input priority 10; }")
    for guest in guests:
        run("nft", f'add rule arp witness in iifname "{guest.tap}" counter comment "arp {guest.tap}"')
    try:
        ask = """
request = b"\\xff" * 6 + MAC + b"\\x08\\x06\\0\\1\\x08\\0\\6\\4\\0\\1"
request += MAC + a("10.65.0.{0}") + bytes(6) + a("10.65.0.{1}")
for number in range({2}):
    wire.send(request)
"""
        send(one, ask.format(1, 2, 3000))
        send(two, ask.format(2, 1, 3))
        counted = heard("arp")
        assert floods.ARP[1] <= counted["arp", one.tap] < 2000
        assert counted["arp", two.tap] >= 3
    finally:
        run("nft", "delete", "table", "arp", "witness", check=False)


def witness() -> None:
    """Counts what the firewall lets through to the host, after our chain."""
    run("nft", "add table inet witness; add chain inet witness in { type filter hook input priority 10; }")
    for tap in ("tapone", "taptwo"):
        at = f'add rule inet witness in iifname "{tap}"'
        run("nft", f'{at} icmpv6 type nd-neighbor-solicit counter comment "discovery {tap}"')
        run("nft", f'{at} udp dport 67 counter comment "dhcp {tap}"')


def heard(family: str = "inet") -> dict[tuple[str, str], int]:
    shown = subprocess.run(
        ["nft", "-j", "list", "table", family, "witness"], capture_output=True, text=True, check=True
    )
    found = {}
    for entry in json.loads(shown.stdout)["nftables"]:
        if "rule" in entry:
            what, tap = entry["rule"]["comment"].split()
            (count,) = [part["counter"]["packets"] for part in entry["rule"]["expr"] if "counter" in part]
            found[what, tap] = count
    return found
