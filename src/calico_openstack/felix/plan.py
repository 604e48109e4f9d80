"""A comparison in words: what Felix would do, target by target, and why each thing.

Pure. What belongs together is one finding: a table that is made anew is not listed rule by rule, elements of one set
are one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from calico_openstack.felix.comparison import Comparison
from calico_openstack.felix.kernel.shapers import BROKEN
from calico_openstack.felix.ruleset.named_sets import BOOT, EGRESS, INET, INGRESS
from calico_openstack.felix.ruleset.objects import (
    AddChain,
    AddElements,
    AddSet,
    AddTable,
    DropChain,
    DropElements,
    DropSet,
    DropTable,
    Operation,
    SetRules,
    Table,
)
from calico_openstack.felix.ruleset.statements import Verdict
from calico_openstack.felix.ruleset.text import print_key
from calico_openstack.felix.wanted.shaping import Shape
from calico_openstack.felix.wanted.state import WantedEndpoint
from calico_openstack.netlink.rtnl_routes import Route
from calico_openstack.policy.words import policy_words

_QUOTED = re.compile(r'"([^"]+)"')
_SHOWN = 6
"""Elements, or notes of rules, in one line."""


class Finding(NamedTuple):
    """One thing to do, and why."""

    what: str
    why: str


def findings(comparison: Comparison) -> dict[str, list[Finding]]:
    """By target, in the order of `Comparison.counts`; a target that is right has an empty list."""
    return {
        "nft": list(_nft(comparison)),
        "routes": list(_routes(comparison)),
        "neighbours": list(_neighbours(comparison)),
        "sysctls": [
            Finding(
                f"write {found.sysctl.value} to /proc/sys/net/{found.sysctl.path}",
                "there is no such file" if found.actual is None else f"it says {found.actual}",
            )
            for found in comparison.sysctls
        ],
        "shaping": list(_shaping(comparison)),
    }


def _nft(comparison: Comparison) -> Iterator[Finding]:
    operations = comparison.nft.operations
    made = {operation.table for operation in operations if isinstance(operation, AddTable)}
    for table in sorted(made):
        yield _made(comparison, table)
    dropped = {(op.table, op.name) for op in operations if isinstance(op, DropChain)}
    created = {(op.table, op.spec.name) for op in operations if isinstance(op, AddSet)}
    for operation in operations:
        if operation.table in made:
            continue
        match operation:
            case SetRules(table, chain) if (table, chain) in dropped:
                continue
            case AddElements(table, spec) if (table, spec.name) in created:
                continue
        yield _finding(comparison, operation)


def _made(comparison: Comparison, table: Table) -> Finding:
    operations = [operation for operation in comparison.nft.operations if operation.table == table]
    chains = sum(isinstance(operation, AddChain) for operation in operations)
    sets = sum(isinstance(operation, AddSet) for operation in operations)
    why = "it is not there"
    if any(isinstance(operation, DropTable) for operation in operations):
        why = "a set or a base chain in it is of another kind, which cannot be changed in place"
    return Finding(f"make table {_name(table)} with {chains} chains and {sets} sets", why)


def _finding(comparison: Comparison, operation: Operation) -> Finding:
    table = _name(operation.table)
    match operation:
        case AddTable():
            return Finding(f"make table {table}", "it is not there")
        case DropTable():
            return Finding(f"remove table {table}", "Felix takes over" if operation.table == BOOT else "made anew")
        case AddSet(_, spec):
            # What is new in it, compared with a set that it replaces, nobody can tell: it is shown whole.
            keys = [print_key(spec, key) for key in comparison.nft_wanted[operation.table].sets[spec.name].elements]
            what = f"make set {table} {spec.name}" + (f" with {_few(keys)}" if keys else "")
            return Finding(what, f"it is not there{_users(comparison, spec.name)}")
        case DropSet(_, name):
            return Finding(f"remove set {table} {name}", "no rule of Felix asks it")
        case AddChain(_, name):
            return Finding(f"make chain {table} {name}", f"it is not there{_users(comparison, name)}")
        case DropChain(_, name):
            return Finding(f"remove chain {table} {name}", "it is none of Felix's")
        case SetRules(_, chain, _, fresh):
            why = "the chain is new" if fresh else _rules(comparison, operation)
            what = f"write the {len(operation.rules)} rules of chain {table} {chain}"
            return Finding(what, why + _users(comparison, chain))
        case AddElements(_, spec, elements):
            keys = [print_key(spec, key) for key, _ in elements]
            return Finding(f"add to {table} {spec.name}: {_few(keys)}", f"missing{_for(comparison, spec.name, keys)}")
        case DropElements(_, spec, gone):
            keys = [print_key(spec, key) for key in gone]
            why = f"Felix wants none such, or another value{_users(comparison, spec.name)}"
            return Finding(f"take from {table} {spec.name}: {_few(keys)}", why)


def _rules(comparison: Comparison, operation: SetRules) -> str:
    actual = comparison.nft_actual[operation.table].chains[operation.chain].rules
    missing = [rule for rule in operation.rules if rule.digest not in actual]
    foreign = len(set(actual) - {rule.digest for rule in operation.rules})
    if not missing and not foreign:
        return "they are there in another order or number"
    notes = _few(dict.fromkeys(rule.note for rule in missing if rule.note))
    return ", ".join(
        [
            *([f"{len(missing)} missing{f' ({notes})' if notes else ''}"] if missing else []),
            *([f"{foreign} foreign"] if foreign else []),
        ]
    )


def _routes(comparison: Comparison) -> Iterator[Finding]:
    for key, route in comparison.routes.puts.items():
        there = comparison.routes_actual.get(key)
        why = f"it is there, but {_other(there, route)}" if there else "missing"
        yield Finding(f"set route {_route(comparison, route)}", why + _owner(comparison, route.ifindex))
    for key in comparison.routes.deletes:
        route = comparison.routes_actual[key]
        yield Finding(
            f"remove route {_route(comparison, route)}",
            f"the endpoint of {_interface(comparison, route.ifindex)} has no such address"
            if _interface(comparison, route.ifindex) in comparison.owners
            else f"no endpoint has {_interface(comparison, route.ifindex)}",
        )


def _route(comparison: Comparison, route: Route) -> str:
    via = f" via {route.gateway.address}" if route.gateway else ""
    return f"{route.destination}{via} dev {_interface(comparison, route.ifindex)} metric {route.metric}"


def _other(actual: Route, wanted: Route) -> str:
    different = (
        f"{name} is {getattr(actual, name)} and not {getattr(wanted, name)}"
        for name in Route._fields
        if getattr(actual, name) != getattr(wanted, name)
    )
    return ", ".join(different)


def _neighbours(comparison: Comparison) -> Iterator[Finding]:
    for key, mac in comparison.neighbours.puts.items():
        there = comparison.neighbours_actual.get(key)
        what = f"set neighbour {key.address.address} lladdr {mac} dev {_interface(comparison, key.ifindex)}"
        yield Finding(what, (f"it is {there}" if there else "missing") + _owner(comparison, key.ifindex))
    for key in comparison.neighbours.deletes:
        interface = _interface(comparison, key.ifindex)
        yield Finding(f"remove neighbour {key.address.address} dev {interface}", "permanent, and no endpoint's")


def _shaping(comparison: Comparison) -> Iterator[Finding]:
    for key, shape in comparison.shaping.puts.items():
        there = comparison.shaping_actual.get(key)
        why = "missing" if there is None else "there in part" if there == BROKEN else f"it is {_shape(there)}"
        what = f"limit {key.direction} of {key.interface} to {_shape(shape)}"
        yield Finding(what, why + _owner(comparison, key.ifindex))
    for key in comparison.shaping.deletes:
        if key.direction == "orphan":
            yield Finding(f"remove {key.interface}", "its tap is gone")
        else:
            yield Finding(f"remove the {key.direction} limit of {key.interface}", "no endpoint there has one")


def _shape(shape: Shape) -> str:
    peak = f", peak {shape.peak * 8} bit/s" if shape.peak else ""
    return f"{shape.rate * 8} bit/s{peak}"


def _interface(comparison: Comparison, ifindex: int) -> str:
    return comparison.interfaces.get(ifindex, f"interface {ifindex}")


def _owner(comparison: Comparison, ifindex: int) -> str:
    owner = comparison.owners.get(_interface(comparison, ifindex))
    return f", for port {owner.key.endpoint}" if owner else ""


def _for(comparison: Comparison, name: str, keys: list[str]) -> str:
    """Whose taps the elements name; else whose policies the set belongs to."""
    taps = dict.fromkeys(tap for key in keys for tap in _QUOTED.findall(key))
    ports = [comparison.owners[tap].key.endpoint for tap in taps if tap in comparison.owners]
    return f", for port {_few(ports)}" if ports else _users(comparison, name)


def _users(comparison: Comparison, name: str) -> str:
    """Whose policies a chain, or a set of such a chain, stands for. Many endpoints may share one."""
    wanted = comparison.nft_wanted[INET]
    for spec in (INGRESS, EGRESS):
        users = [
            owner
            for tap, verdict in ((_tap(key), verdict) for key, verdict in wanted.sets[spec.name].elements.items())
            if isinstance(verdict, Verdict)
            and verdict.chain
            and (name == verdict.chain or name.startswith(f"{verdict.chain}-"))
            and (owner := comparison.owners.get(tap)) is not None
        ]
        if users:
            ports = _few(user.key.endpoint for user in users)
            return f", {spec.name} of port {ports} by {_policies(users[0], spec.name)}"
    return ""


def _tap(key: object) -> str:
    return key.rstrip(b"\0").decode() if isinstance(key, bytes) else ""


def _policies(owner: WantedEndpoint, direction: str) -> str:
    keys = [key for tier in owner.tiers for key in (tier.ingress if direction == "ingress" else tier.egress)]
    words = [policy_words(key, {}) for key in keys] + [policy_words(profile, {}) for profile in owner.profiles]
    return _few(words) or "no policy"


def _few(words: Iterable[str]) -> str:
    listed = list(words)
    more = [f"and {len(listed) - _SHOWN} more"] if len(listed) > _SHOWN else []
    return ", ".join(listed[:_SHOWN] + more)


def _name(table: Table) -> str:
    return f"{table.family} {table.name}"
