"""In which order tiers and policies are asked (upstream felix/calc/policy_sorter.go)."""

from __future__ import annotations

from calico_openstack.model.policy import Policy, Tier


def tier_order(name: str, tier: Tier | None) -> tuple[bool, float, str]:
    """Sort key of a tier. Tiers that exist come first, by order, then name; tiers only named by policies come last."""
    return (tier is None, tier.order if tier is not None else 0.0, name)


def policy_order(policy: Policy) -> tuple[float, str]:
    """Sort key of a policy in its tier: by order (none means last), ties by the text `name/namespace/kind`."""
    return (policy.order, f"{policy.key.name}/{policy.key.namespace}/{policy.key.kind}")
