"""The fixed allowances, one packet each: what a tap may send whatever the policies say."""

import pytest

from calico_openstack.felix.ruleset import statements, walk
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings, Service
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint, WantedPolicy, WantedRule, WantedTier
from calico_openstack.model.endpoint import EndpointKey, Nat
from calico_openstack.model.net import host_net, parse_net
from calico_openstack.model.policy import PolicyKey

MAC = "fa:16:3e:00:00:01"
GROUP = PolicyKey("NetworkPolicy", "openstack", "sg")
NONE = host_net("0.0.0.0"), host_net("255.255.255.255")
LINK = "fe80::f816:3eff:fe00:1"
HOST = "192.0.2.1"


def endpoint(number: int = 1, mac: str | None = MAC, **more: object) -> WantedEndpoint:
    return WantedEndpoint(
        key=EndpointKey("openstack", "here", "openstack", f"vm{number}", f"port{number}"),
        interface=f"tap{number}",
        mac=mac,
        addresses=(host_net(f"10.0.0.{number}"), host_net(f"2001:db8::{number}")),
        tiers=(WantedTier(name="default", ingress=(GROUP,), egress=(GROUP,)),),
        **more,  # type: ignore[arg-type]
    )


def ruleset(*endpoints: WantedEndpoint, allow: bool = True, **settings: object) -> dict:
    rules = (WantedRule(action="allow"),) if allow else ()
    renderer = RulesetRenderer(RulesetSettings(**settings))  # type: ignore[arg-type]
    renderer.apply(
        Changes(
            policies={GROUP: WantedPolicy(key=GROUP, ingress=rules, egress=rules)},
            endpoints={one.key: one for one in endpoints or (endpoint(),)},
        )
    )
    return renderer.full()


def send(source: str, destination: str, protocol: int, **more: object) -> walk.Packet:
    more.setdefault("source_mac", MAC)
    more.setdefault("in_interface", "tap1")
    return walk.packet(host_net(source), host_net(destination), protocol, **more)  # type: ignore[arg-type]


ALWAYS = [
    ("DHCP discover", send("0.0.0.0", "255.255.255.255", 17, ports=(68, 67))),
    ("DHCP renewal", send("10.0.0.1", "10.0.0.254", 17, ports=(68, 67))),
    ("DHCPv6 solicit", send(LINK, "ff02::1:2", 17, ports=(546, 547))),
    ("neighbour solicitation for DAD", send("::", "ff02::1:ff00:1", 58, icmp=(135, 0))),
    ("router solicitation", send(LINK, "ff02::2", 58, icmp=(133, 0))),
    ("neighbour advertisement", send(LINK, "fe80::1", 58, icmp=(136, 0))),
    ("neighbour solicitation from its own address", send("2001:db8::1", "fe80::1", 58, icmp=(135, 0))),
    ("MLD report", send(LINK, "ff02::1:ff00:1", 58, icmp=(131, 0))),
    ("MLDv2 report", send("::", "ff02::16", 58, icmp=(143, 0))),
    ("stable-privacy link-local address", send("fe80::8d3a:1:2:3", "ff02::2", 58, icmp=(133, 0))),
    ("DNS by UDP", send("10.0.0.1", HOST, 17, ports=(4000, 53))),
    ("DNS by TCP", send("2001:db8::1", "2001:db8:ffff::1", 6, ports=(4000, 53))),
    ("metadata after translation", send("10.0.0.1", "169.254.169.254", 6, ports=(4000, 80))),
]

NEVER = [
    ("foreign source", send("10.0.0.9", HOST, 17, ports=(4000, 53))),
    ("foreign MAC", send("10.0.0.1", HOST, 17, ports=(4000, 53), source_mac="fa:16:3e:00:00:02")),
    (
        "discover with a foreign MAC",
        send("0.0.0.0", "255.255.255.255", 17, ports=(68, 67), source_mac="02:00:00:00:00:09"),
    ),
    ("no source but not DHCP", send("0.0.0.0", HOST, 17, ports=(68, 53))),
    ("loopback", send("10.0.0.1", "127.0.0.1", 6, ports=(4000, 8775))),
    ("DHCP server's answer", send("10.0.0.1", HOST, 17, ports=(67, 68))),
    ("DHCPv6 server's answer", send(LINK, "fe80::1", 17, ports=(547, 546))),
    ("router advertisement", send(LINK, "ff02::1", 58, icmp=(134, 0))),
    ("router advertisement to the host alone", send(LINK, "fe80::1", 58, icmp=(134, 0))),
    ("redirect", send(LINK, "ff02::1", 58, icmp=(137, 0))),
    ("TCP from a link-local address to a global one", send(LINK, "2001:db8:ffff::1", 6, ports=(4000, 53))),
    ("echo without a source", send("::", "ff02::1", 58, icmp=(128, 0))),
    ("a port of the host", send("10.0.0.1", HOST, 6, ports=(4000, 22))),
    ("ping of the host", send("10.0.0.1", HOST, 1, icmp=(8, 0))),
]


