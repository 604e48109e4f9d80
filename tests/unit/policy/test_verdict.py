"""What policies mean, case by case."""

import math

import msgspec
import pytest

from calico_openstack.felix.ruleset.meaning import Flow, allows
from calico_openstack.model.endpoint import Endpoint, EndpointKey, NamedPort
from calico_openstack.model.net import host_net, parse_net
from calico_openstack.model.policy import (
    Icmp,
    Match,
    NetworkSet,
    NetworkSetKey,
    Policy,
    PolicyKey,
    PortRange,
    Profile,
    Rule,
    Tier,
)
from calico_openstack.model.selector import parse
from calico_openstack.policy.order import policy_order
from calico_openstack.policy.state import Packet, State
from calico_openstack.policy.verdict import Verdict, applied_tiers, verdict
from calico_openstack.testing.oracle import wanted_of

A, B = host_net("10.65.0.1"), host_net("10.65.0.2")
ALLOW, DENY, PASS = Rule(action="allow"), Rule(action="deny"), Rule(action="pass")
SSH = Packet(A, B, 6, 40000, 22)


def endpoint(name: str, *addresses: str, labels: dict[str, str] | None = None, **more: object) -> Endpoint:
    key = EndpointKey("openstack", "h", "openstack", name, name)
    nets = tuple(host_net(text) for text in addresses)
    return Endpoint(key=key, interface=f"tap{name}", addresses=nets, labels=labels or {}, **more)  # type: ignore[arg-type]


def policy(
    name: str, *ingress: Rule, order: float = math.inf, tier: str = "default", selector: str = "all()"
) -> Policy:
    return Policy(
        key=PolicyKey("NetworkPolicy", "openstack", name),
        order=order,
        tier=tier,
        selector=parse(selector),
        ingress=tuple(ingress),
    )


def state(*things: object) -> State:
    result = State()
    for thing in things:
        match thing:
            case Endpoint():
                result.endpoints[thing.key] = thing
            case Policy():
                result.policies[thing.key] = thing
            case Profile():
                result.profiles[thing.name] = thing
            case Tier():
                result.tiers[thing.name] = thing
            case NetworkSet():
                result.network_sets[thing.key] = thing
    return result


def ask(result: State, packet: Packet = SSH, who: str = "b") -> Verdict:
    target = next(e for e in result.endpoints.values() if e.key.endpoint == who)
    return verdict(result, target, "ingress", packet)


def test_an_endpoint_that_nothing_selects_gets_nothing() -> None:
    assert ask(state(endpoint("b", "10.65.0.2"))) == Verdict(False)


def test_the_first_matching_rule_of_the_first_policy_decides() -> None:
    first, second = policy("z", DENY, order=1), policy("a", ALLOW)

    found = ask(state(endpoint("b", "10.65.0.2"), first, second))

    assert found == Verdict(False, "default", first.key, 0)


def test_policies_without_an_order_come_last_and_by_name() -> None:
    policies = [policy("b", ALLOW), policy("a", ALLOW), policy("c", ALLOW, order=7)]
    found = applied_tiers(state(endpoint("b", "10.65.0.2"), *policies), endpoint("b", "10.65.0.2"), "ingress")

    assert [p.key.name for p in found[0].policies] == ["c", "a", "b"]


def test_the_end_of_a_tier_denies_unless_it_passes() -> None:
    silent = policy("p", tier="first")
    allowing = policy("q", ALLOW, tier="second")
    who = endpoint("b", "10.65.0.2")
    second = Tier(name="second", order=2)

    denied = ask(state(who, silent, allowing, Tier(name="first", order=1), second))
    passed = ask(state(who, silent, allowing, Tier(name="first", order=1, default_pass=True), second))

    assert denied == Verdict(False, "first")
    assert passed.allowed


def test_the_tier_default_needs_no_object_and_comes_after_all_others() -> None:
    last, known = policy("p"), policy("q", ALLOW, tier="zzz")

    found = ask(state(endpoint("b", "10.65.0.2"), last, known, Tier(name="zzz", order=9)))

    assert found.decided_by == known.key
    assert ask(state(endpoint("b", "10.65.0.2"), last)) == Verdict(False, "default")


