"""Walk a packet through a ruleset, as the kernel would: what happens to it, and by which rules.

The packet is made of real header bytes, and a field is read from them at the kernel's offsets, so a wrong
offset or a missing protocol check shows here as it would there. Conntrack is an input (`state`), routing is
the caller's (`out_interface`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from calico_openstack.felix.ruleset import fields, statements
from calico_openstack.felix.ruleset.fields import Field
from calico_openstack.felix.ruleset.objects import (
    ANY_KEY,
    Chain,
    NamedSet,
    Rule,
    Ruleset,
    SetSpec,
    Table,
    TableContent,
    Value,
)
from calico_openstack.felix.ruleset.statements import Statement, Verdict
from calico_openstack.model.net import Net

Result = Literal["accept", "drop"]
_DEEPEST = 16  # NFT_JUMP_STACK_SIZE


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet at one hook. Interface names are empty where the kernel has none. Dynamic sets have room.

    `tokens`: is there one left in every token bucket of a rule? `connections`: how many others each count has.
    `flood`: are the buckets in dynamic sets empty? `translated`: has its flow another destination than it began with?
    """

    in_interface: str = ""
    out_interface: str = ""
    link: bytes = b""
    network: bytes = b""
    transport: bytes = b""
    version: int = 4
    protocol: int = 0
    state: int = statements.NEW
    family: Literal["inet", "arp"] = "inet"
    tokens: bool = True
    connections: int = 0
    flood: bool = False
    mark: int = 0
    translated: bool = False


@dataclass(slots=True)
class Walk:
    """`rules`: (chain, rule) of every rule whose conditions all held. `packet` as it is afterwards (NAT, DSCP);
    `masqueraded`: its source is to be an address of the outgoing interface."""

    result: Result
    packet: Packet
    rules: list[tuple[str, Rule]] = field(default_factory=list)
    masqueraded: bool = False


def packet(
    source: Net,
    destination: Net,
    protocol: int,
    *,
    ports: tuple[int, int] | None = None,
    icmp: tuple[int, int] | None = None,
    source_mac: str = "02:00:00:00:00:01",
    in_interface: str = "",
    out_interface: str = "",
    state: int = statements.NEW,
) -> Packet:
    """An IP packet with honest headers (checksums aside)."""
    transport = bytes(8)
    if ports is not None:
        transport = fields.port(ports[0]) + fields.port(ports[1]) + bytes(4)
    elif icmp is not None:
        transport = bytes(icmp) + b"\x12\x34" + bytes(4)
    if source.version == 4:
        network = bytes((0x45, 0)) + bytes(7) + bytes((protocol, 0, 0)) + source.packed + destination.packed
    else:
        network = b"\x60" + bytes(5) + bytes((protocol, 255)) + source.packed + destination.packed
    ether_type = b"\x08\0" if source.version == 4 else b"\x86\xdd"
    return Packet(
        in_interface=in_interface,
        out_interface=out_interface,
        link=bytes(6) + fields.mac(source_mac) + ether_type,
        network=network,
        transport=transport,
        version=source.version,
        protocol=protocol,
        state=state,
    )


def arp_packet(
    operation: int, sender_mac: str, sender: Net, *, in_interface: str = "", out_interface: str = ""
) -> Packet:
    network = b"\0\1\x08\0\x06\x04" + fields.port(operation) + fields.mac(sender_mac) + sender.packed
    return Packet(in_interface=in_interface, out_interface=out_interface, network=network + bytes(10), family="arp")


def walk(ruleset: Ruleset, start: Packet, *hooks: str) -> Walk:
    """Through the base chains of each hook in turn, in order of priority; the first drop ends it.

    An accept ends one base chain only; the next ones still see the packet (nf_hook_slow).
    """
    done = Walk("accept", start)
    for hook in hooks:
        for table, chain in _base_chains(ruleset, start.family, hook):
            done.result = _Walker(ruleset[table], done).base(chain)
            if done.result == "drop":
                return done
    return done


