"""Wanted states for property tests of the ruleset: hypothesis strategies, and what a renderer says of them.

Small alphabets on purpose, so that addresses meet networks, sets and endpoints. One host with three guests and two
interfaces of its own. Needs `hypothesis`, a developer's tool.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st

from calico_openstack.felix.ruleset import objects
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import (
    Changes,
    MemberChange,
    PortMember,
    SetId,
    Wanted,
    WantedEndpoint,
    WantedHostEndpoint,
    WantedMatch,
    WantedPolicy,
    WantedPool,
    WantedProfile,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.endpoint import EndpointKey, QosControls
from calico_openstack.model.net import host_net, parse_net
from calico_openstack.model.policy import Icmp, PolicyKey, PortRange

S = TypeVar("S", bound=msgspec.Struct)

HOSTS = [host_net(text) for text in ("10.0.0.1", "10.0.0.2", "10.0.1.1", "2001:db8::1", "2001:db8::2", "2001:db8:1::1")]
NETS = [
    *HOSTS,
    *(parse_net(text) for text in ("10.0.0.0/30", "10.0.0.0/24", "10.0.0.0/16", "0.0.0.0/0")),
    *(parse_net(text) for text in ("2001:db8::/127", "2001:db8::/64", "2001:db8::/32", "::/0")),
]
PORTS = [PortRange(22, 22), PortRange(80, 90), PortRange(85, 443), PortRange(443, 443), PortRange(0, 65535)]
ADDRESS_SETS = [SetId("s:one"), SetId("s:two")]
PORT_SETS = [SetId("n:web"), SetId("n:ssh")]
POLICIES = [PolicyKey("NetworkPolicy", "openstack", f"sg{n}") for n in range(4)]
PROFILES = ["p0", "p1"]
INTERFACES = ["eth0", "eth1", "*"]
POOLS = {f"pool{number}": net for number, net in enumerate(NETS[6:])}


def some(values: list[Any], most: int = 2) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True).map(tuple)


def seldom(strategy: st.SearchStrategy[Any], empty: object = ()) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(empty), st.just(empty), st.just(empty), strategy)


def matches(protocol: int | None) -> st.SearchStrategy[WantedMatch]:
    ports = protocol in (None, 6, 17)
    return st.builds(
        WantedMatch,
        nets=seldom(some(NETS, 3)),
        not_nets=seldom(some(NETS)),
        sets=seldom(some(ADDRESS_SETS)),
        not_sets=seldom(some(ADDRESS_SETS)),
        ports=seldom(some(PORTS, 3)) if ports else st.just(()),
        port_sets=seldom(some(PORT_SETS)) if ports else st.just(()),
        not_ports=seldom(some(PORTS[:4])) if ports else st.just(()),
        not_port_sets=seldom(some(PORT_SETS)) if ports else st.just(()),
    )


@st.composite
def rules(draw: st.DrawFn) -> WantedRule:
    protocol = draw(st.sampled_from([None, None, 6, 6, 17, 1, 58, 47]))
    icmps = st.builds(Icmp, st.sampled_from([0, 8, 128]), st.sampled_from([None, 0, 1]))
    icmp = seldom(icmps, None) if protocol in (None, 1, 58) else st.none()
    return WantedRule(
        action=draw(st.sampled_from(["allow", "allow", "allow", "allow", "deny", "pass", "log"])),
        version=draw(seldom(st.sampled_from([4, 6]), None)),
        protocol=protocol,
        not_protocol=draw(seldom(st.sampled_from([6, 17]), None)) if protocol is None else None,
        icmp=draw(icmp),
        not_icmp=draw(icmp),
        source=draw(matches(protocol)),
        destination=draw(matches(protocol)),
    )


@st.composite
def simple_rules(draw: st.DrawFn) -> WantedRule:
    """What security groups are made of: one peer, one port range or ICMP type; mostly allow."""
    protocol = draw(st.sampled_from([None, 6, 17, 1, 58]))
    peer = draw(
        st.one_of(
            st.just(WantedMatch()),
            st.builds(WantedMatch, nets=st.sampled_from(NETS).map(lambda net: (net,))),
            st.builds(WantedMatch, sets=st.sampled_from(ADDRESS_SETS).map(lambda name: (name,))),
        )
    )
    ports = draw(seldom(some(PORTS, 1))) or draw(some(PORTS, 1)) if protocol in (6, 17) else ()
    icmps = st.builds(Icmp, st.sampled_from([0, 8, 128]), st.sampled_from([None, 0, 1]))
    rule = WantedRule(
        action=draw(st.sampled_from(["allow", "allow", "allow", "allow", "deny", "pass"])),
        version=draw(st.sampled_from([None, 4, 6])),
        protocol=protocol,
        icmp=draw(seldom(icmps, None)) if protocol in (1, 58) else None,
    )
    if draw(st.booleans()):
        return _with(rule, source=peer, destination=WantedMatch(ports=ports))
    return _with(rule, source=WantedMatch(), destination=_with(peer, ports=ports))


def _with(struct: S, **changed: Any) -> S:
    return msgspec.structs.replace(struct, **changed)


rule_lists = st.lists(st.one_of(simple_rules(), rules()), max_size=5).map(tuple)
port_members = st.builds(
    PortMember, st.sampled_from(NETS), st.sampled_from([6, 17]), st.sampled_from([22, 80, 85, 443])
)


qos_controls = st.builds(
    QosControls,
    ingress_packet_rate=st.sampled_from([0, 0, 1000, 10000]),
    egress_packet_rate=st.sampled_from([0, 0, 1000]),
    egress_packet_burst=st.sampled_from([0, 7]),
    ingress_max_connections=st.sampled_from([0, 0, 1, 5]),
    egress_max_connections=st.sampled_from([0, 0, 1, 5]),
    dscp=st.sampled_from([None, None, 46, 0, "af11", "nonsense"]),
)
pools = st.dictionaries(st.sampled_from(sorted(POOLS)), st.booleans(), max_size=3).map(
    lambda nat: {name: WantedPool(cidr=POOLS[name], nat_outgoing=outgoing) for name, outgoing in nat.items()}
)


tiers = st.lists(
    st.builds(
        WantedTier,
        name=st.sampled_from(["a", "b"]),
        ingress=some(POLICIES, 3),
        egress=some(POLICIES, 3),
        default_pass=st.booleans(),
    ),
    max_size=2,
).map(tuple)
passing_tiers = tiers.map(lambda chosen: tuple(_with(tier, default_pass=True) for tier in chosen))
host_endpoints = st.builds(
    WantedHostEndpoint,
    name=st.just(""),
    tiers=tiers,
    forward=tiers,
    untracked=seldom(passing_tiers),
    pre_dnat=seldom(passing_tiers.map(lambda chosen: tuple(_with(t, egress=()) for t in chosen if t.ingress))),
    profiles=some(PROFILES),
)


some_interfaces = seldom(st.lists(st.sampled_from(INTERFACES), unique=True))


@st.composite
def states(draw: st.DrawFn, hosts: st.SearchStrategy[list[str]] = some_interfaces) -> Wanted:
    """`hosts`: which of the host's own interfaces have endpoints."""
    wanted = Wanted(pools=draw(seldom(pools, {})))
    for set_id in ADDRESS_SETS:
        wanted.sets[set_id] = draw(st.sets(st.sampled_from(NETS), max_size=5))
    for set_id in PORT_SETS:
        wanted.sets[set_id] = draw(st.sets(port_members, max_size=5))
    for key in draw(some(POLICIES, 4)):
        ingress, egress = (draw(st.one_of(st.none(), rule_lists)) for _ in range(2))
        ahead = draw(st.integers(0, 3)) == 0
        wanted.policies[key] = WantedPolicy(key=key, ingress=ingress, egress=egress, ahead=ahead)
    for name in draw(some(PROFILES)):
        wanted.profiles[name] = WantedProfile(name=name, ingress=draw(rule_lists), egress=draw(rule_lists))
    for number in draw(st.sets(st.sampled_from([1, 2, 3]))):
        key = EndpointKey("openstack", "here", "openstack", f"vm{number}", f"port{number}")
        own = [HOSTS[number - 1], HOSTS[number + 2]]
        wanted.endpoints[key] = WantedEndpoint(
            key=key,
            interface=f"tap{number}",
            mac=mac_of(number),
            addresses=tuple(own),
            allowed_pairs=draw(seldom(some(NETS[6:8], 1))),
            tiers=draw(tiers),
            profiles=draw(some(PROFILES)),
            qos=draw(seldom(qos_controls, None)),
        )
    for interface in draw(hosts):
        wanted.host_endpoints[f"on {interface}"] = _with(draw(host_endpoints), name=f"on {interface}")
        wanted.host_interfaces[interface] = f"on {interface}"
    return wanted


