"""What the kernel has, against what it should have.

A rule is known by the digest in its comment, a chain by the digests of its rules in order, a set by its
elements. So a dump is enough, no rule is decoded, and a correct kernel gives no operation at all. What
cannot be changed in place (a set of another type, a base chain on another hook) makes its table be created
anew, within the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from calico_openstack.felix.ruleset.draft import dropped_set
from calico_openstack.felix.ruleset.named_sets import BOOT
from calico_openstack.felix.ruleset.objects import (
    AddChain,
    AddElements,
    AddSet,
    AddTable,
    Chain,
    DropChain,
    DropElements,
    DropTable,
    Hook,
    NamedSet,
    NftChanges,
    Operation,
    Ruleset,
    SetRules,
    Table,
    TableContent,
    in_order,
)


class ActualChain(NamedTuple):
    """`rules`: the digest of each rule; something else for a rule that we did not write."""

    rules: tuple[str, ...] = ()
    hook: Hook | None = None


@dataclass(slots=True)
class ActualTable:
    chains: dict[str, ActualChain] = field(default_factory=dict)
    sets: dict[str, NamedSet] = field(default_factory=dict)


Actual = dict[Table, ActualTable]
"""What was read back: of our tables (and the boot table) those that exist."""


def difference(wanted: Ruleset, actual: Actual) -> NftChanges:
    """The transaction after which the kernel has `wanted` and no boot table."""
    operations: list[Operation] = []
    for table, content in wanted.items():
        found = actual.get(table)
        if found is None:
            operations += _create(table, content)
        elif _other_kind(content, found):
            operations += [DropTable(table), *_create(table, content)]
        else:
            operations += [*_sets(table, content, found), *_chains(table, content, found)]
    if BOOT in actual:
        operations.append(DropTable(BOOT))
    return in_order(operations)


def recreate(wanted: Ruleset, actual: Actual) -> NftChanges:
    """The last resort: all our tables anew, whatever they hold; still one transaction."""
    operations: list[Operation] = [DropTable(table) for table in actual]
    for table, content in wanted.items():
        operations += _create(table, content)
    return in_order(operations)


def as_read(ruleset: Ruleset) -> Actual:
    """How `ruleset` would look when read back."""
    return {
        table: ActualTable(
            {
                name: ActualChain(tuple(rule.digest for rule in chain.rules), chain.hook)
                for name, chain in content.chains.items()
            },
            {name: NamedSet(named.spec, dict(named.elements)) for name, named in content.sets.items()},
        )
        for table, content in ruleset.items()
    }


def _other_kind(content: TableContent, found: ActualTable) -> bool:
    sets = any(name in found.sets and found.sets[name].spec != named.spec for name, named in content.sets.items())
    chains = any(
        name in found.chains and found.chains[name].hook != chain.hook for name, chain in content.chains.items()
    )
    return sets or chains


def _create(table: Table, content: TableContent) -> Iterator[Operation]:
    yield AddTable(table)
    for named in content.sets.values():
        yield from _create_set(table, named)
    for chain in content.chains.values():
        yield from _create_chain(table, chain)


def _create_set(table: Table, named: NamedSet) -> Iterator[Operation]:
    yield AddSet(table, named.spec)
    if named.elements:
        yield AddElements(table, named.spec, tuple(named.elements.items()))


def _create_chain(table: Table, chain: Chain) -> Iterator[Operation]:
    yield AddChain(table, chain.name, chain.hook)
    if chain.rules:
        yield SetRules(table, chain.name, chain.rules, fresh=True)


def _sets(table: Table, content: TableContent, found: ActualTable) -> Iterator[Operation]:
    for name, named in content.sets.items():
        if name not in found.sets:
            yield from _create_set(table, named)
            continue
        if named.spec.dynamic:
            continue
        have = found.sets[name].elements
        want = named.elements
        drop = tuple(key for key, value in have.items() if key not in want or want[key] != value)
        add = tuple((key, value) for key, value in want.items() if key not in have or have[key] != value)
        if drop:
            yield DropElements(table, named.spec, drop)
        if add:
            yield AddElements(table, named.spec, add)
    for name, gone in found.sets.items():
        if name not in content.sets:
            yield from dropped_set(table, gone.spec._replace(name=name), gone.elements)


def _chains(table: Table, content: TableContent, found: ActualTable) -> Iterator[Operation]:
    for name, chain in content.chains.items():
        if name not in found.chains:
            yield from _create_chain(table, chain)
        elif found.chains[name].rules != tuple(rule.digest for rule in chain.rules):
            yield SetRules(table, name, chain.rules)
    for name in found.chains:
        if name not in content.chains:
            yield SetRules(table, name, ())
            yield DropChain(table, name)
