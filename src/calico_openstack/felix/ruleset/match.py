"""One policy rule as nft rules: when does a packet match?

A policy rule is a conjunction of conditions, some of which are alternatives ("in the hash set or in the
interval set", "numeric or named port"). Each combination of alternatives becomes one nft rule; all have the
same action, so it does not matter which one a packet meets. Families are decided first (felix.md tells
where upstream strays): a condition about addresses of one family only says nothing about packets of the
other when it is negative ("not in 10.0.0.0/8" is true of every IPv6 packet), and excludes them when it is
positive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from calico_openstack.felix.ruleset import fields
from calico_openstack.felix.ruleset.fields import Field, byte, last_address, port
from calico_openstack.felix.ruleset.members import Use
from calico_openstack.felix.ruleset.names import short_hash
from calico_openstack.felix.ruleset.objects import Key, SetSpec
from calico_openstack.felix.ruleset.ranges import disjoint, merge_ranges
from calico_openstack.felix.ruleset.statements import Between, Equal, InSet, Statement, Within
from calico_openstack.felix.wanted.state import SetId, WantedMatch, WantedRule
from calico_openstack.model.net import Net
from calico_openstack.model.policy import Icmp, PortRange

Statements = tuple[Statement, ...]
Alternatives = list[Statements]
AskedSets = Callable[[SetId, Use, int], Sequence[SetSpec] | None]
"""The nft sets to ask for a set id, a use and a family; None when the id is unknown."""

_NEVER: Alternatives = []
_ALWAYS: Alternatives = [()]


@dataclass(slots=True)
class Matcher:
    """Turns rules into statements and collects what they need.

    `literal`: sets of networks or ports that a rule spells out, by spec, named by their content.
    """

    asked_sets: AskedSets
    literal: dict[SetSpec, dict[Key, None]]

    def matches(self, rule: WantedRule) -> Iterator[Statements]:
        """The conditions of each nft rule; none when no packet can match."""
        versions = families(rule)
        if versions == (4, 6) and not _asks_family(rule):
            yield from self._combined(rule, None)
            return
        for version in versions:
            yield from self._combined(rule, version)

    def _combined(self, rule: WantedRule, version: int | None) -> Iterator[Statements]:
        conditions: list[Alternatives] = []
        if version:
            conditions.append([(Equal(fields.NFPROTO, fields.FAMILY_OF[version]),)])
        if rule.not_protocol is not None:
            conditions.append([(Equal(fields.L4PROTO, byte(rule.not_protocol), negate=True),)])
        conditions.append(_protocols(rule))
        if rule.icmp is not None and version:
            conditions.append([_icmp(rule.icmp, version)])
        if rule.not_icmp is not None and version:
            conditions.append(_not_icmp(rule.not_icmp, version, rule.protocol))
        for side, addresses, ports in (
            (rule.source, fields.SOURCE, fields.SOURCE_PORT),
            (rule.destination, fields.DESTINATION, fields.DESTINATION_PORT),
        ):
            if version:
                conditions += self._addresses(side, addresses[version], version, rule)
            conditions += self._ports(side, addresses, ports, version, rule)
        yield from _combinations(conditions)

    def _addresses(self, side: WantedMatch, field: Field, version: int, rule: WantedRule) -> list[Alternatives]:
        conditions = []
        if side.nets:
            nets = [net for net in side.nets if net.version == version]
            conditions.append([self._nets(nets, field, negate=False)])
        nets = [net for net in side.not_nets if net.version == version]
        if nets:
            conditions.append([self._nets(nets, field, negate=True)])
        for set_id in side.sets:
            specs = self.asked_sets(set_id, "addresses", version)
            conditions.append(_unknown(rule) if specs is None else [(InSet((field,), s.name),) for s in specs])
        for set_id in side.not_sets:
            specs = self.asked_sets(set_id, "addresses", version)
            if specs is None:
                conditions.append(_unknown(rule))
            else:
                conditions.append([tuple(InSet((field,), s.name, negate=True) for s in specs)])
        return conditions

    def _nets(self, nets: list[Net], field: Field, *, negate: bool) -> Statements:
        if not negate and any(net.length == 0 for net in nets):
            return ()
        if len(nets) == 1:
            net = nets[0]
            if net.is_host:
                return (Equal(field, net.packed, negate),)
            return (Within(field, net.packed, net.length, negate),)
        ranges: dict[Key, None] = {(net.packed, last_address(net)): None for net in disjoint(nets)}
        return (InSet((field,), self._literal("nets", (field.type,), ranges).name, negate),)

    def _ports(
        self, side: WantedMatch, addresses: dict[int, Field], field: Field, version: int | None, rule: WantedRule
    ) -> list[Alternatives]:
        conditions: list[Alternatives] = []
        if side.ports or side.port_sets:
            either = [self._port_list(side.ports, field, negate=False)] if side.ports else []
            for set_id in side.port_sets:
                specs = self.asked_sets(set_id, "ports", version) if version else ()
                if specs is None:
                    either += _unknown(rule)
                elif version:
                    parts = (addresses[version], fields.L4PROTO, field)
                    either += [(InSet(parts, spec.name),) for spec in specs]
            conditions.append(either)
        if side.not_ports:
            conditions.append(_if_it_has_ports(rule, self._port_list(side.not_ports, field, negate=True)))
        for set_id in side.not_port_sets:
            specs = self.asked_sets(set_id, "ports", version) if version else ()
            if specs is None:
                conditions.append(_unknown(rule))
            elif version:
                parts = (addresses[version], fields.L4PROTO, field)
                outside = tuple(InSet(parts, spec.name, negate=True) for spec in specs)
                conditions.append(_if_it_has_ports(rule, outside))
        return conditions

    def _port_list(self, ranges: Sequence[PortRange], field: Field, *, negate: bool) -> Statements:
        merged = merge_ranges(ranges)
        if len(merged) == 1:
            first, last = merged[0]
            if first == last:
                return (Equal(field, port(first), negate),)
            return (Between(field, port(first), port(last), negate),)
        wanted: dict[Key, None] = {(port(first), port(last)): None for first, last in merged}
        return (InSet((field,), self._literal("portlist", (fields.PORT,), wanted).name, negate),)

    def _literal(self, kind: str, key: tuple[fields.DataType, ...], elements: dict[Key, None]) -> SetSpec:
        content = short_hash(f"{[part.name for part in key]} {sorted(elements, key=repr)}")
        spec = SetSpec(f"{kind}-{content}", key, interval=True)
        self.literal[spec] = elements
        return spec


def _combinations(conditions: list[Alternatives]) -> Iterable[Statements]:
    """One of each, in every way that a packet can meet. Built up one condition at a time, so that what contradicts
    itself is dropped before it is multiplied: ten conditions that each name six protocols have six combinations, not
    6^10.
    """
    met: dict[Statements, None] = {(): None}
    for alternatives in conditions:
        grown = (_consistent([*before, *more]) for before in met for more in alternatives)
        met = dict.fromkeys(combination for combination in grown if combination is not None)
    return met


def _consistent(conditions: list[Statement]) -> Statements | None:
    """The conditions without repetition; None when no packet can meet them all (nft's parser refuses some of those)."""
    known: dict[Field, bytes] = {}
    for condition in conditions:
        if (
            isinstance(condition, Equal)
            and not condition.negate
            and known.setdefault(condition.field, condition.value) != condition.value
        ):
            return None
    kept: list[Statement] = []
    for condition in conditions:
        if isinstance(condition, Equal) and condition.negate and condition.field in known:
            if known[condition.field] == condition.value:
                return None
        elif condition not in kept:
            kept.append(condition)
    return tuple(kept)


def families(rule: WantedRule) -> tuple[int, ...]:
    """The IP versions in which the rule can match."""
    return tuple(version for version in (4, 6) if _possible(rule, version))


def _possible(rule: WantedRule, version: int) -> bool:
    # A protocol's number alone says nothing of the family: ICMPv6's exists in IPv4, too, and a guest may send it.
    if rule.version not in (None, version):
        return False
    if rule.icmp is not None and rule.protocol not in (None, _icmp_protocol(version)):
        return False
    return all(
        (not side.nets or any(net.version == version for net in side.nets))
        and not any(net.version == version and net.length == 0 for net in side.not_nets)
        for side in (rule.source, rule.destination)
    )


def _asks_family(rule: WantedRule) -> bool:
    """Must the nft rule be written per family? Addresses, named ports and ICMP look different in each."""
    sides = (rule.source, rule.destination)
    return (
        rule.icmp is not None
        or rule.not_icmp is not None
        or any(s.nets or s.not_nets or s.sets or s.not_sets or s.port_sets or s.not_port_sets for s in sides)
    )


def _protocols(rule: WantedRule) -> Alternatives:
    if rule.protocol is not None:
        return [(Equal(fields.L4PROTO, byte(rule.protocol)),)]
    # A port without a protocol: every protocol that has ports. (A named-port set brings its protocols along.)
    if any(side.ports for side in (rule.source, rule.destination)):
        return [(Equal(fields.L4PROTO, byte(number)),) for number in fields.PORT_PROTOCOLS]
    return _ALWAYS


def _if_it_has_ports(rule: WantedRule, condition: Statements) -> Alternatives:
    """`condition` for packets with ports; true of packets that have none."""
    if rule.protocol in fields.PORT_PROTOCOLS:
        return [condition]
    if rule.protocol is not None:
        return _ALWAYS
    with_ports = [(Equal(fields.L4PROTO, byte(number)), *condition) for number in fields.PORT_PROTOCOLS]
    return [*with_ports, tuple(Equal(fields.L4PROTO, byte(n), negate=True) for n in fields.PORT_PROTOCOLS)]


def _icmp_protocol(version: int) -> int:
    return fields.ICMP if version == 4 else fields.ICMPV6


def _icmp(icmp: Icmp, version: int) -> Statements:
    kind, code = (fields.TYPE4, fields.CODE4) if version == 4 else (fields.TYPE6, fields.CODE6)
    protocol = Equal(fields.L4PROTO, byte(_icmp_protocol(version)))
    match = Equal(kind, byte(icmp.type))
    return (protocol, match) if icmp.code is None else (protocol, match, Equal(code, byte(icmp.code)))


def _not_icmp(icmp: Icmp, version: int, protocol: int | None) -> Alternatives:
    """The complement: another protocol, another type, or this type with another code."""
    kind, code = (fields.TYPE4, fields.CODE4) if version == 4 else (fields.TYPE6, fields.CODE6)
    number = _icmp_protocol(version)
    if protocol not in (None, number):
        return _ALWAYS
    is_icmp = Equal(fields.L4PROTO, byte(number))
    others: Alternatives = [(is_icmp, Equal(kind, byte(icmp.type), negate=True))]
    if icmp.code is not None:
        others.append((is_icmp, Equal(kind, byte(icmp.type)), Equal(code, byte(icmp.code), negate=True)))
    if protocol is None:
        others.append((Equal(fields.L4PROTO, byte(number), negate=True),))
    return others


def _unknown(rule: WantedRule) -> Alternatives:
    """A set nobody told us about: what allows must not match, what denies must."""
    return _ALWAYS if rule.action == "deny" else _NEVER
