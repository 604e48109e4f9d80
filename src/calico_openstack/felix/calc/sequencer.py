"""What to tell the targets, and in which order: one `Changes` for all that happened since the last flush.

Nodes only say *what may have changed*; the sequencer asks for the present answer at the flush and compares it with
what was told before. So squashed, repeated and reverted changes cost nothing downstream, and the answer depends on
the present inputs alone. The order (sets, policies, endpoints; removal the other way round) is the order of the
fields of `Changes`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from calico_openstack.felix.calc.referenced_sets import ReferencedSets
from calico_openstack.felix.calc.set_members import SetMembers
from calico_openstack.felix.wanted.state import Changes, SetId, WantedEndpoint, WantedPolicy, WantedProfile
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.policy import PolicyKey

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Told(Generic[K, V]):
    """One kind of object: what the targets have been told, and which keys must be looked at again."""

    def __init__(self, answer: Callable[[K], V | None]) -> None:
        self._answer = answer
        self._told: dict[K, V] = {}
        self._dirty: dict[K, None] = {}

    def mark(self, key: K) -> None:
        self._dirty[key] = None

    def collect(self, changed: dict[K, V], removed: set[K]) -> None:
        for key in self._dirty:
            answer, told = self._answer(key), self._told.get(key)
            if answer is None:
                if told is not None:
                    del self._told[key]
                    removed.add(key)
            elif answer != told:
                self._told[key] = answer
                changed[key] = answer
        self._dirty.clear()


class Sequencer:
    """Asks policies, profiles and endpoints (whose answers settle which sets are in use), then the sets."""

    def __init__(
        self,
        policies: Told[PolicyKey, WantedPolicy],
        profiles: Told[str, WantedProfile],
        endpoints: Told[EndpointKey, WantedEndpoint],
        referenced: ReferencedSets,
        members: SetMembers,
    ) -> None:
        self._policies = policies
        self._profiles = profiles
        self._endpoints = endpoints
        self._referenced = referenced
        self._members = members
        self._told_sets: set[SetId] = set()

    def flush(self) -> Changes:
        changes = Changes()
        self._policies.collect(changes.policies, changes.policies_removed)
        self._profiles.collect(changes.profiles, changes.profiles_removed)
        self._endpoints.collect(changes.endpoints, changes.endpoints_removed)
        changes.sets_removed = self._referenced.retire() & self._told_sets
        self._told_sets -= changes.sets_removed
        for set_id in self._referenced.take_new():
            if set_id not in self._told_sets:
                changes.sets[set_id] = self._members.members(set_id)
                self._told_sets.add(set_id)
        changes.members = self._members.collect()
        return changes