@pytest.mark.conformance("N3")
@pytest.mark.parametrize(("what", "packet"), ALWAYS, ids=[what for what, _ in ALWAYS])
def test_the_host_hears_this_even_when_no_policy_allows_anything(what: str, packet: walk.Packet) -> None:
    rules = ruleset(allow=False, metadata=Service(host_net("127.0.0.1"), 8775))

    assert walk.delivered(rules, packet).result == "accept", what


@pytest.mark.parametrize(("what", "packet"), NEVER, ids=[what for what, _ in NEVER])
def test_the_host_does_not_hear_this_even_when_policy_allows_everything(what: str, packet: walk.Packet) -> None:
    done = walk.delivered(ruleset(allow=True), packet)

    assert done.result == "drop", (what, done.rules)


@pytest.mark.parametrize(("what", "packet"), ALWAYS, ids=[what for what, _ in ALWAYS])
def test_a_tap_without_an_endpoint_has_none_of_the_allowances(what: str, packet: walk.Packet) -> None:
    rules = ruleset(endpoint(2))

    assert walk.delivered(rules, packet).result == "drop", what


def test_services_that_are_switched_off_are_closed() -> None:
    rules = ruleset(allow=False, dhcp=False, dns=False)

    heard = [what for what, packet in ALWAYS if walk.delivered(rules, packet).result == "accept"]

    assert not [what for what in heard if what.startswith(("DHCP", "DNS", "metadata"))]
    assert "router solicitation" in heard


@pytest.mark.parametrize(
    ("action", "allow", "result"),
    [("drop", True, "drop"), ("accept", True, "accept"), ("return", True, "accept"), ("accept", False, "drop")],
)
def test_the_host_decides_what_the_guests_policy_lets_through(action: str, allow: bool, result: str) -> None:
    ping = send("10.0.0.1", HOST, 1, icmp=(8, 0))

    assert walk.delivered(ruleset(allow=allow, endpoint_to_host=action), ping).result == result


@pytest.mark.parametrize(
    ("setting", "packet"),
    [
        ("allow_vxlan", send("10.0.0.1", "10.0.0.2", 17, ports=(4000, 4789), out_interface="eth0")),
        ("allow_ipip", send("10.0.0.1", "10.0.0.2", 4, out_interface="eth0")),
    ],
)
def test_tunnels_of_guests_need_a_setting_whatever_the_policy(setting: str, packet: walk.Packet) -> None:
    assert walk.forwarded(ruleset(), packet).result == "drop"
    assert walk.forwarded(ruleset(**{setting: True}), packet).result == "accept"


@pytest.mark.conformance("N3")
def test_metadata_goes_to_the_configured_service_or_stays_for_our_proxy() -> None:
    asked = send("10.0.0.1", "169.254.169.254", 6, ports=(4000, 80))
    translated = walk.delivered(ruleset(allow=False, metadata=Service(host_net("192.0.2.9"), 8775)), asked)
    assert translated.packet.network[16:20] == host_net("192.0.2.9").packed
    assert translated.packet.transport[2:4] == (8775).to_bytes(2, "big")

    proxied = walk.delivered(ruleset(allow=False, metadata_proxy=True), asked)
    assert (proxied.result, proxied.packet) == ("accept", walk.replace(asked, out_interface=""))
    asked6 = send(LINK, "fe80::a9fe:a9fe", 6, ports=(4000, 80))
    assert walk.delivered(ruleset(allow=False, metadata_proxy=True), asked6).result == "accept"


def test_a_known_flow_passes_without_policy_but_not_to_a_tap_that_nobody_owns() -> None:
    known = send("203.0.113.1", "10.0.0.1", 6, ports=(80, 4000), in_interface="eth0", out_interface="tap1",
                 state=statements.ESTABLISHED)  # fmt: skip
    rules = ruleset(allow=False)

    assert walk.forwarded(rules, known).result == "accept"
    assert walk.forwarded(rules, walk.replace(known, out_interface="tap7")).result == "drop"
    assert walk.forwarded(rules, walk.replace(known, state=statements.INVALID)).result == "drop"


