"""Who is in each set: the addresses of everything that a set's selector matches, in the whole cluster.

An address may come from several items (two ports with one allowed address pair); it leaves the set with the last of
them, so every member is counted. Only differences since the last `collect` leave this room. Floating IPs are no
members: packets carry the fixed address where policy is applied.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from calico_openstack.felix.calc.label_index import LabelIndex, Labels
from calico_openstack.felix.wanted.state import Member, MemberChange, PortMember, SetId
from calico_openstack.model.endpoint import NamedPort
from calico_openstack.model.net import Net
from calico_openstack.model.selector import Selector

Item = Hashable


class NamedPortOf(NamedTuple):
    """The ports that a named-port set collects."""

    protocol: int
    name: str


class SetDefinition(NamedTuple):
    """What a set contains: addresses of what the selector matches, or its ports of one name."""

    selector: Selector
    port: NamedPortOf | None = None


class Contribution(NamedTuple):
    """What one item brings to the sets that it is in."""

    nets: tuple[Net, ...] = ()
    ports: tuple[NamedPort, ...] = ()

    def members(self, definition: SetDefinition) -> set[Member]:
        wanted = definition.port
        if wanted is None:
            return set(self.nets)
        numbers = {port.port for port in self.ports if (port.protocol, port.name) == wanted}
        return {PortMember(net, wanted.protocol, number) for net in self.nets for number in numbers}


_NOTHING = Contribution()


@dataclass(slots=True)
class _Set:
    definition: SetDefinition
    counts: dict[Member, int] = field(default_factory=dict)
    added: set[Member] = field(default_factory=set)
    removed: set[Member] = field(default_factory=set)


class SetMembers:
    """The sets that someone refers to, and their members."""

    def __init__(self) -> None:
        self.index: LabelIndex[Item, SetId] = LabelIndex(self._started, self._stopped)
        self._sets: dict[SetId, _Set] = {}
        self._items: dict[Item, Contribution] = {}
        self._dirty: set[SetId] = set()

    def define(self, set_id: SetId, definition: SetDefinition) -> None:
        if set_id not in self._sets:
            self._sets[set_id] = _Set(definition)
            self.index.add_selector(set_id, definition.selector)

    def forget(self, set_id: SetId) -> None:
        self.index.remove_selector(set_id)
        self._sets.pop(set_id, None)
        self._dirty.discard(set_id)

    def set_labels(self, item: Item, labels: Labels | None) -> None:
        """The item's effective labels; None when it is gone."""
        if labels is None:
            self.index.remove_item(item)
        else:
            self.index.set_item(item, labels)

    def set_contribution(self, item: Item, contribution: Contribution | None) -> None:
        before = self._items.get(item, _NOTHING)
        after = contribution or _NOTHING
        if contribution is None:
            self._items.pop(item, None)
        else:
            self._items[item] = contribution
        if before == after:
            return
        for set_id in self.index.matched(item):
            definition = self._sets[set_id].definition
            was, now = before.members(definition), after.members(definition)
            self._count(set_id, now - was, 1)
            self._count(set_id, was - now, -1)

    def members(self, set_id: SetId) -> frozenset[Member]:
        """All members now; what `collect` would still report about this set is thereby said."""
        found = self._sets[set_id]
        found.added.clear()
        found.removed.clear()
        return frozenset(found.counts)

    def collect(self) -> dict[SetId, MemberChange]:
        """The differences since the last call, of the sets that have any."""
        changes: dict[SetId, MemberChange] = {}
        for set_id in self._dirty:
            found = self._sets[set_id]
            if found.added or found.removed:
                changes[set_id] = MemberChange(frozenset(found.added), frozenset(found.removed))
                found.added.clear()
                found.removed.clear()
        self._dirty.clear()
        return changes

    def _started(self, set_id: SetId, item: Item) -> None:
        contribution = self._items.get(item, _NOTHING)
        self._count(set_id, contribution.members(self._sets[set_id].definition), 1)

    def _stopped(self, set_id: SetId, item: Item) -> None:
        contribution = self._items.get(item, _NOTHING)
        self._count(set_id, contribution.members(self._sets[set_id].definition), -1)

    def _count(self, set_id: SetId, members: Iterable[Member], step: int) -> None:
        found = self._sets[set_id]
        for member in members:
            count = found.counts.get(member, 0) + step
            if count:
                found.counts[member] = count
            else:
                del found.counts[member]
            if count == 1 and step == 1:
                _flip(member, found.removed, found.added)
            elif count == 0:
                _flip(member, found.added, found.removed)
        self._dirty.add(set_id)


def _flip(member: Member, undo: set[Member], do: set[Member]) -> None:
    """Note a change, unless it undoes one that nobody has been told of."""
    if member in undo:
        undo.discard(member)
    else:
        do.add(member)
