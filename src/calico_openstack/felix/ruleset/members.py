"""An IP set as nft sets: single addresses in a hash set, networks apart in an interval set, per family.

Adding one element to an interval set of 100,000 costs 11 ms and to a hash set 0.07, so networks must not
make addresses pay. Interval sets refuse overlaps: a network covered by a wider one waits until the wider
one goes. Single addresses need no such care, for a rule asks both sets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from calico_openstack.felix.ruleset import fields
from calico_openstack.felix.ruleset.fields import byte, joined, last_address, port
from calico_openstack.felix.ruleset.names import set_name
from calico_openstack.felix.ruleset.objects import Key, SetSpec
from calico_openstack.felix.wanted.state import Member, PortMember, SetId
from calico_openstack.model.net import Net

Use = Literal["addresses", "ports"]


@dataclass(slots=True)
class MemberSet:
    """The members of one set id, in the shape in which rules use it: `addresses`, or `ports` (address,
    protocol, port)."""

    set_id: SetId
    use: Use
    _nets: dict[tuple[int, int, int], dict[int, set[int]]] = field(default_factory=dict)
    """(version, protocol, port) -> prefix length -> network values. Protocol and port are 0 for addresses."""

    def specs(self, version: int) -> list[SetSpec]:
        """The nft sets that a rule has to ask: the hash set always, the interval set while it has
        something."""
        return [self.exact(version), *([self.wide(version)] if self.has_networks(version) else [])]

    def exact(self, version: int) -> SetSpec:
        key: tuple[fields.DataType, ...] = (fields.ADDRESS[version],)
        if self.use == "ports":
            key = (*key, fields.PROTOCOL, fields.PORT)
        return SetSpec(set_name(self.set_id, self.use, version), key)

    def wide(self, version: int) -> SetSpec:
        exact = self.exact(version)
        return exact._replace(name=f"{exact.name}-wide", interval=True)

    def has_networks(self, version: int) -> bool:
        width = 32 if version == 4 else 128
        return any(
            family == version and any(length < width for length in lengths)
            for (family, _, _), lengths in self._nets.items()
        )

    def change(self, added: Iterable[Member], removed: Iterable[Member]) -> dict[str, dict[Key, bool]]:
        """Nft elements per set name: True appears, False goes. Members of the other shape do not count."""
        effects: dict[str, dict[Key, bool]] = defaultdict(dict)
        for member in removed:
            if parted := self._part(member):
                self._remove(*parted, effects)
        for member in added:
            if parted := self._part(member):
                self._add(*parted, effects)
        return effects

    def _part(self, member: Member) -> tuple[Net, int, int] | None:
        if isinstance(member, PortMember):
            return (member.net, member.protocol, member.port) if self.use == "ports" else None
        return (member, 0, 0) if self.use == "addresses" else None

    def _add(self, net: Net, protocol: int, number: int, effects: dict[str, dict[Key, bool]]) -> None:
        lengths = self._nets.setdefault((net.version, protocol, number), {})
        values = lengths.setdefault(net.length, set())
        if net.value in values:
            return
        values.add(net.value)
        if net.is_host:
            effects[self.exact(net.version).name][self._key(net, protocol, number)] = True
        elif not _covered(net, lengths):
            effect = effects[self.wide(net.version).name]
            for inner in _outermost_inside(net, lengths):
                effect[self._range(inner, protocol, number)] = False
            effect[self._range(net, protocol, number)] = True

    def _remove(self, net: Net, protocol: int, number: int, effects: dict[str, dict[Key, bool]]) -> None:
        lengths = self._nets.get((net.version, protocol, number), {})
        if net.value not in lengths.get(net.length, ()):
            return
        lengths[net.length].remove(net.value)
        if not lengths[net.length]:
            del lengths[net.length]
        if not lengths:
            del self._nets[net.version, protocol, number]
        if net.is_host:
            effects[self.exact(net.version).name][self._key(net, protocol, number)] = False
        elif not _covered(net, lengths):
            effect = effects[self.wide(net.version).name]
            effect[self._range(net, protocol, number)] = False
            for inner in _outermost_inside(net, lengths):
                effect[self._range(inner, protocol, number)] = True

    def _key(self, net: Net, protocol: int, number: int) -> bytes:
        if self.use == "addresses":
            return net.packed
        return joined(net.packed, byte(protocol), port(number))

    def _range(self, net: Net, protocol: int, number: int) -> tuple[bytes, bytes]:
        if self.use == "addresses":
            return net.packed, last_address(net)
        tail = (byte(protocol), port(number))
        return joined(net.packed, *tail), joined(last_address(net), *tail)


def _covered(net: Net, lengths: dict[int, set[int]]) -> bool:
    """Does a strictly wider network contain it? One look-up per prefix length in use."""
    return any(length < net.length and _cut(net, length) in values for length, values in lengths.items())


def _cut(net: Net, length: int) -> int:
    shift = net.width - length
    return net.value >> shift << shift


def _outermost_inside(net: Net, lengths: dict[int, set[int]]) -> list[Net]:
    """The networks (not single addresses) inside `net` that only `net` covers."""
    inside = [
        Net(net.version, value, length)
        for length, values in lengths.items()
        if net.length < length < net.width
        for value in values
        if value >> net.width - net.length == net.value >> net.width - net.length
    ]
    outermost: list[Net] = []
    for candidate in sorted(inside, key=lambda n: (n.value, n.length)):
        if not (outermost and outermost[-1].contains(candidate)):
            outermost.append(candidate)
    return outermost