@pytest.mark.parametrize("stored", [(), (Tier(name="lost", order=1, broken="order: no number"),)])
@pytest.mark.parametrize("rule", [ALLOW, DENY])
def test_a_tier_whose_place_nobody_knows_denies_before_all_others(stored: tuple[Tier, ...], rule: Rule) -> None:
    who, known, tier = endpoint("b", "10.65.0.2"), policy("q", ALLOW, tier="aaa"), Tier(name="aaa", order=-9)

    found = ask(state(who, policy("p", rule, tier="lost"), known, tier, *stored))

    assert (found.allowed, found.tier) == (False, "lost")
    # It says nothing of what its policies do not govern.
    assert ask(state(who, policy("p", rule, tier="lost", selector="role == 'other'"), known, tier, *stored)).allowed
    # And once the tier is there it means what it says.
    there = [*(one for one in stored if one.name != "lost"), Tier(name="lost", order=1)]
    assert ask(state(who, policy("p", rule, tier="lost"), tier, *there)).allowed is (rule is ALLOW)


def test_pass_leaves_the_tier_for_the_next_and_then_for_the_profiles() -> None:
    who = endpoint("b", "10.65.0.2", profiles=("missing", "open"))
    opened = Profile(name="open", ingress=(DENY_UDP, ALLOW))

    found = ask(state(who, policy("p", PASS, DENY), opened))

    assert found == Verdict(True, None, "open", 1)


DENY_UDP = Rule(action="deny", protocol=17)


def test_log_goes_on_and_a_policy_of_the_other_direction_or_a_staged_one_does_not_count() -> None:
    logging = policy("p", Rule(action="log"), ALLOW)
    outwards = msgspec.structs.replace(policy("q", DENY, order=1), ingress=None, egress=(DENY,))
    staged = msgspec.structs.replace(policy("r", DENY, order=1), staged=True)

    assert ask(state(endpoint("b", "10.65.0.2"), logging, outwards, staged)).rule == 1


def test_the_default_allow_profile_need_not_be_stored() -> None:
    who = endpoint("b", "10.65.0.2", profiles=("projectcalico-default-allow",))

    assert ask(state(who)).allowed


def test_labels_of_profiles_count_unless_the_endpoint_has_its_own() -> None:
    dev = Profile(name="dev", labels_to_apply={"env": "dev", "role": "x"})
    inherits = endpoint("b", "10.65.0.2", profiles=("dev",))
    own = endpoint("b", "10.65.0.2", labels={"env": "prod"}, profiles=("dev",))
    selecting = policy("p", ALLOW, selector="env == 'dev' && role == 'x'")

    assert ask(state(inherits, dev, selecting)).allowed
    assert not ask(state(own, dev, selecting)).allowed


UDP = Packet(A, B, 17, 53, 53)
PING = Packet(A, B, 1, icmp=(8, 0))
PING6 = Packet(host_net("2001:db8::1"), host_net("2001:db8::2"), 58, icmp=(128, 0))


