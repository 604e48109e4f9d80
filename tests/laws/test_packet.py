"""Law *packet*: a packet walked through the rendered ruleset gets the verdict that the wanted state means.

And its two companions for rendering in steps: the rendered whole depends on the state and not on the way to
it, and each transaction turns the rendered old state exactly into the rendered new one (so a packet meets
only whole states).
"""

import copy
import dataclasses
import itertools
import os

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from calico_openstack.felix.ruleset import meaning, objects, statements, walk
from calico_openstack.felix.ruleset.difference import as_read, difference
from calico_openstack.felix.ruleset.limits import code_point
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import (
    Changes,
    MemberChange,
    PortMember,
    SetId,
    Wanted,
    WantedEndpoint,
    WantedMatch,
    WantedPolicy,
    WantedPool,
    WantedProfile,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.endpoint import EndpointKey, QosControls
from calico_openstack.model.net import Net, host_net, parse_net
from calico_openstack.model.policy import Icmp, PolicyKey, PortRange

EXAMPLES = int(os.environ.get("LAWS_EXAMPLES", "40"))
RELAXED = settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate] if os.environ.get("LAWS_QUICK") else tuple(Phase),
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)

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
POOLS = {f"pool{number}": net for number, net in enumerate(NETS[6:])}


def some(values: list, most: int = 2) -> st.SearchStrategy[tuple]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True).map(tuple)


def seldom(strategy: st.SearchStrategy, empty: object = ()) -> st.SearchStrategy:
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


def _with(struct: object, **changed: object) -> object:
    values = {name: getattr(struct, name) for name in struct.__struct_fields__}
    return type(struct)(**{**values, **changed})


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


@st.composite
def states(draw: st.DrawFn) -> Wanted:
    wanted = Wanted(pools=draw(seldom(pools, {})))
    for set_id in ADDRESS_SETS:
        wanted.sets[set_id] = draw(st.sets(st.sampled_from(NETS), max_size=5))
    for set_id in PORT_SETS:
        wanted.sets[set_id] = draw(st.sets(port_members, max_size=5))
    for key in draw(some(POLICIES, 4)):
        ingress, egress = (draw(st.one_of(st.none(), rule_lists)) for _ in range(2))
        wanted.policies[key] = WantedPolicy(key=key, ingress=ingress, egress=egress)
    for name in draw(some(PROFILES)):
        wanted.profiles[name] = WantedProfile(name=name, ingress=draw(rule_lists), egress=draw(rule_lists))
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


@RELAXED
@given(open_states(), st.sampled_from([6, 17]), st.booleans(), st.sampled_from([0, 1, 4, 5]))
def test_limits_hold_their_own_endpoint_and_nobody_else(
    wanted: Wanted, protocol: int, tokens: bool, connections: int
) -> None:
    ruleset = rendered(wanted)
    by_address = {net: endpoint for endpoint in wanted.endpoints.values() for net in endpoint.addresses}
    for index, source, destination in LINES:
        sender, receiver = by_address[source], by_address.get(destination)
        start = walk.packet(
            source,
            destination,
            protocol,
            ports=(1024, 80),
            source_mac=mac_of(index % 3 + 1),
            in_interface=sender.interface,
            out_interface=receiver.interface if receiver else "eth0",
        )
        for state in (statements.NEW, statements.ESTABLISHED):
            packet = dataclasses.replace(start, state=state, tokens=tokens, connections=connections)
            others = connections if state == statements.NEW else 0
            held = meaning.spent(sender, "egress", protocol, tokens, others) or (
                receiver is not None and meaning.spent(receiver, "ingress", protocol, tokens, others)
            )

            assert (walk.forwarded(ruleset, packet).result == "drop") == held


@RELAXED
@given(open_states())
def test_what_leaves_the_cloud_is_marked_and_translated_and_nothing_else(wanted: Wanted) -> None:
    ruleset = rendered(wanted)
    by_address = {net: endpoint for endpoint in wanted.endpoints.values() for net in endpoint.addresses}
    for index, source, destination in LINES:
        sender, receiver = by_address[source], by_address.get(destination)
        done = walk.forwarded(
            ruleset,
            walk.packet(
                source,
                destination,
                17,
                ports=(1024, 80),
                source_mac=mac_of(index % 3 + 1),
                in_interface=sender.interface,
                out_interface=receiver.interface if receiver else "eth0",
            ),
        )
        outside = meaning.leaves_cloud(wanted, destination, to_tap=receiver is not None)
        mark = code_point(sender.qos.dscp) if sender.qos and outside else None
        shift = 2 if source.version == 4 else 6

        assert int.from_bytes(done.packet.network[:2], "big") >> shift & 63 == (mark or 0)
        assert done.masqueraded == meaning.is_translated(wanted, source, destination)


