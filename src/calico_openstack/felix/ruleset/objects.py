"""nftables objects as values: tables, chains, rules, sets and maps, and the operations that change them.

A `Ruleset` is a whole (what should be, or what was read back); `NftChanges` is one transaction. `apply`
says what a transaction means, which is the kernel's meaning: all operations, then the result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from calico_openstack.felix.ruleset.fields import DataType
from calico_openstack.felix.ruleset.statements import Statement, Verdict


class Table(NamedTuple):
    family: Literal["inet", "arp"]
    name: str


class Hook(NamedTuple):
    """Where a base chain sits. Its policy is always accept: what we do not mention is not ours."""

    type: Literal["filter", "nat"]
    hook: Literal["prerouting", "input", "forward", "output", "postrouting"]
    priority: int


@dataclass(frozen=True)
class Rule:
    """Statements, read from left to right. `note` is for people: where the rule comes from."""

    statements: tuple[Statement, ...]
    note: str = ""

    @cached_property
    def digest(self) -> str:
        """Identity of the content. It travels in the rule's comment, so that a read-back knows the rule
        without decoding it."""
        return hashlib.blake2b(repr(self.statements).encode(), digest_size=8).hexdigest()

    @property
    def comment(self) -> str:
        return f"{self.digest} {self.note}".rstrip()[:120]


class Chain(NamedTuple):
    name: str
    rules: tuple[Rule, ...] = ()
    hook: Hook | None = None


Key = bytes | tuple[bytes, bytes]
"""A set element: one value, or a range with both ends included. `ANY_KEY` catches all that no other element
matches."""

Value = None | bytes | Verdict
"""What a map gives for a key; None in a plain set."""

ANY_KEY = b""


class Dynamic(NamedTuple):
    """Packets add the elements: at most `size`, each for `timeout` seconds after it was added or refreshed."""

    size: int
    timeout: int


class SetSpec(NamedTuple):
    """A named set, or a map when `value` is given. `interval` sets hold ranges that never overlap. What is in a
    `dynamic` set is the kernel's business: we neither write nor read it."""

    name: str
    key: tuple[DataType, ...]
    interval: bool = False
    value: DataType | None = None
    dynamic: Dynamic | None = None


@dataclass(slots=True)
class NamedSet:
    spec: SetSpec
    elements: dict[Key, Value] = field(default_factory=dict)


@dataclass(slots=True)
class TableContent:
    chains: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, NamedSet] = field(default_factory=dict)


Ruleset = dict[Table, TableContent]


class AddTable(NamedTuple):
    table: Table


class DropTable(NamedTuple):
    table: Table


class AddSet(NamedTuple):
    table: Table
    spec: SetSpec


class DropSet(NamedTuple):
    table: Table
    name: str


class AddChain(NamedTuple):
    """Create the chain, without rules."""

    table: Table
    name: str
    hook: Hook | None


class DropChain(NamedTuple):
    table: Table
    name: str


class SetRules(NamedTuple):
    """Replace all rules of the chain. `fresh`: the chain was created in the same transaction, nothing to
    flush."""

    table: Table
    chain: str
    rules: tuple[Rule, ...]
    fresh: bool = False


class AddElements(NamedTuple):
    table: Table
    spec: SetSpec
    elements: tuple[tuple[Key, Value], ...]


class DropElements(NamedTuple):
    table: Table
    spec: SetSpec
    keys: tuple[Key, ...]


Operation = AddTable | AddSet | AddChain | DropElements | SetRules | AddElements | DropChain | DropSet | DropTable

_ORDER = (
    DropTable,
    AddTable,
    AddSet,
    AddChain,
    DropElements,
    SetRules,
    AddElements,
    DropChain,
    DropSet,
)


@dataclass(frozen=True, slots=True)
class NftChanges:
    """One transaction, in an order that the kernel accepts: what is named exists before, what is removed is
    named no more."""

    operations: tuple[Operation, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.operations)

    def __len__(self) -> int:
        return len(self.operations)


def in_order(operations: Iterable[Operation]) -> NftChanges:
    return NftChanges(tuple(sorted(operations, key=lambda operation: _ORDER.index(type(operation)))))


def apply(ruleset: Ruleset, changes: NftChanges) -> None:
    """Change `ruleset` in place as the kernel would."""
    for operation in changes.operations:
        match operation:
            case AddTable(table):
                ruleset.setdefault(table, TableContent())
            case DropTable(table):
                ruleset.pop(table, None)
            case AddSet(table, spec):
                ruleset[table].sets.setdefault(spec.name, NamedSet(spec))
            case DropSet(table, name):
                del ruleset[table].sets[name]
            case AddChain(table, name, hook):
                ruleset[table].chains.setdefault(name, Chain(name, (), hook))
            case DropChain(table, name):
                del ruleset[table].chains[name]
            case SetRules(table, name, rules):
                chains = ruleset[table].chains
                chains[name] = chains[name]._replace(rules=rules)
            case AddElements(table, spec, elements):
                ruleset[table].sets[spec.name].elements.update(elements)
            case DropElements(table, spec, keys):
                for key in keys:
                    del ruleset[table].sets[spec.name].elements[key]
