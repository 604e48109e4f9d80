"""Tiers whose place nobody knows: whatever is in them fails closed.

A policy may name a tier that is not stored, or one whose document cannot be read. Nobody can tell then which other
tiers' rules come before its own, so each place could let pass what was meant to be denied. Such a tier is *closed*: it
is asked before all others, and its policies are replaced by stand-ins, so that it denies what they govern until the
tier is there. (Upstream asks a missing tier last.) The tier `default` needs no document, since OpenStack clouds have
none: without one it is the last.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from calico_openstack.model.policy import Policy, Rule, Tier
from calico_openstack.model.read_policy import DENY_ALL

DEFAULT = "default"


def why_closed(name: str, tier: Tier | None) -> str | None:
    """The reason if the tier of that name is closed; `tier` is what is stored, None for nothing."""
    if tier is None:
        return None if name == DEFAULT else f"its tier {name} does not exist"
    return f"its tier {name} cannot be used: {tier.broken}" if tier.broken is not None else None


def in_force(policy: Policy, tiers: Mapping[str, Tier]) -> Policy:
    """The policy, or its stand-in if its tier is closed: no rules if all it does is allow, else one that denies."""
    reason = why_closed(policy.tier, tiers.get(policy.tier))
    if reason is None:
        return policy
    return msgspec.structs.replace(
        policy, ingress=_closed(policy.ingress), egress=_closed(policy.egress), broken=policy.broken or reason
    )


def _closed(rules: tuple[Rule, ...] | None) -> tuple[Rule, ...] | None:
    if rules is None:
        return None
    return () if all(rule.action == "allow" for rule in rules) else DENY_ALL