@RELAXED
@given(states(), st.lists(flows, min_size=5, max_size=5))
def test_a_packet_gets_the_verdict_that_the_wanted_state_means(wanted: Wanted, kinds: list) -> None:
    ruleset = rendered(wanted)
    by_address = {net: endpoint for endpoint in wanted.endpoints.values() for net in endpoint.addresses}
    pairs = [(a, b) for a, b in itertools.permutations(HOSTS, 2) if a.version == b.version]

    for (source, destination), (protocol, ports, icmp) in itertools.product(pairs, kinds):
        number, sender, receiver = HOSTS.index(source) % 3 + 1, by_address.get(source), by_address.get(destination)
        flow = meaning.Flow(source, destination, protocol, ports, icmp)
        expected = (sender is None or meaning.allows(wanted, sender, "egress", flow)) and (
            receiver is None or meaning.allows(wanted, receiver, "ingress", flow)
        )
        done = walk.forwarded(
            ruleset,
            walk.packet(
                source,
                destination,
                protocol,
                ports=ports,
                icmp=icmp,
                source_mac=mac_of(number),
                in_interface=sender.interface if sender else "eth0",
                out_interface=receiver.interface if receiver else "eth0",
            ),
        )

        assert (done.result == "accept") == expected, (flow, done.rules)


@st.composite
def histories(draw: st.DrawFn, most: int = 4) -> list[Wanted]:
    """States one after the other; often only one part differs, as in life."""
    sequence = [draw(states())]
    for _ in range(draw(st.integers(1, most - 1))):
        part = draw(st.sampled_from(["sets", "sets", "policies", "profiles", "endpoints", "pools", "all"]))
        other = draw(states())
        if part != "all":
            other = dataclasses.replace(sequence[-1], **{part: getattr(other, part)})
        sequence.append(other)
    return sequence


@RELAXED
@given(histories())
def test_each_transaction_turns_the_old_ruleset_into_the_new_one(sequence: list[Wanted]) -> None:
    renderer = RulesetRenderer(RulesetSettings())
    kernel: objects.Ruleset = {}
    before = Wanted()
    for wanted in sequence:
        objects.apply(kernel, renderer.apply(changes(before, wanted)))
        before = wanted

        assert as_read(kernel) == as_read(rendered(wanted))
        assert as_read(renderer.full()) == as_read(kernel)
        assert overlapping(kernel) == []


@RELAXED
@given(states(), states())
def test_the_difference_brings_the_kernel_to_what_is_wanted_and_is_empty_then(old: Wanted, new: Wanted) -> None:
    kernel = copy.deepcopy(rendered(old))
    wanted = rendered(new)

    objects.apply(kernel, difference(wanted, as_read(kernel)))

    assert as_read(kernel) == as_read(wanted)
    assert not difference(wanted, as_read(kernel))


def overlapping(ruleset: objects.Ruleset) -> list[object]:
    """Pairs of keys of one interval set that share a value: the kernel refuses them."""
    found = []
    for content in ruleset.values():
        for named in content.sets.values():
            if named.spec.interval:
                pairs = itertools.combinations(named.elements, 2)
                found += [(named.spec.name, one, other) for one, other in pairs if share(named.spec, one, other)]
    return found


def share(spec: objects.SetSpec, one: objects.Key, other: objects.Key) -> bool:
    offset = 0
    for part in spec.key:
        end = offset + part.width
        if one[0][offset:end] > other[1][offset:end] or other[0][offset:end] > one[1][offset:end]:
            return False
        offset = end + (-part.width & 3)
    return True


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
    for kind in ("policies", "profiles", "endpoints", "pools", "hosts"):
        before, after = getattr(old, kind), getattr(new, kind)
        getattr(batch, kind).update({key: value for key, value in after.items() if before.get(key) != value})
        getattr(batch, f"{kind}_removed").update(set(before) - set(after))
    return batch


def test_the_generated_addresses_are_the_ones_that_the_rules_speak_of() -> None:
    assert all(isinstance(net, Net) and any(other.contains(net) for other in NETS[6:]) for net in HOSTS)