def mac_of(number: int) -> str:
    return f"fa:16:3e:00:00:{number:02x}"


flows = st.one_of(
    st.tuples(
        st.sampled_from([6, 17]), st.tuples(st.just(1024), st.sampled_from([22, 79, 80, 85, 91, 443, 444])), st.none()
    ),
    st.tuples(st.sampled_from([1, 58]), st.none(), st.tuples(st.sampled_from([0, 8, 128]), st.sampled_from([0, 1]))),
    st.tuples(st.just(47), st.none(), st.none()),
)


@st.composite
def open_states(draw: st.DrawFn) -> Wanted:
    """All is allowed, so that only limits, marks and translations tell."""
    policy = WantedPolicy(key=POLICIES[0], ingress=(OPEN,), egress=(OPEN,))
    wanted = Wanted(policies={policy.key: policy}, pools=draw(pools))
    for number in (1, 2, 3):
        key = EndpointKey("openstack", "here", "openstack", f"vm{number}", f"port{number}")
        wanted.endpoints[key] = WantedEndpoint(
            key=key,
            interface=f"tap{number}",
            mac=mac_of(number),
            addresses=(HOSTS[number - 1], HOSTS[number + 2]),
            tiers=(WantedTier(name="default", ingress=(policy.key,), egress=(policy.key,)),),
            qos=draw(st.one_of(st.none(), qos_controls)),
        )
    return wanted