@pytest.mark.parametrize(
    ("rule", "packet", "matches"),
    [
        (Rule(action="allow", version=4), SSH, True),
        (Rule(action="allow", version=6), SSH, False),
        (Rule(action="allow", version=6), PING6, True),
        (Rule(action="allow", protocol=6), UDP, False),
        (Rule(action="allow", not_protocol=6), UDP, True),
        (Rule(action="allow", not_protocol=17), UDP, False),
        (Rule(action="allow", protocol=1, icmp=Icmp(8)), PING, True),
        (Rule(action="allow", protocol=1, icmp=Icmp(8, 1)), PING, False),
        (Rule(action="allow", protocol=1, not_icmp=Icmp(8, 1)), PING, True),
        (Rule(action="allow", protocol=1, not_icmp=Icmp(8, 0)), PING, False),
        (Rule(action="allow", source=Match(nets=(parse_net("10.65.0.0/24"),))), SSH, True),
        (Rule(action="allow", source=Match(nets=(parse_net("::/0"),))), SSH, False),
        (Rule(action="allow", source=Match(not_nets=(parse_net("10.65.0.0/31"),))), SSH, False),
        (Rule(action="allow", source=Match(not_nets=(parse_net("::/0"),))), SSH, True),
        (Rule(action="allow", protocol=6, destination=Match(ports=(PortRange(20, 30),))), SSH, True),
        (Rule(action="allow", protocol=6, destination=Match(not_ports=(PortRange(22, 22),))), SSH, False),
        (Rule(action="allow", source=Match(selector=parse("has(group)"))), SSH, True),
        (Rule(action="allow", source=Match(selector=parse("!has(group)"))), SSH, False),
        (Rule(action="allow", source=Match(not_selector=parse("has(group)"))), SSH, False),
        (Rule(action="allow", source=Match(not_selector=parse("has(other)"))), SSH, True),
        (Rule(action="allow", source=Match(selector=parse("all()"), not_selector=parse("has(group)"))), SSH, False),
        (Rule(action="allow", source=Match(selector=parse("office == 'x'"))), SSH, True),
        (Rule(action="allow", protocol=6, destination=Match(named_ports=("ssh",))), SSH, True),
        (Rule(action="allow", protocol=17, destination=Match(named_ports=("ssh",))), Packet(A, B, 17, 1, 22), False),
        (Rule(action="allow", destination=Match(named_ports=("ssh",), selector=parse("has(group)"))), SSH, False),
        (Rule(action="allow", destination=Match(not_named_ports=("ssh",))), SSH, False),
        (Rule(action="allow", destination=Match(named_ports=("web",), ports=(PortRange(22, 22),))), SSH, True),
    ],
)
def test_every_condition_of_a_rule(rule: Rule, packet: Packet, matches: bool) -> None:
    sender = endpoint("a", "10.65.0.1", labels={"group": ""})
    receiver = endpoint("b", "10.65.0.2", ports=(NamedPort("ssh", 6, 22), NamedPort("web", 6, 80)))
    office = NetworkSet(
        key=NetworkSetKey("", "office"), nets=(parse_net("10.65.0.0/31"),), labels={"office": "x", "group": ""}
    )

    found = ask(state(sender, receiver, office, policy("p", rule)), packet)

    assert found.allowed is matches


def test_pass_in_a_profile_leaves_it_for_the_next_profile() -> None:
    who = endpoint("b", "10.65.0.2", profiles=("first", "second"))
    profiles = Profile(name="first", ingress=(PASS, DENY)), Profile(name="second", ingress=(ALLOW,))

    assert ask(state(who, *profiles)) == Verdict(True, None, "second", 0)
    assert ask(state(who, profiles[0])) == Verdict(False)


def test_policies_of_equal_order_and_name_go_by_namespace_then_by_kind() -> None:
    keys = [
        PolicyKey("GlobalNetworkPolicy", "", "p"),
        PolicyKey("NetworkPolicy", "a", "p"),
        PolicyKey("StagedNetworkPolicy", "a", "p"),
        PolicyKey("NetworkPolicy", "b", "p"),
    ]
    policies = [Policy(key=key, tier="default", selector=parse("all()")) for key in reversed(keys)]

    assert [policy.key for policy in sorted(policies, key=policy_order)] == keys


def test_a_named_port_is_that_of_an_endpoint_that_the_side_selects_not_of_another_with_its_address() -> None:
    web = (NamedPort("web", 6, 22),)
    chosen = endpoint("b", "10.65.0.2", labels={"role": "web"})
    named = endpoint("c", "10.65.0.2", ports=web)
    side = Match(selector=parse("role == 'web'"), named_ports=("web",))
    except_named = Match(selector=parse("all()"), not_selector=parse("role == 'db'"), named_ports=("web",))
    selected = policy("p", Rule(action="allow", protocol=6, destination=side), order=1)
    excepted = policy("p", Rule(action="allow", protocol=6, destination=except_named), order=1)
    database = endpoint("c", "10.65.0.2", labels={"role": "db"}, ports=web)

    for found in (state(chosen, named, selected), state(chosen, database, excepted)):
        assert not ask(found).allowed
        wanted = wanted_of(found, "h")
        (receiver,) = (one for one in wanted.endpoints.values() if one.key == chosen.key)
        assert not allows(wanted, receiver, "ingress", Flow(A, B, 6, (40000, 22)))
    assert ask(state(chosen, named, excepted)).allowed
    assert ask(state(endpoint("b", "10.65.0.2", labels={"role": "web"}, ports=web), selected)).allowed
