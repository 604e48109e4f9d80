"""In which order the policies of an endpoint are asked: tiers by order, in each tier the policies by order.

Tiers that exist come by order, then by name; the tier `default`, which OpenStack deployments have no object of, after
all of them; closed ones (`policy.closed_tiers`) before, with stand-ins for their policies. A direction in which no
policy of a tier applies skips the tier. Endpoints with the same policies share one value.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_openstack.felix.wanted.state import WantedTier
from calico_openstack.model.policy import Policy, PolicyKey, Tier
from calico_openstack.policy.closed_tiers import in_force, why_closed
from calico_openstack.policy.order import policy_order, tier_order

_REMEMBERED = 4096


class EndpointTiers:
    """Knows the tiers and who names them, and remembers the answer for each combination of policies until something in
    it changes."""

    def __init__(self) -> None:
        self._tiers: dict[str, Tier] = {}
        self._tier_of: dict[PolicyKey, str] = {}
        self._named: dict[str, set[PolicyKey]] = {}
        self._known: dict[frozenset[PolicyKey], tuple[WantedTier, ...]] = {}

    def set_tier(self, name: str, tier: Tier | None) -> bool:
        """True if something changed."""
        if self._tiers.get(name) == tier:
            return False
        if tier is None:
            del self._tiers[name]
        else:
            self._tiers[name] = tier
        self._known.clear()
        return True

    def set_policy(self, key: PolicyKey, policy: Policy | None) -> None:
        """A policy has changed: its place may be another."""
        self._known.clear()
        tier = policy.tier if policy is not None and not policy.staged else None
        before = self._tier_of.get(key)
        if before == tier:
            return
        if before is not None:
            del self._tier_of[key]
            self._named[before].discard(key)
            if not self._named[before]:
                del self._named[before]
        if tier is not None:
            self._tier_of[key] = tier
            self._named.setdefault(tier, set()).add(key)

    def policies_in(self, tier: str) -> frozenset[PolicyKey]:
        """All policies that name the tier, of whatever endpoints."""
        return frozenset(self._named.get(tier, ()))

    def in_force(self, policy: Policy) -> Policy:
        return in_force(policy, self._tiers)

    def closed(self) -> dict[PolicyKey, str]:
        """The policies in closed tiers, with the reason."""
        reasons = {name: why_closed(name, self._tiers.get(name)) for name in self._named}
        return {key: reason for name, reason in reasons.items() if reason is not None for key in self._named[name]}

    def tiers_of(self, policies: Iterable[Policy]) -> tuple[WantedTier, ...]:
        applied = {policy.key: policy for policy in policies}
        combination = frozenset(applied)
        known = self._known.get(combination)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[combination] = self._sorted(applied.values())
        return known

    def _sorted(self, policies: Iterable[Policy]) -> tuple[WantedTier, ...]:
        by_tier: dict[str, list[Policy]] = {}
        for policy in policies:
            by_tier.setdefault(policy.tier, []).append(policy)
        result = []
        for name in sorted(by_tier, key=lambda name: tier_order(name, self._tiers.get(name))):
            ordered = sorted(by_tier[name], key=policy_order)
            tier = self._tiers.get(name)
            wanted = WantedTier(
                name=name,
                ingress=tuple(policy.key for policy in ordered if policy.ingress is not None),
                egress=tuple(policy.key for policy in ordered if policy.egress is not None),
                default_pass=tier.default_pass if tier else False,
            )
            if wanted.ingress or wanted.egress:
                result.append(wanted)
        return tuple(result)
