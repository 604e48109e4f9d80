"""Rules of shapes that chance seldom draws, walked through the ruleset: merged or listed, it means what they mean."""

import itertools

import msgspec
import pytest

from calico_openstack.felix.ruleset import meaning, walk
from calico_openstack.felix.wanted.state import (
    PortMember,
    SetId,
    Wanted,
    WantedEndpoint,
    WantedMatch,
    WantedPolicy,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import Net, host_net, parse_net
from calico_openstack.model.policy import Icmp, PolicyKey, PortRange
from calico_openstack.testing.wanted_states import overlapping, rendered

KEY = EndpointKey("openstack", "here", "openstack", "vm", "port")
POLICY = PolicyKey("NetworkPolicy", "openstack", "p")
GUEST = {4: host_net("10.65.0.1"), 6: host_net("2001:db8::1")}
OTHERS = [host_net(text) for text in ("10.0.0.1", "10.0.0.9", "192.0.2.1", "2001:db8:1::1", "2001:db8:2::1")]
GROUP, SECOND, WEB, LOST = SetId("s:group"), SetId("s:second"), SetId("n:web"), SetId("s:lost")


def nets(*texts: str) -> tuple[Net, ...]:
    return tuple(parse_net(text) for text in texts)


def ports(*ranges: tuple[int, int]) -> WantedMatch:
    return WantedMatch(ports=tuple(PortRange(*one) for one in ranges))


def allow(**more: object) -> WantedRule:
    return WantedRule(action="allow", **more)  # type: ignore[arg-type]


def deny(**more: object) -> WantedRule:
    return WantedRule(action="deny", **more)  # type: ignore[arg-type]


ECHO, ANY_CODE = Icmp(8, 0), Icmp(8)
LARGE, SMALL = WantedMatch(nets=nets("10.0.0.0/24")), WantedMatch(nets=nets("10.0.0.0/29"))
SHAPES = {
    "networks and a group at once": [
        allow(source=WantedMatch(nets=nets("10.0.0.0/24", "2001:db8:1::/64"), sets=(GROUP,)))
    ],
    "two groups at once": [allow(source=WantedMatch(sets=(GROUP, SECOND)))],
    "a type with a code and without": [allow(protocol=1, icmp=ECHO), allow(protocol=1, icmp=ANY_CODE)],
    "a type of either family": [allow(icmp=ECHO), allow(icmp=Icmp(128))],
    "a type of either family from a group": [allow(icmp=Icmp(128), source=WantedMatch(sets=(GROUP,)))],
    "a type of another protocol": [allow(protocol=58, icmp=ECHO, version=6)],
    "a type with a protocol that has none": [allow(protocol=6, icmp=ECHO)],
    "not a type, of any protocol": [allow(not_icmp=ECHO)],
    "not a type, of a protocol": [allow(protocol=1, not_icmp=ECHO)],
    "ports of a network and of a smaller one in it": [
        allow(protocol=6, source=LARGE, destination=ports((80, 90))),
        allow(protocol=6, source=SMALL, destination=ports((85, 443))),
    ],
    "a protocol for a network, ports of it for a smaller one": [
        allow(protocol=6, source=LARGE),
        allow(protocol=6, source=SMALL, destination=ports((85, 443))),
    ],
    "ports without a protocol": [allow(destination=ports((80, 90)))],
    "no such ports, of any protocol": [allow(destination=WantedMatch(not_ports=(PortRange(80, 90),)))],
    "no port of that name, of any protocol": [allow(destination=WantedMatch(not_port_sets=(WEB,)))],
    "by name or number": [allow(protocol=6, destination=WantedMatch(ports=(PortRange(22, 22),), port_sets=(WEB,)))],
    "not from anywhere": [allow(source=WantedMatch(not_nets=nets("0.0.0.0/0")))],
    "from a group that nobody told of": [allow(source=WantedMatch(sets=(LOST,)))],
    "not from a group that nobody told of": [allow(source=WantedMatch(not_sets=(LOST,)))],
    "denied to a group that nobody told of": [deny(source=WantedMatch(sets=(LOST,))), allow()],
    "denied but to a group that nobody told of": [deny(source=WantedMatch(not_sets=(LOST,))), allow()],
    "denied to ports of a name that nobody told of": [deny(destination=WantedMatch(port_sets=(LOST,))), allow()],
}


def turned(rule: WantedRule) -> WantedRule:
    """The same for the other direction: the peer is the destination."""
    peer, own = rule.source, rule.destination
    replace = msgspec.structs.replace
    both = replace(peer, **{name: getattr(own, name) for name in ("ports", "port_sets", "not_ports", "not_port_sets")})
    return replace(rule, source=WantedMatch(), destination=both)


KINDS = [
    *((protocol, (1024, port), None) for protocol in (6, 17, 132) for port in (22, 80, 85, 90, 100, 444)),
    *((protocol, None, (kind, code)) for protocol in (1, 58) for kind in (8, 128) for code in (0, 1)),
    (47, None, None),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_packet_gets_the_verdict_that_the_rules_mean(shape: str, direction: meaning.Direction) -> None:
    rules = tuple(SHAPES[shape] if direction == "ingress" else map(turned, SHAPES[shape]))
    endpoint = WantedEndpoint(
        key=KEY,
        interface="tap1",
        mac=None,
        addresses=tuple(GUEST.values()),
        tiers=(WantedTier(name="default", **{direction: (POLICY,)}),),  # type: ignore[arg-type]
    )
    wanted = Wanted(
        endpoints={KEY: endpoint},
        policies={POLICY: WantedPolicy(key=POLICY, ingress=rules, egress=rules)},
        sets={
            GROUP: set(nets("10.0.0.1", "192.0.2.1", "2001:db8:1::1", "2001:db8:2::/64")),
            SECOND: set(nets("10.0.0.0/24", "2001:db8:1::/64")),
            WEB: {PortMember(net, 6, 80) for net in (*GUEST.values(), *OTHERS)},
        },
    )
    ruleset, passed = rendered(wanted), set()
    assert overlapping(ruleset) == []
    for other, (protocol, numbers, icmp) in itertools.product(OTHERS, KINDS):
        ends = (other, GUEST[other.version])
        source, destination = ends if direction == "ingress" else ends[::-1]
        arriving, leaving = ("eth0", "tap1") if direction == "ingress" else ("tap1", "eth0")
        packet = walk.packet(
            source, destination, protocol, ports=numbers, icmp=icmp, in_interface=arriving, out_interface=leaving
        )
        flow = meaning.Flow(source, destination, protocol, numbers, icmp)
        done = walk.forwarded(ruleset, packet)

        assert (done.result == "accept") == meaning.allows(wanted, endpoint, direction, flow), (flow, done.rules)
        passed.add(done.result)
    assert passed == ({"drop"} if shape in NEVER else {"accept", "drop"})


NEVER = {
    "a type with a protocol that has none",
    "from a group that nobody told of",
    "not from a group that nobody told of",
    "denied to a group that nobody told of",
    "denied but to a group that nobody told of",
    "denied to ports of a name that nobody told of",
}