def forwarded(ruleset: Ruleset, start: Packet) -> Walk:
    """From an interface to another one: prerouting, forward, postrouting."""
    arriving = walk(ruleset, replace(start, out_interface=""), "prerouting")
    if arriving.result == "drop":
        return arriving
    routed = replace(arriving.packet, out_interface=start.out_interface)
    rest = walk(ruleset, routed, "forward", "postrouting")
    return Walk(rest.result, rest.packet, arriving.rules + rest.rules, rest.masqueraded)


def delivered(ruleset: Ruleset, start: Packet) -> Walk:
    """From an interface to the host itself."""
    hooks = ("input",) if start.family == "arp" else ("prerouting", "input")
    return walk(ruleset, replace(start, out_interface=""), *hooks)


def sent(ruleset: Ruleset, start: Packet) -> Walk:
    """From the host itself through an interface."""
    return walk(ruleset, replace(start, in_interface=""), "output", "postrouting")


def _base_chains(ruleset: Ruleset, family: str, hook: str) -> Iterator[tuple[Table, Chain]]:
    found = [
        (chain.hook.priority, table, chain)
        for table, content in ruleset.items()
        for chain in content.chains.values()
        if chain.hook and chain.hook.hook == hook and table.family == family
    ]
    for _, table, chain in sorted(found, key=lambda item: (item[0], item[1])):
        # NAT chains see only the first packet of a flow.
        yield table, chain


