"""Real packets between two guests behind veth taps and their host, IPv4 and IPv6.

guest one (10.65.0.1, 2001:db8::1) -- tapone  host  taptwo -- guest two (10.65.0.2, 2001:db8::2)
"""

import socket
import struct
import subprocess

import pytest

from calico_openstack.felix.ruleset.boot import boot_text
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import (
    Changes,
    MemberChange,
    SetId,
    WantedMatch,
    WantedPolicy,
    WantedRule,
)
from calico_openstack.model.net import host_net, parse_net
from calico_openstack.model.policy import PortRange
from calico_openstack.testing.guests import ALL, GROUP, Felix, Guest, connects, endpoint, run, served

pytestmark = pytest.mark.root

ONE4, ONE6, TWO4, TWO6 = "10.65.0.1", "2001:db8::1", "10.65.0.2", "2001:db8::2"
MEMBERS = SetId("s:members")
PING4, PING6 = WantedRule(action="allow", protocol=1), WantedRule(action="allow", protocol=58)


def both_open(*guests: Guest) -> Changes:
    return Changes(
        policies={GROUP: WantedPolicy(key=GROUP, ingress=ALL, egress=ALL)},
        endpoints={endpoint(guest).key: endpoint(guest) for guest in guests},
    )


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


def test_the_spoof_helpers_speak_the_byte_order_they_claim() -> None:
    assert struct.unpack("!I", socket.inet_aton(ONE4))[0] == host_net(ONE4).value
