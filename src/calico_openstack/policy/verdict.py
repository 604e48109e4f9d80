"""The verdict that an endpoint's policies give to a new flow, in one direction, and why.

Tiers in order, those first whose place nobody knows (`closed_tiers`); in a tier its policies in order; in a policy
its rules in order. Allow and Deny decide, Pass leaves the tier, Log goes on. At the end of a tier in which a policy
governs the direction: the tier's default, deny unless it passes. After the tiers the endpoint's profiles, then deny
(upstream felix/rules/endpoints.go). Traffic must be allowed by the sender's egress and by the receiver's ingress;
replies belong to their flow and are not asked about here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from calico_openstack.model.endpoint import Endpoint, HostEndpoint
from calico_openstack.model.policy import Policy, PolicyKey, Profile, Rule
from calico_openstack.policy.closed_tiers import in_force
from calico_openstack.policy.matching import rule_matches
from calico_openstack.policy.order import policy_order, tier_order
from calico_openstack.policy.state import Packet, State

Direction = Literal["ingress", "egress"]


class Verdict(NamedTuple):
    """Allowed or not, and what decided: a rule of a policy or profile (index from 0), or the end of a tier or of all.

    `rule` is None where no rule matched: then `tier` names the tier whose end denied, or is None at the very end.
    """

    allowed: bool
    tier: str | None = None
    decided_by: PolicyKey | str | None = None
    rule: int | None = None


class AppliedTier(NamedTuple):
    """The policies of one tier that apply to an endpoint in one direction, in order."""

    name: str
    policies: tuple[Policy, ...]
    default_pass: bool


def verdict(state: State, endpoint: Endpoint, direction: Direction, packet: Packet) -> Verdict:
    found = ask_tiers(state, applied_tiers(state, endpoint, direction), direction, packet)
    return found or ask_profiles(state, endpoint.profiles, direction, packet)


def ask_tiers(state: State, tiers: tuple[AppliedTier, ...], direction: Direction, packet: Packet) -> Verdict | None:
    """None: every tier let it go on to what comes after the tiers."""
    for tier in tiers:
        found = _ask_tier(state, tier, direction, packet)
        if found is not None:
            return found
    return None


def ask_profiles(state: State, profiles: tuple[str, ...], direction: Direction, packet: Packet) -> Verdict:
    """What stands at the end: the profiles in their order, then deny."""
    for name in profiles:
        profile = state.profile(name)
        if profile is None:
            continue
        index, action = _first_decision(state, _rules(profile, direction) or (), packet)
        if action in ("allow", "deny"):
            return Verdict(action == "allow", None, name, index)
    return Verdict(False)


def on_workloads(policy: Policy) -> bool:
    """Whether the policy is of a kind that guests are subject to."""
    return not (policy.staged or policy.do_not_track or policy.pre_dnat)


def applied_tiers(
    state: State,
    endpoint: Endpoint | HostEndpoint,
    direction: Direction,
    of_kind: Callable[[Policy], bool] = on_workloads,
) -> tuple[AppliedTier, ...]:
    """The tiers with a policy that is enforced on this endpoint in this direction, in order."""
    labels = state.effective_labels(endpoint.labels, endpoint.profiles)
    by_tier: dict[str, list[Policy]] = {}
    for policy in state.policies.values():
        if of_kind(policy) and policy.selector.matches(labels) and _rules(policy, direction) is not None:
            by_tier.setdefault(policy.tier, []).append(in_force(policy, state.tiers))
    result = []
    for name in sorted(by_tier, key=lambda name: tier_order(name, state.tiers.get(name))):
        tier = state.tiers.get(name)
        ordered = tuple(sorted(by_tier[name], key=policy_order))
        result.append(AppliedTier(name, ordered, tier is not None and tier.default_pass))
    return tuple(result)


def _ask_tier(state: State, tier: AppliedTier, direction: Direction, packet: Packet) -> Verdict | None:
    """None: go on with the next tier."""
    for policy in tier.policies:
        index, action = _first_decision(state, _rules(policy, direction) or (), packet)
        if action == "pass":
            return None
        if action is not None:
            return Verdict(action == "allow", tier.name, policy.key, index)
    return None if tier.default_pass else Verdict(False, tier.name)


def _first_decision(state: State, rules: tuple[Rule, ...], packet: Packet) -> tuple[int | None, str | None]:
    for index, rule in enumerate(rules):
        if rule.action != "log" and rule_matches(state, rule, packet):
            return index, rule.action
    return None, None


def _rules(source: Policy | Profile, direction: Direction) -> tuple[Rule, ...] | None:
    return source.ingress if direction == "ingress" else source.egress