class _Walker:
    def __init__(self, content: TableContent, done: Walk) -> None:
        self._content = content
        self._done = done

    def base(self, chain: Chain) -> Result:
        if chain.hook and chain.hook.type == "nat" and self._done.packet.state != statements.NEW:
            return "accept"
        return self._chain(chain.name, 0) or "accept"

    def _chain(self, name: str, depth: int) -> Result | None:
        """None: the packet came back."""
        if depth > _DEEPEST:
            raise RecursionError(f"more than {_DEEPEST} nested jumps, at chain {name}")
        for rule in self._content.chains[name].rules:
            verdict = self._rule(name, rule)
            if verdict is None:
                continue
            match verdict.kind:
                case "accept" | "drop":
                    return verdict.kind
                case "return":
                    return None
                case "goto":
                    return self._chain(verdict.chain, depth)
                case "jump":
                    result = self._chain(verdict.chain, depth + 1)
                    if result:
                        return result
        return None

    def _rule(self, chain: str, rule: Rule) -> Verdict | None:
        for position, statement in enumerate(rule.statements):
            outcome = self._statement(statement)
            if outcome is False:
                return None
            if position == len(rule.statements) - 1 or isinstance(outcome, Verdict):
                self._done.rules.append((chain, rule))
            if isinstance(outcome, Verdict):
                return outcome
        return None

    def _statement(self, statement: Statement) -> Verdict | bool:
        """A verdict, or whether to go on with the rule."""
        match statement:
            case Verdict():
                return statement
            case statements.Reject() | statements.Reset():
                return statements.DROP
            case statements.Rate(over=over):
                return self._done.packet.tokens != over
            case statements.RateOf(over=over):
                return self._done.packet.flood == over
            case statements.Remember():
                return True
            case statements.MoreConnections(limit):
                return self._done.packet.connections + 1 > limit
            case statements.SetDscp(version, value):
                self._set_dscp(version, value)
                return True
            case statements.Masquerade():
                self._done.masqueraded = True
                return statements.ACCEPT
            case statements.Snat(version, address):
                self._rewrite(fields.SOURCE[version], address)
                return statements.ACCEPT
            case statements.Log():
                return True
            case statements.CtState(states):
                return bool(self._done.packet.state & states)
            case statements.Translated():
                return self._done.packet.translated
            case statements.NoTrack():
                self._done.packet = replace(self._done.packet, state=statements.UNTRACKED)
                return True
            case statements.HasMark(bit, negate):
                return bool(self._done.packet.mark & bit) != negate
            case statements.SetMark(bits, clear):
                mark = self._done.packet.mark
                self._done.packet = replace(self._done.packet, mark=mark & ~bits if clear else mark | bits)
                return True
            case statements.ByMap(parts, name):
                found = self._look_up(parts, name)
                return found if isinstance(found, Verdict) else False
            case statements.InSet(parts, name, negate):
                key = self._read(*parts)
                return key is not None and (self._look_up(parts, name) is not _MISSING) != negate
            case statements.Dnat(version, address, port):
                self._rewrite(fields.DESTINATION[version], address)
                self._rewrite(fields.DESTINATION_PORT, fields.port(port))
                return statements.ACCEPT
            case statements.NatByMap(kind, version, parts, name):
                target = self._look_up(parts, name)
                if not isinstance(target, bytes):
                    return False
                self._rewrite((fields.DESTINATION if kind == "dnat" else fields.SOURCE)[version], target)
                return statements.ACCEPT
            case statements.Equal(where, value, negate):
                data = self._read(where)
                return data is not None and (data[: len(value)] == value) != negate
            case statements.Within(where, address, length, negate):
                data = self._read(where)
                return data is not None and (_prefix(data, length) == _prefix(address, length)) != negate
            case statements.Between(where, first, last, negate):
                data = self._read(where)
                return data is not None and (first <= data <= last) != negate

    def _look_up(self, parts: tuple[Field, ...], name: str) -> Value | _Missing:
        key = self._read(*parts)
        named = self._content.sets[name]
        if key is None:
            return _MISSING
        return _find(named, key)

    def _read(self, *parts: Field) -> bytes | None:
        values = [self._field(part) for part in parts]
        if any(value is None for value in values):
            return None
        return fields.joined(*(value for value in values if value is not None))

    def _field(self, part: Field) -> bytes | None:
        packet = self._done.packet
        match part.base:
            case fields.META:
                return {
                    fields.IN: fields.ifname(packet.in_interface),
                    fields.OUT: fields.ifname(packet.out_interface),
                    fields.NFPROTO: fields.FAMILY_OF[packet.version],
                    fields.L4PROTO: fields.byte(packet.protocol),
                }[part]
            case fields.LINK:
                header = packet.link
            case fields.NETWORK:
                header = packet.network
            case _:
                header = packet.transport
        data = header[part.where : part.where + part.type.width]
        return data if len(data) == part.type.width else None

    def _rewrite(self, part: Field, value: bytes) -> None:
        packet = self._done.packet
        header = packet.network if part.base == fields.NETWORK else packet.transport
        changed = header[: part.where] + value + header[part.where + len(value) :]
        if part.base == fields.NETWORK:
            self._done.packet = replace(packet, network=changed)
        else:
            self._done.packet = replace(packet, transport=changed)

    def _set_dscp(self, version: int, value: int) -> None:
        packet = self._done.packet
        shift = 2 if version == 4 else 6
        first = int.from_bytes(packet.network[:2], "big") & (0xFFFF ^ 0x3F << shift) | value << shift
        self._done.packet = replace(packet, network=first.to_bytes(2, "big") + packet.network[2:])


class _Missing:
    """Not an element (None is the value of every element of a plain set)."""


_MISSING = _Missing()


def _find(named: NamedSet, key: bytes) -> Value | _Missing:
    if not named.spec.interval:
        if key in named.elements:
            return named.elements[key]
        return named.elements.get(ANY_KEY, _MISSING)
    for wanted, value in named.elements.items():
        if isinstance(wanted, tuple) and _inside(named.spec, key, *wanted):
            return value
    return _MISSING


def _inside(spec: SetSpec, key: bytes, first: bytes, last: bytes) -> bool:
    """Every part of the key within its range (a concatenation of ranges is a box, not an interval)."""
    offset = 0
    for part in spec.key:
        end = offset + part.width
        if not first[offset:end] <= key[offset:end] <= last[offset:end]:
            return False
        offset = end + (-part.width & 3)
    return True


def _prefix(address: bytes, length: int) -> int:
    return int.from_bytes(address, "big") >> len(address) * 8 - length
