"""What one guest may use of the host before any policy is asked: where the bounds are, and whom they do not touch."""

from dataclasses import replace

import pytest

from calico_openstack.felix.ruleset import floods, walk
from calico_openstack.felix.ruleset.difference import as_read, difference
from calico_openstack.felix.ruleset.fields import mac
from calico_openstack.felix.ruleset.objects import NamedSet
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint, WantedPolicy, WantedRule, WantedTier
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import host_net
from calico_openstack.model.policy import PolicyKey

MAC = "fa:16:3e:00:00:01"
GROUP = PolicyKey("NetworkPolicy", "openstack", "sg")
OWN, CHOSEN = "fe80::f816:3eff:fe00:1", "fe80::8d3a:1:2:3"


def rendered(**settings: object) -> RulesetRenderer:
    rules = (WantedRule(action="allow"),)
    one = WantedEndpoint(
        key=EndpointKey("openstack", "here", "openstack", "vm", "port"),
        interface="tap1",
        mac=MAC,
        addresses=(host_net("10.0.0.1"), host_net("2001:db8::1")),
        tiers=(WantedTier(name="default", ingress=(GROUP,), egress=(GROUP,)),),
    )
    made = RulesetRenderer(RulesetSettings(**settings))  # type: ignore[arg-type]
    policy = WantedPolicy(key=GROUP, ingress=rules, egress=rules)
    made.apply(Changes(policies={GROUP: policy}, endpoints={one.key: one}))
    return made


def send(source: str, destination: str, protocol: int, **more: object) -> walk.Packet:
    return walk.packet(
        host_net(source),
        host_net(destination),
        protocol,
        source_mac=MAC,
        in_interface="tap1",
        **more,  # type: ignore[arg-type]
    )


BOUND = [
    ("router solicitation", send(OWN, "ff02::2", 58, icmp=(133, 0))),
    ("neighbour solicitation", send("2001:db8::1", "ff02::1:ff00:1", 58, icmp=(135, 0))),
    ("duplicate address detection", send("::", "ff02::1:ff00:1", 58, icmp=(135, 0))),
    ("MLD report", send(OWN, "ff02::16", 58, icmp=(143, 0))),
    ("DHCP discover", send("0.0.0.0", "255.255.255.255", 17, ports=(68, 67))),
    ("DHCP renewal of a known flow", send("10.0.0.1", "10.0.0.254", 17, ports=(68, 67), state=2)),
    ("DHCPv6 solicit", send(OWN, "ff02::1:2", 17, ports=(546, 547))),
    ("DNS of a known flow", send("10.0.0.1", "10.0.0.254", 17, ports=(4000, 53), state=2)),
]


@pytest.mark.parametrize(("what", "packet"), BOUND, ids=[what for what, _ in BOUND])
def test_this_much_of_the_host_and_no_more(what: str, packet: walk.Packet) -> None:
    ruleset = rendered().full()

    assert walk.delivered(ruleset, packet).result == "accept"
    assert walk.delivered(ruleset, replace(packet, flood=True)).result == "drop"


@pytest.mark.parametrize("state", [2, 8])
def test_what_is_forwarded_is_never_counted(state: int) -> None:
    for protocol, ports in ((17, (4000, 53)), (17, (4000, 67)), (6, (4000, 80))):
        packet = send("10.0.0.1", "192.0.2.7", protocol, ports=ports, state=state)
        done = walk.forwarded(rendered().full(), replace(packet, out_interface="eth0", flood=True))
        assert done.result == "accept"


def test_arp_is_bounded_too() -> None:
    ask = walk.arp_packet(1, MAC, host_net("10.0.0.1"), in_interface="tap1")

    assert walk.delivered(rendered().full(), ask).result == "accept"
    assert walk.delivered(rendered().full(), replace(ask, flood=True)).result == "drop"


def test_the_address_made_of_the_mac_needs_no_room_and_others_do() -> None:
    ruleset = rendered().full()
    assert floods.link_local_of(mac(MAC)) == host_net(OWN).packed
    for destination, more in (
        ("fe80::1", {"protocol": 58, "icmp": (129, 0), "state": 2}),
        ("ff02::2", {"protocol": 58, "icmp": (133, 0)}),
        ("ff02::1:2", {"protocol": 17, "ports": (546, 547)}),
    ):
        for source, result in ((OWN, "accept"), (CHOSEN, "drop")):
            packet = replace(send(source, destination, **more), flood=True)  # type: ignore[arg-type]
            assert walk.walk(ruleset, packet, "prerouting").result == result, (source, destination)
            assert walk.walk(ruleset, replace(packet, flood=False), "prerouting").result == "accept"


def test_another_guests_address_made_of_its_mac_is_no_exception() -> None:
    packet = replace(send("fe80::f816:3eff:fe00:2", "ff02::2", 58, icmp=(133, 0)), flood=True)

    assert walk.walk(rendered().full(), packet, "prerouting").result == "drop"


def test_what_packets_put_into_the_sets_is_no_difference() -> None:
    wanted = rendered().full()
    actual = as_read(wanted)
    table = next(table for table in actual if table.family == "inet")
    actual[table].sets["link-new"] = NamedSet(floods.LINK_NEW, {b"tap1".ljust(16, b"\0"): None})
    assert not difference(wanted, actual)

    # A set that somebody made with other bounds is.
    other = floods.LINK_NEW._replace(dynamic=floods.LINK_NEW.dynamic._replace(size=7))  # type: ignore[union-attr]
    actual[table].sets["link-new"] = NamedSet(other)
    assert difference(wanted, actual)


def test_services_that_are_switched_off_have_no_bounds() -> None:
    chain = next(content for table, content in rendered(dhcp=False, dns=False).full().items() if table.family == "inet")

    assert len([rule for rule in chain.chains["to-host"].rules if "-rate'" in repr(rule)]) == 1


def test_the_bounds_can_be_switched_off() -> None:
    ruleset = rendered(limit_floods=False).full()
    ask = walk.arp_packet(1, MAC, host_net("10.0.0.1"), in_interface="tap1")
    chosen = send(CHOSEN, "ff02::2", 58, icmp=(133, 0))

    for packet in (*(packet for _, packet in BOUND), chosen, ask):
        assert walk.delivered(ruleset, replace(packet, flood=True)).result == "accept"