def test_traffic_that_is_no_guests_is_left_alone() -> None:
    rules = ruleset(allow=False)
    through = send("203.0.113.1", "198.51.100.1", 6, ports=(80, 4000), in_interface="eth0", out_interface="eth1",
                   state=statements.INVALID)  # fmt: skip

    assert walk.forwarded(rules, through).result == "accept"
    assert walk.delivered(rules, walk.replace(through, state=statements.NEW)).result == "accept"


def test_an_endpoint_without_a_mac_is_held_to_its_addresses_alone() -> None:
    rules = ruleset(endpoint(mac=None))
    from_any_mac = send(
        "10.0.0.1", "203.0.113.1", 17, ports=(1, 2), out_interface="eth0", source_mac="02:aa:00:00:00:01"
    )

    assert walk.forwarded(rules, from_any_mac).result == "accept"
    assert (
        walk.forwarded(rules, send("10.0.0.2", "203.0.113.1", 17, ports=(1, 2), out_interface="eth0")).result == "drop"
    )


def test_an_allowed_pair_may_be_a_network() -> None:
    rules = ruleset(endpoint(allowed_pairs=(parse_net("10.7.0.0/16"),)))

    assert walk.forwarded(rules, send("10.7.3.4", "203.0.113.1", 17, ports=(1, 2))).result == "accept"
    assert walk.forwarded(rules, send("10.8.3.4", "203.0.113.1", 17, ports=(1, 2))).result == "drop"


@pytest.mark.conformance("N2")
def test_a_floating_ip_is_translated_and_policed_as_the_fixed_one() -> None:
    nat = Nat(host_net("10.0.0.1"), host_net("198.51.100.7"))
    rules = ruleset(endpoint(nats=(nat,)))
    packet = send("203.0.113.1", "198.51.100.7", 6, ports=(1, 22), in_interface="eth0", out_interface="tap1")

    done = walk.forwarded(rules, packet)

    assert (done.result, done.packet.network[16:20]) == ("accept", nat.internal.packed)


@pytest.mark.conformance("N2")
def test_a_guest_reaches_itself_through_its_floating_ip() -> None:
    nat = Nat(host_net("10.0.0.1"), host_net("198.51.100.7"))
    done = walk.forwarded(
        ruleset(endpoint(nats=(nat,))), send("10.0.0.1", "198.51.100.7", 6, ports=(1, 22), out_interface="tap1")
    )

    assert done.result == "accept"
    assert done.packet.network[12:20] == nat.external.packed + nat.internal.packed


def test_of_two_claims_to_one_floating_ip_the_lowest_fixed_address_wins_in_any_order() -> None:
    first, second = (endpoint(n, nats=(Nat(host_net(f"10.0.0.{n}"), host_net("198.51.100.7")),)) for n in (1, 2))
    both = [ruleset(*order) for order in ((first, second), (second, first))]

    assert [next(iter(r.values())).sets["floating4"].elements for r in both] == [
        {host_net("198.51.100.7").packed: host_net("10.0.0.1").packed}
    ] * 2


ARP = [
    ("own address", 1, MAC, "10.0.0.1", "accept"),
    ("probe", 1, MAC, "0.0.0.0", "accept"),
    ("announcement of another's address", 2, MAC, "10.0.0.2", "drop"),
    ("own address with another MAC", 2, "fa:16:3e:00:00:02", "10.0.0.1", "drop"),
    ("probe with another MAC", 1, "fa:16:3e:00:00:02", "0.0.0.0", "drop"),
]


@pytest.mark.parametrize(("what", "operation", "mac", "sender", "result"), ARP, ids=[case[0] for case in ARP])
def test_arp_from_a_guest_speaks_for_the_guest_alone(
    what: str, operation: int, mac: str, sender: str, result: str
) -> None:
    packet = walk.arp_packet(operation, mac, host_net(sender), in_interface="tap1")

    assert walk.delivered(ruleset(), packet).result == result, what


def test_the_host_does_not_claim_a_fixed_address_towards_its_owner_but_may_answer_for_a_shared_one() -> None:
    rules = ruleset(endpoint(allowed_pairs=(host_net("10.0.0.100"),)))

    def reply(sender: str, tap: str) -> str:
        packet = walk.arp_packet(2, "ee:ee:ee:ee:ee:ee", host_net(sender), out_interface=tap)
        return walk.walk(rules, packet, "output").result

    assert reply("10.0.0.1", "tap1") == "drop"
    assert reply("10.0.0.1", "tap2") == "accept"
    assert reply("10.0.0.100", "tap1") == "accept"
