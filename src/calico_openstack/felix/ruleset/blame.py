"""Whose fault it is when the kernel refuses one operation: the interfaces whose packets would need that object.

A chain or set of a policy belongs to every interface from whose entry in a verdict map it can be reached; an element
that begins with an interface's name belongs to that interface. What all packets pass through, or nobody's, blames
nobody.
"""

from __future__ import annotations

from collections.abc import Iterator

from calico_openstack.felix.ruleset import fields
from calico_openstack.felix.ruleset.objects import (
    AddChain,
    AddElements,
    AddSet,
    Key,
    Operation,
    Ruleset,
    SetRules,
    SetSpec,
    TableContent,
)
from calico_openstack.felix.ruleset.statements import ByMap, InSet, NatByMap, Verdict


def culprit(operation: Operation) -> str:
    """The name of what is to be made or changed; empty for what is to be removed, and for tables."""
    match operation:
        case AddChain(_, name, _) | SetRules(_, name, _, _):
            return f"chain {name}"
        case AddSet(_, spec) | AddElements(_, spec, _):
            return f"set {spec.name}"
    return ""


def blamed(ruleset: Ruleset, operation: Operation) -> set[str]:
    """Names of interfaces. `ruleset` is what was to be."""
    if isinstance(operation, AddElements) and _by_interface(operation.spec):
        return {name for key, _ in operation.elements if (name := _interface(key))}
    wanted, content = culprit(operation), ruleset.get(operation.table)
    if not wanted or content is None:
        return set()
    known: dict[str, set[str]] = {}
    found = set()
    for named in content.sets.values():
        if _by_interface(named.spec) and named.spec.value == fields.VERDICT:
            for key, verdict in named.elements.items():
                if isinstance(verdict, Verdict) and verdict.chain and _interface(key):
                    if verdict.chain not in known:
                        known[verdict.chain] = _reached(content, verdict.chain)
                    if wanted in known[verdict.chain]:
                        found.add(_interface(key))
    return found


def _reached(content: TableContent, first: str) -> set[str]:
    """Every chain and set that a packet may come to from this chain on."""
    found: set[str] = set()
    todo = [first]
    while todo:
        name = todo.pop()
        if f"chain {name}" in found or name not in content.chains:
            continue
        found.add(f"chain {name}")
        for rule in content.chains[name].rules:
            for statement in rule.statements:
                match statement:
                    case Verdict():
                        todo += [statement.chain] if statement.chain else []
                    case InSet() | ByMap() | NatByMap():
                        found.add(f"set {statement.name}")
                        todo += _targets(content, statement.name)
    return found


def _targets(content: TableContent, name: str) -> Iterator[str]:
    if name in content.sets:
        for verdict in content.sets[name].elements.values():
            if isinstance(verdict, Verdict) and verdict.chain:
                yield verdict.chain


def _by_interface(spec: SetSpec) -> bool:
    return spec.key[0] == fields.IFNAME


def _interface(key: Key) -> str:
    first = key if isinstance(key, bytes) else key[0]
    return first[: fields.IFNAME.width].rstrip(b"\0").decode(errors="replace")
