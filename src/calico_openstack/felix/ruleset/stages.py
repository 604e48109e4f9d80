"""A batch that replaces something, as two transactions: what is new and nobody asks yet, then the change-over.

The kernel changes over to a new generation of rules and elements at one instant, with two gaps. The elements of an
interval set with several fields (`nft_set_pipapo`) appear some microseconds later, when the commit gets to that set.
And a packet that is on its way through the old rules finds the elements of the new generation: if a map sends it to a
chain that is made in the same transaction, that chain is still empty for it. In both gaps packets are lost that old and
new policy allow (29 of 430,000 in 500 changes of policy). A set or chain that was made by an earlier transaction has
neither gap, and as long as nobody asks it, it has no effect; a crash between the two leaves something that the next
reading removes.
"""

from __future__ import annotations

from collections.abc import Iterator

from calico_openstack.felix.ruleset.objects import (
    AddChain,
    AddElements,
    AddSet,
    AddTable,
    DropElements,
    NftChanges,
    Operation,
    SetRules,
)


def stages(changes: NftChanges) -> Iterator[NftChanges]:
    """One transaction, or two, in this order, each in an order that the kernel accepts."""
    first: list[Operation] = []
    if _replaces(changes):
        new = _new(changes)
        first = [operation for operation in changes.operations if _is_unasked(operation, new)]
    if first:
        done = set(map(id, first))
        yield NftChanges(tuple(first))
        yield NftChanges(tuple(operation for operation in changes.operations if id(operation) not in done))
    elif changes:
        yield changes


def _new(changes: NftChanges) -> set[tuple[object, str]]:
    """The sets, and the chains that no hook calls, that the batch makes."""
    found: set[tuple[object, str]] = set()
    for operation in changes.operations:
        match operation:
            case AddSet(table, spec):
                found.add((table, f"set {spec.name}"))
            case AddChain(table, name, None):
                found.add((table, f"chain {name}"))
    return found


def _is_unasked(operation: Operation, new: set[tuple[object, str]]) -> bool:
    match operation:
        case AddSet(table, spec) | AddElements(table, spec):
            return (table, f"set {spec.name}") in new
        case AddChain(table, name) | SetRules(table, name):
            return (table, f"chain {name}") in new
    return False


def _replaces(changes: NftChanges) -> bool:
    """Whether packets may be on their way through what goes. In tables that are made now there are none."""
    if any(isinstance(operation, AddTable) for operation in changes.operations):
        return False
    return any(
        isinstance(operation, DropElements) or (isinstance(operation, SetRules) and not operation.fresh)
        for operation in changes.operations
    )