OPEN = WantedRule(action="allow")
OUTSIDE = {4: host_net("203.0.113.9"), 6: host_net("2001:db9::9")}
LINES = [
    (HOSTS.index(source), source, destination)
    for source in HOSTS
    for destination in (*HOSTS, OUTSIDE[source.version])
    if source.version == destination.version and source != destination
]


@st.composite
def histories(draw: st.DrawFn, most: int = 4) -> list[Wanted]:
    """States one after the other; often only one part differs, as in life."""
    sequence = [draw(states())]
    for _ in range(draw(st.integers(1, most - 1))):
        part = draw(
            st.sampled_from(["sets", "sets", "policies", "profiles", "endpoints", "host_endpoints", "pools", "all"])
        )
        other = draw(states())
        if part != "all":
            other = dataclasses.replace(sequence[-1], **{part: getattr(other, part)})
        sequence.append(other)
    return sequence


def rendered(wanted: Wanted) -> objects.Ruleset:
    renderer = RulesetRenderer(RulesetSettings())
    renderer.apply(changes(Wanted(), wanted))
    return renderer.full()


def changes(old: Wanted, new: Wanted) -> Changes:
    """A batch as the calculation would make it; changed sets as deltas when they exist on both sides."""
    batch = Changes()
    for set_id, members in new.sets.items():
        if set_id not in old.sets:
            batch.sets[set_id] = frozenset(members)
        elif members != old.sets[set_id]:
            gone, come = old.sets[set_id] - members, members - old.sets[set_id]
            batch.members[set_id] = MemberChange(frozenset(come), frozenset(gone))
    batch.sets_removed = set(old.sets) - set(new.sets)
    for kind in ("policies", "profiles", "endpoints", "host_endpoints", "host_interfaces", "pools", "hosts"):
        before, after = getattr(old, kind), getattr(new, kind)
        getattr(batch, kind).update({key: value for key, value in after.items() if before.get(key) != value})
        getattr(batch, f"{kind}_removed").update(set(before) - set(after))
    return batch


def overlapping(ruleset: objects.Ruleset) -> list[object]:
    """Pairs of keys of one interval set that share a value: the kernel refuses them."""
    found: list[object] = []
    for content in ruleset.values():
        for named in content.sets.values():
            if named.spec.interval:
                pairs = itertools.combinations(named.elements, 2)
                found += [(named.spec.name, one, other) for one, other in pairs if share(named.spec, one, other)]
    return found


def share(spec: objects.SetSpec, one: objects.Key, other: objects.Key) -> bool:
    assert isinstance(one, tuple)
    assert isinstance(other, tuple)
    offset = 0
    for part in spec.key:
        end = offset + part.width
        if one[0][offset:end] > other[1][offset:end] or other[0][offset:end] > one[1][offset:end]:
            return False
        offset = end + (-part.width & 3)
    return True
