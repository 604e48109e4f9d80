"""Which policies and profiles matter on this host: those that something local is selected by, or lists.

A policy without a local endpoint costs nothing here: no chain, no set, no member; except that one which asks for it
(AssumeNeededOnEveryNode) is always active. Staged policies never become active.
Untracked and pre-DNAT policies are about host endpoints only: that a guest's labels match them means nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from calico_openstack.felix.calc.label_index import LabelIndex, Labels
from calico_openstack.felix.calc.local import HostItem, Local
from calico_openstack.model.policy import Policy, PolicyKey


class ActivePolicies:
    """Calls `policy_changed(key)` when a policy becomes active, inactive, or changes while active; and
    `endpoint_changed(key)` when the policies of a local endpoint, or their order, may be others.
    """

    def __init__(self, policy_changed: Callable[[PolicyKey], None], endpoint_changed: Callable[[Local], None]) -> None:
        self._policy_changed = policy_changed
        self._endpoint_changed = endpoint_changed
        self._index: LabelIndex[Local, PolicyKey] = LabelIndex(self._matched, self._unmatched)
        self._policies: dict[PolicyKey, Policy] = {}
        self._users: Counter[PolicyKey] = Counter()

    def set_endpoint(self, key: Local, labels: Labels | None) -> None:
        """Effective labels of a local endpoint, None when it is gone."""
        if labels is None:
            self._index.remove_item(key)
        else:
            self._index.set_item(key, labels)

    def set_policy(self, key: PolicyKey, policy: Policy | None) -> None:
        before = self._policies.get(key)
        after = policy if policy is not None and not policy.staged else None
        if before == after:
            return
        needed = self.is_active(key)
        if before is not None and (after is None or applies_to_workloads(before) != applies_to_workloads(after)):
            # Index first: while it tells of the endpoints that lose the policy, the policy is still known.
            self._index.remove_selector(key)
            del self._policies[key]
            before = None
        if after is not None:
            self._policies[key] = after
            self._index.add_selector(key, after.selector)
        if needed or self.is_active(key):
            self._policy_changed(key)
        if before is not None and self._users[key] > 0:
            for endpoint in self._index.members(key):
                self._endpoint_changed(endpoint)

    def is_active(self, key: PolicyKey) -> bool:
        policy = self._policies.get(key)
        return self._users[key] > 0 or (policy is not None and policy.always_programmed)

    def get(self, key: PolicyKey) -> Policy | None:
        """The policy, if it is active."""
        return self._policies.get(key) if self.is_active(key) else None

    def policies_of(self, endpoint: Local) -> Iterable[Policy]:
        policies = (self._policies[key] for key in self._index.matched(endpoint))
        return (policy for policy in policies if _concerns(policy, endpoint))

    def _matched(self, key: PolicyKey, endpoint: Local) -> None:
        if _concerns(self._policies[key], endpoint):
            self._users[key] += 1
            if self._users[key] == 1:
                self._policy_changed(key)
            self._endpoint_changed(endpoint)

    def _unmatched(self, key: PolicyKey, endpoint: Local) -> None:
        if _concerns(self._policies[key], endpoint):
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                self._policy_changed(key)
            self._endpoint_changed(endpoint)


def applies_to_workloads(policy: Policy) -> bool:
    return not (policy.do_not_track or policy.pre_dnat)


def _concerns(policy: Policy, endpoint: Local) -> bool:
    return isinstance(endpoint, HostItem) or applies_to_workloads(policy)


class ListedProfiles:
    """Which profiles local endpoints list. Calls `changed(name)` when one becomes listed or unlisted."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._listed: dict[Local, tuple[str, ...]] = {}
        self._counts: dict[str, int] = {}

    def set_endpoint(self, key: Local, profiles: tuple[str, ...]) -> None:
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
