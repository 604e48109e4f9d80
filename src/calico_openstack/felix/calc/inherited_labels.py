"""Which labels an item really has: its own, then those that its profiles lend (`labelsToApply`), first profile first.

A profile that changes touches exactly the items that list it. (upstream felix/labelindex inheritance)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Generic, NamedTuple, TypeVar

I = TypeVar("I", bound=Hashable)  # noqa: E741 - an item

Labels = Mapping[str, str]


class _Own(NamedTuple):
    labels: Labels
    profiles: tuple[str, ...]


class InheritedLabels(Generic[I]):
    """Calls `changed(item, labels)` with an item's effective labels, None when the item is gone."""

    def __init__(self, changed: Callable[[I, Labels | None], None]) -> None:
        self._changed = changed
        self._own: dict[I, _Own] = {}
        self._lent: dict[str, Labels] = {}
        self._listing: dict[str, set[I]] = {}

    def set_item(self, item: I, labels: Labels, profiles: tuple[str, ...]) -> None:
        before = self._own.get(item)
        own = _Own(labels, profiles)
        if before == own:
            return
        self._relist(item, before.profiles if before else (), profiles)
        self._own[item] = own
        self._changed(item, self._effective(own))

    def remove_item(self, item: I) -> None:
        before = self._own.pop(item, None)
        if before is None:
            return
        self._relist(item, before.profiles, ())
        self._changed(item, None)

    def set_profile(self, name: str, labels: Labels) -> None:
        """What a profile lends; empty when the profile is gone."""
        if self._lent.get(name, {}) == labels:
            return
        if labels:
            self._lent[name] = labels
        else:
            del self._lent[name]
        for item in list(self._listing.get(name, ())):
            self._changed(item, self._effective(self._own[item]))

    def _effective(self, own: _Own) -> Labels:
        lent = [self._lent[name] for name in own.profiles if name in self._lent]
        if not lent:
            return own.labels
        merged: dict[str, str] = {}
        for labels in reversed(lent):
            merged.update(labels)
        merged.update(own.labels)
        return merged

    def _relist(self, item: I, before: tuple[str, ...], after: tuple[str, ...]) -> None:
        for name in before:
            items = self._listing.get(name, set())
            items.discard(item)
            if not items:
                self._listing.pop(name, None)
        for name in after:
            self._listing.setdefault(name, set()).add(item)
