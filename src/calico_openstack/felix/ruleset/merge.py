"""Rules compiled, not listed: a run of rules with one action becomes a few look-ups.

Inside a run the order of the rules does not matter (security groups are such runs, across groups), so their
union may be asked in any way. Rules of the common shape (one direction's peer, destination ports or ICMP
type) are sorted by peer:

    any peer      ->  @protocols   @ports (protocol . port)   @port-ranges   @icmp types
    networks      ->  the same keys with the address in front; single addresses in hash sets, networks in
    interval sets remote group  ->  one look-up of the group's addresses per group, then as for any peer

so that a packet costs the same for ten rules and for a thousand. The sets belong to the chain and the place of the run
in it, and are named by their content too: other rules are other sets and another chain, never the same sets with other
elements. A chain is replaced at one instant, but a packet that is in the old one would find the new elements, and lose
its way when its port has moved from one set to another. Every other rule (negations, source ports, named ports, ...) is
listed by `match`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from calico_openstack.felix.ruleset import fields
from calico_openstack.felix.ruleset.fields import Field, byte, joined, last_address, port
from calico_openstack.felix.ruleset.match import Matcher, Statements, families
from calico_openstack.felix.ruleset.names import short_hash
from calico_openstack.felix.ruleset.objects import Key, SetSpec
from calico_openstack.felix.ruleset.ranges import disjoint, wider, without
from calico_openstack.felix.ruleset.services import Services
from calico_openstack.felix.ruleset.statements import Equal, InSet
from calico_openstack.felix.wanted.state import ANYONE, SetId, WantedMatch, WantedRule
from calico_openstack.model.net import Net

Versions = tuple[int, ...]
Spans = tuple[tuple[bytes, bytes], ...]
"""The parts of a set key as (first, last)."""

_BOTH: Versions = (4, 6)


def merged_run(run: list[WantedRule], direction: str, name: str, matcher: Matcher) -> Iterator[Statements]:
    """The conditions of the nft rules that together match what any rule of the run matches. `name`: prefix
    of the sets."""
    merging = _Run(direction, name, matcher)
    listed = [rule for rule in run if not merging.take(rule)]
    yield from merging.conditions()
    for rule in listed:
        yield from matcher.matches(rule)


@dataclass(slots=True)
class _Run:
    direction: str
    name: str
    matcher: Matcher
    anyone: dict[Versions, Services] = field(default_factory=dict)
    nets: dict[int, dict[Net | None, Services]] = field(default_factory=dict)
    groups: dict[tuple[SetId, Versions], Services] = field(default_factory=dict)

    def take(self, rule: WantedRule) -> bool:
        """Add the rule if it has the common shape."""
        peer = rule.source if self.direction == "ingress" else rule.destination
        if not _common(rule, self.direction) or rule.action == "log":
            return False
        versions = families(rule)
        if not versions:
            return True  # it matches nothing
        # ICMP types are other fields in each family.
        per_family = [versions] if rule.icmp is None else [(version,) for version in versions]
        if peer.sets:
            (set_id,) = peer.sets
            if any(self.matcher.asked_sets(set_id, "addresses", v) is None for v in versions):
                return False
            for some in per_family:
                self.groups.setdefault((set_id, some), Services()).add(rule)
        elif peer.nets:
            for net in peer.nets:
                if net.version not in versions:
                    continue
                if net.length == 0:
                    self.anyone.setdefault((net.version,), Services()).add(rule)
                else:
                    self.nets.setdefault(net.version, {}).setdefault(net, Services()).add(rule)
        else:
            for some in per_family:
                self.anyone.setdefault(some, Services()).add(rule)
        return True

    def conditions(self) -> Iterator[Statements]:
        for versions, services in sorted(self.anyone.items()):
            label = "any" if versions == _BOTH else f"any{versions[0]}"
            family = () if versions == _BOTH else _family(versions[0])
            for condition in self._group(label, versions[0], {None: services}):
                yield *family, *condition
        for version, nets in sorted(self.nets.items()):
            for condition in self._group(f"nets{version}", version, nets):
                yield *_family(version), *condition
        for (set_id, versions), services in sorted(self.groups.items()):
            label = f"{short_hash(set_id)}{'' if versions == _BOTH else f'-v{versions[0]}'}"
            conditions = list(self._group(label, versions[0], {None: services}))
            for version in versions:
                for spec in self.matcher.asked_sets(set_id, "addresses", version) or ():
                    asked = InSet((self._peer(version),), spec.name)
                    for condition in conditions:
                        yield *_family(version), asked, *condition

    def _peer(self, version: int) -> Field:
        return (fields.SOURCE if self.direction == "ingress" else fields.DESTINATION)[version]

    def _group(self, label: str, version: int, group: dict[Net | None, Services]) -> Iterator[Statements]:
        """Conditions for the services of some networks, or of anyone (the one key None; then keys have no
        address)."""
        whole = [net for net, services in group.items() if services.everything]
        if None in whole:
            yield ()
            return
        lead = () if None in group else (self._peer(version),)
        yield from self._asked(label, lead, [_span(net) for net in _disjoint(whole)])
        rest = {net: services for net, services in group.items() if not _inside(net, whole)}
        protocols: dict[bytes, list[Net | None]] = {}
        types: dict[bytes, list[Net | None]] = {}
        codes: dict[tuple[bytes, bytes], list[Net | None]] = {}
        for net, services in rest.items():
            for protocol in services.protocols:
                protocols.setdefault(byte(protocol), []).append(net)
            for kind, code in services.icmp:
                if code is None:
                    types.setdefault(byte(kind), []).append(net)
                elif (kind, None) not in services.icmp:
                    codes.setdefault((byte(kind), byte(code)), []).append(net)
        keys = [(*_span(net), (p, p)) for p, nets in protocols.items() for net in _disjoint(nets)]
        yield from self._asked(f"{label}-protocols", (*lead, fields.L4PROTO), keys)
        port_fields = (*lead, fields.L4PROTO, fields.DESTINATION_PORT)
        yield from self._asked(f"{label}-ports", port_fields, list(_ports(rest, protocols)))
        kind_field, code_field = (fields.TYPE4, fields.CODE4) if version == 4 else (fields.TYPE6, fields.CODE6)
        is_icmp = (Equal(fields.L4PROTO, byte(fields.ICMP if version == 4 else fields.ICMPV6)),)
        keys = [(*_span(net), (t, t)) for t, nets in types.items() for net in _disjoint(nets)]
        yield from self._asked(f"{label}-types", (*lead, kind_field), keys, is_icmp)
        keys = [(*_span(net), (t, t), (c, c)) for (t, c), nets in codes.items() for net in _disjoint(nets)]
        yield from self._asked(f"{label}-codes", (*lead, kind_field, code_field), keys, is_icmp)

    def _asked(
        self, label: str, asked: tuple[Field, ...], keys: list[Spans], before: Statements = ()
    ) -> Iterator[Statements]:
        """Put the keys into sets, exact ones into a hash set, and ask those sets."""
        types = tuple(part.type for part in asked)
        exact: dict[Key, None] = {}
        wide: dict[Key, None] = {}
        for spans in keys:
            first, last = joined(*(low for low, _ in spans)), joined(*(high for _, high in spans))
            if first == last:
                exact[first] = None
            else:
                wide[first, last] = None
        for suffix, elements in (("", exact), ("-wide", wide)):
            if elements:
                content = short_hash(repr(sorted(elements, key=repr)))
                spec = SetSpec(f"{self.name}-{label}{suffix}-{content}", types, interval=bool(suffix))
                self.matcher.literal[spec] = elements
                yield *before, InSet(asked, spec.name)


def _common(rule: WantedRule, direction: str) -> bool:
    """One peer at most, destination ports or ICMP type at most, and nothing negative."""
    if rule.not_protocol is not None or rule.not_icmp is not None:
        return False
    if rule.destination.ports and rule.protocol not in fields.PORT_PROTOCOLS:
        return False
    peer, self_side = rule.source, rule.destination
    if direction == "egress":
        peer, self_side = self_side, peer
    ports = rule.destination.ports
    only_peer = WantedMatch(nets=peer.nets, sets=peer.sets, ports=ports if direction == "egress" else ())
    only_ports = WantedMatch(ports=ports) if direction == "ingress" else ANYONE
    return peer == only_peer and self_side == only_ports and len(peer.sets) <= 1 and not (peer.sets and peer.nets)


def _family(version: int) -> Statements:
    return (Equal(fields.NFPROTO, fields.FAMILY_OF[version]),)


def _span(net: Net | None) -> Spans:
    return () if net is None else ((net.packed, last_address(net)),)


def _disjoint(nets: list[Net | None]) -> list[Net | None]:
    return [None] if None in nets else [*disjoint(net for net in nets if net)]


def _inside(net: Net | None, others: list[Net | None]) -> bool:
    return net is not None and any(other is not None and other.contains(net) for other in others)


def _ports(group: dict[Net | None, Services], protocols: dict[bytes, list[Net | None]]) -> Iterator[Spans]:
    """Boxes of (network,) protocol and ports that never overlap: what a wider network has, a narrower one
    leaves out."""
    for protocol in sorted({p for services in group.values() for p in services.ports}):
        number = byte(protocol)
        ranges = {net: s.ports[protocol] for net, s in group.items() if protocol in s.ports}
        lengths = sorted({net.length for net in ranges if net is not None})
        for net, own in ranges.items():
            if net in protocols.get(number, ()) or _inside(net, protocols.get(number, [])):
                continue
            left = own
            for length in lengths if net is not None else ():
                if net is not None and length < net.length:
                    left = without(left, ranges.get(wider(net, length), []))
            for first, last in left:
                yield (*_span(net), (number, number), (port(first), port(last)))
