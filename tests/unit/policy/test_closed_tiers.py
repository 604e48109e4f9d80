"""Policies of tiers whose place nobody knows (the whole of it: docs/design/policy.md, model.md)."""

from __future__ import annotations

import pytest

from calico_openstack.model.policy import Action, Policy, PolicyKey, Rule, Tier
from calico_openstack.model.selector import parse
from calico_openstack.policy.closed_tiers import in_force, why_closed


def rules(*actions: Action) -> tuple[Rule, ...]:
    return tuple(Rule(action=action) for action in actions)


def policy(tier: str, ingress: tuple[Rule, ...] | None) -> Policy:
    return Policy(
        key=PolicyKey("GlobalNetworkPolicy", namespace="", name="p"),
        tier=tier,
        selector=parse("all()"),
        ingress=ingress,
    )


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (None, None),
        ((), ()),
        (rules("allow", "allow"), ()),
        (rules("allow", "log"), rules("deny")),
        (rules("allow", "pass"), rules("deny")),
        (rules("deny"), rules("deny")),
    ],
)
def test_in_a_tier_that_is_not_there_a_policy_allows_nothing_and_denies_if_it_did_more_than_allow(
    said: tuple[Rule, ...] | None, left: tuple[Rule, ...] | None
) -> None:
    stands_in = in_force(policy("security", said), {})

    assert stands_in.ingress == left
    assert stands_in.broken == "its tier security does not exist"


def test_only_default_may_be_without_a_document() -> None:
    stored = policy("default", rules("allow"))

    assert in_force(stored, {}) is stored
    assert why_closed("default", None) is None
    assert why_closed("security", Tier(name="security", order=1.0)) is None
