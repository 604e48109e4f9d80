"""Which policies and profiles matter on this host: those that a local endpoint is selected by, or lists.

A policy without a local endpoint costs nothing here: no chain, no set, no member. Policies that cannot apply to a
workload endpoint (staged; untracked and pre-DNAT, which are for host endpoints) never become active.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from calico_openstack.felix.calc.label_index import LabelIndex, Labels
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.policy import Policy, PolicyKey


class ActivePolicies:
    """Calls `policy_changed(key)` when a policy becomes active, inactive, or changes while active; and
    `endpoint_changed(key)` when the policies of a local endpoint, or their order, may be others.
    """

    def __init__(
        self, policy_changed: Callable[[PolicyKey], None], endpoint_changed: Callable[[EndpointKey], None]
    ) -> None:
        self._policy_changed = policy_changed
        self._endpoint_changed = endpoint_changed
        self._index: LabelIndex[EndpointKey, PolicyKey] = LabelIndex(self._matched, self._unmatched)
        self._policies: dict[PolicyKey, Policy] = {}

    def set_endpoint(self, key: EndpointKey, labels: Labels | None) -> None:
        """Effective labels of a local endpoint, None when it is gone."""
        if labels is None:
            self._index.remove_item(key)
        else:
            self._index.set_item(key, labels)

    def set_policy(self, key: PolicyKey, policy: Policy | None) -> None:
        before = self._policies.get(key)
        after = policy if policy is not None and applies_to_workloads(policy) else None
        if before == after:
            return
        if after is None:
            # Index first: while it tells of the endpoints that lose the policy, the policy is still known.
            self._index.remove_selector(key)
            del self._policies[key]
            return
        self._policies[key] = after
        self._index.add_selector(key, after.selector)
        if before is not None and self.is_active(key):
            self._policy_changed(key)
            for endpoint in self._index.members(key):
                self._endpoint_changed(endpoint)

    def is_active(self, key: PolicyKey) -> bool:
        return self._index.count(key) > 0

    def get(self, key: PolicyKey) -> Policy | None:
        """The policy, if it is active."""
        return self._policies.get(key) if self.is_active(key) else None

    def policies_of(self, endpoint: EndpointKey) -> Iterable[Policy]:
        return (self._policies[key] for key in self._index.matched(endpoint))

    def _matched(self, policy: PolicyKey, endpoint: EndpointKey) -> None:
        if self._index.count(policy) == 1:
            self._policy_changed(policy)
        self._endpoint_changed(endpoint)

    def _unmatched(self, policy: PolicyKey, endpoint: EndpointKey) -> None:
        if not self.is_active(policy):
            self._policy_changed(policy)
        self._endpoint_changed(endpoint)


def applies_to_workloads(policy: Policy) -> bool:
    return not (policy.staged or policy.do_not_track or policy.pre_dnat)


class ListedProfiles:
    """Which profiles local endpoints list. Calls `changed(name)` when one becomes listed or unlisted."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._listed: dict[EndpointKey, tuple[str, ...]] = {}
        self._counts: dict[str, int] = {}

    def set_endpoint(self, key: EndpointKey, profiles: tuple[str, ...]) -> None:
        before = self._listed.get(key, ())
        if before == profiles:
            return
        if profiles:
            self._listed[key] = profiles
        else:
            del self._listed[key]
        for name in profiles:
            self._count(name, 1)
        for name in before:
            self._count(name, -1)

    def is_listed(self, name: str) -> bool:
        return name in self._counts

    def _count(self, name: str, step: int) -> None:
        count = self._counts.get(name, 0) + step
        if count:
            self._counts[name] = count
        else:
            del self._counts[name]
        self._changed(name)
