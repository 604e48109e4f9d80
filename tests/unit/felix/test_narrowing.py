"""Whose flows are to be asked again: those whose meaning may be narrower, and nobody else's."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.felix.ruleset.meaning import Flow, allows
from calico_openstack.felix.wanted.narrowing import MOST_PEERS, Narrowed, Narrowing, widens
from calico_openstack.felix.wanted.state import (
    Changes,
    MemberChange,
    SetId,
    Wanted,
    WantedEndpoint,
    WantedMatch,
    WantedPolicy,
    WantedProfile,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.endpoint import EndpointKey, Nat
from calico_openstack.model.net import Net, parse_net
from calico_openstack.model.policy import Action, PolicyKey, PortRange

A, B = EndpointKey("openstack", "h", "openstack", "vm", "a"), EndpointKey("openstack", "h", "openstack", "vm", "b")
WEB, DATABASE = PolicyKey("NetworkPolicy", "openstack", "web"), PolicyKey("NetworkPolicy", "openstack", "db")
GROUP = SetId("s:group")
MEMBER, OTHER = parse_net("10.0.0.8"), parse_net("10.0.0.9")


def rule(action: Action = "allow", port: int = 80, **source: tuple[SetId, ...]) -> WantedRule:
    return WantedRule(
        action=action,
        protocol=6,
        source=WantedMatch(**source),  # type: ignore[arg-type]
        destination=WantedMatch(ports=(PortRange(port, port),)),
    )


def policy(key: PolicyKey, *ingress: WantedRule) -> dict[PolicyKey, WantedPolicy]:
    return {key: WantedPolicy(key=key, ingress=ingress)}


def endpoint(key: EndpointKey, *policies: PolicyKey, nats: tuple[Nat, ...] = ()) -> WantedEndpoint:
    return WantedEndpoint(
        key=key, interface=f"tap{key.endpoint}", tiers=(WantedTier(name="default", ingress=policies),), nats=nats
    )


class Story:
    """A wanted state and what became narrower at each change."""

    def __init__(self, *ingress: WantedRule) -> None:
        self.wanted = Wanted()
        self.narrowing = Narrowing()
        self.told(
            Changes(
                sets={GROUP: frozenset((MEMBER,))},
                policies={**policy(WEB, *ingress), **policy(DATABASE)},
                endpoints={A: endpoint(A, WEB), B: endpoint(B, DATABASE)},
            )
        )

    def told(self, changes: Changes) -> Narrowed:
        found = self.narrowing.update(self.wanted, changes)
        self.wanted.apply(changes)
        return found


def members(added: set[Net], removed: set[Net]) -> Changes:
    return Changes(members={GROUP: MemberChange(frozenset(added), frozenset(removed))})


def test_at_the_start_everybody_is_asked_and_later_who_comes_because_another_may_have_had_its_addresses() -> None:
    story = Story()
    fresh = Narrowing().update(Wanted(), Changes(endpoints=dict(story.wanted.endpoints)))
    assert fresh.endpoints == {A: None, B: None}

    new = EndpointKey("openstack", "h", "openstack", "vm", "new")
    assert story.told(Changes(endpoints={new: endpoint(new, WEB)})).endpoints == {new: None}


def test_an_address_that_joins_concerns_its_own_flows_only() -> None:
    story = Story()
    story.told(Changes(endpoints={A: msgspec.structs.replace(endpoint(A, WEB), addresses=(MEMBER,))}))

    told = story.told(Changes(endpoints={A: msgspec.structs.replace(endpoint(A, WEB), addresses=(OTHER, MEMBER))}))

    assert told.endpoints == {A: {OTHER}}


def test_a_rule_less_concerns_the_endpoints_with_that_policy() -> None:
    story = Story(rule(port=80), rule(port=443))

    assert story.told(Changes(policies=policy(WEB, rule(port=443)))).endpoints == {A: None}


def test_a_rule_more_or_another_order_of_rules_that_allow_concerns_nobody() -> None:
    story = Story(rule(port=80), rule(port=443))

    assert not story.told(Changes(policies=policy(WEB, rule(port=22), rule(port=443), rule(port=80))))


def test_a_denial_more_concerns_the_endpoints_and_a_denial_less_nobody() -> None:
    story = Story(rule())

    assert story.told(Changes(policies=policy(WEB, rule("deny"), rule()))).endpoints == {A: None}
    assert not story.told(Changes(policies=policy(WEB, rule())))


def test_a_member_that_leaves_concerns_the_flows_with_it_and_one_that_joins_none() -> None:
    story = Story(rule(sets=(GROUP,)))

    assert not story.told(members({OTHER}, set()))
    assert story.told(members(set(), {MEMBER})).endpoints == {A: {MEMBER}}


def test_a_set_told_anew_is_compared() -> None:
    story = Story(rule(sets=(GROUP,)))

    assert not story.told(Changes(sets={GROUP: frozenset((MEMBER, OTHER))}))
    assert story.told(Changes(sets={GROUP: frozenset((OTHER,))})).endpoints == {A: {MEMBER}}


def test_members_of_what_is_denied_or_excepted_count_the_other_way_round() -> None:
    for story in (Story(rule("deny", sets=(GROUP,)), rule()), Story(rule(not_sets=(GROUP,)))):
        assert not story.told(members(set(), {MEMBER}))
        assert story.told(members({OTHER}, set())).endpoints == {A: {OTHER}}


def test_very_many_members_that_leave_concern_all_flows() -> None:
    story = Story(rule(sets=(GROUP,)))
    many = {Net(4, 0x0A000000 + number, 32) for number in range(MOST_PEERS + 1)}
    story.told(members(many, set()))

    assert story.told(members(set(), many)).endpoints == {A: None}


def test_a_set_or_a_policy_that_goes_concerns_its_users() -> None:
    story = Story(rule(sets=(GROUP,)))

    assert story.told(Changes(sets_removed={GROUP})).endpoints == {A: None}
    assert story.told(Changes(policies_removed={DATABASE})).endpoints == {B: None}


def test_an_endpoint_with_other_policies_is_concerned_and_one_with_another_name_server_not() -> None:
    story = Story(rule())

    assert story.told(Changes(endpoints={A: endpoint(A, DATABASE)})).endpoints == {A: None}
    assert not story.told(Changes(endpoints={A: endpoint(A, DATABASE)}))
    assert not story.told(Changes(policies=policy(WEB)))


def test_a_floating_ip_that_goes_is_named() -> None:
    nat = Nat(MEMBER, parse_net("172.24.4.33"))
    story = Story(rule())
    story.told(Changes(endpoints={A: endpoint(A, WEB, nats=(nat,))}))

    found = story.told(Changes(endpoints={A: endpoint(A, WEB)}))

    assert (found.endpoints, found.nats) == ({}, {nat})


def test_a_profile_less_concerns_those_who_list_it() -> None:
    story = Story()
    listed = WantedEndpoint(key=A, interface="tapa", profiles=("open",))
    opened = WantedProfile(name="open", ingress=(WantedRule(action="allow"),))
    story.told(Changes(profiles={"open": opened}, endpoints={A: listed}))

    assert story.told(Changes(profiles={"open": WantedProfile(name="open")})).endpoints == {A: None}


def test_an_endpoint_that_lists_other_profiles_and_a_profile_that_goes_concern_it() -> None:
    story = Story()
    opened = WantedProfile(name="open", ingress=(WantedRule(action="allow"),))
    listed = WantedEndpoint(key=A, interface="tapa", profiles=("open",))
    story.told(Changes(profiles={"open": opened}, endpoints={A: listed}))

    assert story.told(Changes(endpoints={A: msgspec.structs.replace(listed, profiles=())})).endpoints == {A: None}
    story.told(Changes(endpoints={A: listed}))
    assert story.told(Changes(profiles_removed={"open"})).endpoints == {A: None}


def test_a_missing_set_that_comes_concerns_who_is_passed_on_by_it_and_nobody_else() -> None:
    for action, concerned in (("pass", {A: None}), ("allow", {}), ("deny", {})):
        story = Story(rule(action, sets=(SetId("s:late"),)))  # type: ignore[arg-type]

        assert story.told(Changes(sets={SetId("s:late"): frozenset((MEMBER,))})).endpoints == concerned


RULES = st.lists(st.builds(rule, st.sampled_from(["allow", "deny", "pass", "log"]), st.integers(1, 3)), max_size=5)


@given(RULES, RULES)
def test_what_is_said_to_widen_allows_all_that_was_allowed(before: list[WantedRule], after: list[WantedRule]) -> None:
    def allowed(rules: list[WantedRule]) -> set[int]:
        story = Story(*rules)
        flows = {port: Flow(OTHER, MEMBER, 6, (1000, port)) for port in (1, 2, 3)}
        one = story.wanted.endpoints[A]
        return {port for port, flow in flows.items() if allows(story.wanted, one, "ingress", flow)}

    if widens(before, after):
        assert allowed(before) <= allowed(after)
