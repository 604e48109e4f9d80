"""One table under change: remembers how every touched object was, so that a batch becomes its net difference.

Whoever renders says what should be, as often as it likes; only what ends different from how it began goes
to the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from calico_openstack.felix.ruleset import fields
from calico_openstack.felix.ruleset.objects import (
    AddChain,
    AddElements,
    AddSet,
    Chain,
    DropChain,
    DropElements,
    DropSet,
    Key,
    NamedSet,
    Operation,
    SetRules,
    SetSpec,
    Table,
    TableContent,
    Value,
)


@dataclass(slots=True)
class Draft:
    """`content` is the table as it should be now; `take` gives the operations since the last `take`."""

    table: Table
    content: TableContent = field(default_factory=TableContent)
    _chains: dict[str, Chain | None] = field(default_factory=dict)
    _sets: dict[str, SetSpec | None] = field(default_factory=dict)
    # Per set: how each touched element was; a missing entry means untouched, `_ABSENT` that there was none.
    _elements: dict[str, dict[Key, Value | _Absent]] = field(default_factory=dict)

    def put_chain(self, chain: Chain) -> None:
        self._chains.setdefault(chain.name, self.content.chains.get(chain.name))
        self.content.chains[chain.name] = chain

    def drop_chain(self, name: str) -> None:
        self._chains.setdefault(name, self.content.chains.get(name))
        self.content.chains.pop(name, None)

    def put_set(self, spec: SetSpec) -> None:
        """Make sure that the set exists; its elements stay."""
        if spec.name not in self.content.sets:
            self._sets.setdefault(spec.name, None)
            self.content.sets[spec.name] = NamedSet(spec)

    def drop_set(self, name: str) -> None:
        named = self.content.sets.pop(name, None)
        if named is not None:
            self._sets.setdefault(name, named.spec)
            touched = self._elements.setdefault(name, {})
            for key, value in named.elements.items():
                touched.setdefault(key, value)

    def put_element(self, name: str, key: Key, value: Value = None) -> None:
        elements = self.content.sets[name].elements
        self._elements.setdefault(name, {}).setdefault(key, elements.get(key, _ABSENT))
        elements[key] = value

    def drop_element(self, name: str, key: Key) -> None:
        elements = self.content.sets[name].elements
        if key in elements:
            self._elements.setdefault(name, {}).setdefault(key, elements.pop(key))
            elements.pop(key, None)

    def put_elements(self, name: str, wanted: Mapping[Key, Value]) -> None:
        """The set has exactly these elements."""
        for key in [key for key in self.content.sets[name].elements if key not in wanted]:
            self.drop_element(name, key)
        elements = self.content.sets[name].elements
        for key, value in wanted.items():
            if key not in elements or elements[key] != value:
                self.put_element(name, key, value)

    def take(self) -> Iterator[Operation]:
        """The operations, in no particular order (`objects.in_order`), and begin anew."""
        yield from self._set_operations()
        for name, before in self._chains.items():
            after = self.content.chains.get(name)
            if after is None:
                if before is not None:
                    # Emptied before any chain goes: dropped chains may name one another.
                    yield SetRules(self.table, name, ())
                    yield DropChain(self.table, name)
            elif before is None:
                yield AddChain(self.table, name, after.hook)
                if after.rules:
                    yield SetRules(self.table, name, after.rules, fresh=True)
            elif before.rules != after.rules:
                yield SetRules(self.table, name, after.rules)
        self._chains, self._sets, self._elements = {}, {}, {}

    def _set_operations(self) -> Iterator[Operation]:
        added: set[str] = set()
        for name, was in self._sets.items():
            named = self.content.sets.get(name)
            if named is None:
                if was is not None:
                    gone = [key for key, value in self._elements.get(name, {}).items() if value is not _ABSENT]
                    yield from dropped_set(self.table, was, gone)
            elif was is None:
                yield AddSet(self.table, named.spec)
                added.add(name)
                if named.elements:
                    yield AddElements(self.table, named.spec, tuple(named.elements.items()))
        for name, touched in self._elements.items():
            named = self.content.sets.get(name)
            if named is None or name in added:
                continue
            now = named.elements
            changed = [k for k, was in touched.items() if k not in now or was is _ABSENT or was != now[k]]
            dropped = tuple(key for key in changed if touched[key] is not _ABSENT)
            new = tuple((key, now[key]) for key in changed if key in now)
            if dropped:
                yield DropElements(self.table, named.spec, dropped)
            if new:
                yield AddElements(self.table, named.spec, new)


def dropped_set(table: Table, spec: SetSpec, keys: Iterable[Key]) -> Iterator[Operation]:
    """A set goes. Chains that its elements name may go in the same transaction, so those go before."""
    doomed = tuple(keys)
    if spec.value is fields.VERDICT and doomed:
        yield DropElements(table, spec, doomed)
    yield DropSet(table, spec.name)


class _Absent:
    """There was no such element (None is a value)."""


_ABSENT = _Absent()
