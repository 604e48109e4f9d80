"""In which order tiers and policies are asked (upstream felix/calc/policy_sorter.go)."""

from __future__ import annotations

from calico_openstack.model.policy import Policy, Tier
from calico_openstack.policy.closed_tiers import why_closed

_CLOSED, _STORED, _UNSTORED = range(3)


def tier_order(name: str, tier: Tier | None) -> tuple[int, float, str]:
    """Sort key of a tier: closed ones come first, then those stored, by order, then name; an unstored default last."""
    if why_closed(name, tier) is not None:
        return (_CLOSED, 0.0, name)
    return (_STORED, tier.order, name) if tier is not None else (_UNSTORED, 0.0, name)


def policy_order(policy: Policy) -> tuple[float, str]:
    """Sort key of a policy in its tier: by order (none means last), ties by the text `name/namespace/kind`."""
    return (policy.order, f"{policy.key.name}/{policy.key.namespace}/{policy.key.kind}")
