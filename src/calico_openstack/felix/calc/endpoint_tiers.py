"""In which order the policies of an endpoint are asked: tiers by order, in each tier the policies by order.

Tiers that exist come first, by order, then by name; a tier that is only named by policies comes after all of them and
ends with deny, as upstream enforces it: OpenStack deployments have no Tier object `default`. A direction in which no
policy of a tier applies skips the tier. Endpoints with the same policies share one value.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_openstack.felix.wanted.state import WantedTier
from calico_openstack.model.policy import Policy, PolicyKey, Tier
from calico_openstack.policy.order import policy_order, tier_order

_REMEMBERED = 4096


class EndpointTiers:
    """Knows the tiers, and remembers the answer for each combination of policies until something in it changes."""

    def __init__(self) -> None:
        self._tiers: dict[str, Tier] = {}
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

    def forget(self) -> None:
        """A policy has changed: its place may be another."""
        self._known.clear()

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
