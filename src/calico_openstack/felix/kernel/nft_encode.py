"""Our nftables values as netlink requests: one `Request` per kernel message, in the order of the operations.

The forms are those that nft itself produces for the same text, so that `nft list` prints ours the same way;
a functional test compares the two.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import count

from calico_openstack.felix.ruleset import fields, statements
from calico_openstack.felix.ruleset.fields import Field
from calico_openstack.felix.ruleset.objects import (
    ANY_KEY,
    AddChain,
    AddElements,
    AddSet,
    AddTable,
    DropChain,
    DropElements,
    DropSet,
    DropTable,
    Hook,
    Key,
    NftChanges,
    Operation,
    Rule,
    SetRules,
    SetSpec,
    Table,
    Value,
)
from calico_openstack.felix.ruleset.statements import Statement, Verdict
from calico_openstack.netlink import nftables as nft
from calico_openstack.netlink import wire
from calico_openstack.netlink.wire import Request, be32, nest, text

_CHUNK = 500
"""Elements per message: their list is one attribute, which holds 64 KiB at most."""

_VERDICTS = {"accept": nft.ACCEPT, "drop": nft.DROP, "return": nft.RETURN, "jump": nft.JUMP, "goto": nft.GOTO}
_DESTINATION_TRANSLATED = 0x20
"""IPS_DST_NAT."""
_ETHERNET = struct.pack("=H", 1)
_META_IIFTYPE = 8
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_CHECKSUM4 = 10


def requests(changes: NftChanges) -> list[Request]:
    identities = count(1)
    return [request for operation in changes.operations for request in _encode(operation, identities)]


def _encode(operation: Operation, identities: count[int]) -> Iterator[Request]:
    table = operation.table
    named = text(1, table.name)
    match operation:
        case AddTable():
            yield nft.message(nft.NEW_TABLE, table.family, named + be32(2, 0), wire.CREATE)
        case DropTable():
            yield nft.message(nft.DELETE_TABLE, table.family, named)
        case AddSet(_, spec):
            body = _set_body(table, spec, next(identities))
            yield nft.message(nft.NEW_SET, table.family, body, wire.CREATE)
        case DropSet(_, name):
            yield nft.message(nft.DELETE_SET, table.family, named + text(2, name))
        case AddChain(_, name, hook):
            body = named + text(3, name) + (_hook(table, hook) if hook else b"")
            yield nft.message(nft.NEW_CHAIN, table.family, body, wire.CREATE)
        case DropChain(_, name):
            yield nft.message(nft.DELETE_CHAIN, table.family, named + text(3, name))
        case SetRules(_, chain, rules, fresh):
            place = named + text(2, chain)
            if not fresh:
                yield nft.message(nft.DELETE_RULE, table.family, place)
            for rule in rules:
                body = place + nest(4, rule_expressions(table, rule)) + nft.comment(rule.comment)
                yield nft.message(nft.NEW_RULE, table.family, body, wire.CREATE | wire.APPEND)
        case AddElements(_, spec, elements):
            encoded = [part for key, value in elements for part in _element(spec, key, value)]
            yield from _element_messages(table, spec, encoded, nft.NEW_ELEMENTS, wire.CREATE)
        case DropElements(_, spec, keys):
            encoded = [part for key in keys for part in _element(spec, key, None)]
            yield from _element_messages(table, spec, encoded, nft.DELETE_ELEMENTS, 0)


def _element_messages(table: Table, spec: SetSpec, encoded: list[bytes], kind: int, flags: int) -> Iterator[Request]:
    place = text(1, table.name) + text(2, spec.name)
    for start in range(0, len(encoded), _CHUNK):
        yield nft.message(kind, table.family, place + nest(3, *encoded[start : start + _CHUNK]), flags)


def _hook(table: Table, hook: Hook) -> bytes:
    number = (nft.ARP_HOOKS if table.family == "arp" else nft.HOOKS)[hook.hook]
    return nft.chain_hook(number, hook.priority) + be32(5, nft.ACCEPT) + text(7, hook.type)


def set_attributes(spec: SetSpec) -> tuple[int, int, int, int | None]:
    """Flags, key type, key length and data type, as the kernel gives them back."""
    flags = 0
    key_type = 0
    for part in spec.key:
        key_type = key_type << 6 | part.code
    length = sum(wire.pad(part.width) for part in spec.key) if len(spec.key) > 1 else spec.key[0].width
    if spec.interval:
        flags |= nft.SET_INTERVAL | (nft.SET_CONCAT if len(spec.key) > 1 else 0)
    if spec.value:
        flags |= nft.SET_MAP
    if spec.dynamic:
        flags |= nft.SET_DYNAMIC | nft.SET_TIMEOUT
    return flags, key_type, length, spec.value.code if spec.value else None


def _set_body(table: Table, spec: SetSpec, identity: int) -> bytes:
    flags, key_type, length, data_type = set_attributes(spec)
    ranges = spec.interval and len(spec.key) > 1
    return nft.set_body(
        table.name,
        spec.name,
        identity,
        key_type=key_type,
        key_length=length,
        flags=flags,
        data_type=data_type,
        data_length=spec.value.width if spec.value and spec.value is not fields.VERDICT else 0,
        field_lengths=tuple(part.width for part in spec.key) if ranges else (),
        byte_order=nft.HOST_ENDIAN if spec.key == (fields.IFNAME,) else nft.BIG_ENDIAN,
        dynamic=spec.dynamic,
    )


def _element(spec: SetSpec, key: Key, value: Value) -> Iterator[bytes]:
    data = b""
    if isinstance(value, Verdict):
        data = nft.verdict(2, _VERDICTS[value.kind], value.chain)
    elif value is not None:
        data = nft.value(2, value)
    if isinstance(key, tuple) and len(spec.key) == 1:
        # A tree of interval starts and ends: the end element is the first value after the range.
        yield nft.element(key[0], data=data)
        after = int.from_bytes(key[1], "big") + 1
        if after >> 8 * len(key[1]) == 0:
            yield nft.element(after.to_bytes(len(key[1]), "big"), flags=nft.ELEMENT_END)
    elif isinstance(key, tuple):
        yield nft.element(key[0], end=key[1], data=data)
    elif key == ANY_KEY:
        yield nft.element(b"", data=data, flags=nft.ELEMENT_CATCH_ALL)
    else:
        yield nft.element(key, data=data)


def rule_expressions(table: Table, rule: Rule) -> bytes:
    return b"".join(_statement(table, statement) for statement in rule.statements)


def _statement(table: Table, statement: Statement) -> bytes:
    match statement:
        case statements.Equal(field, value, negate):
            return _load(table, field) + nft.compare(nft.NOT_EQUAL if negate else nft.EQUAL, value)
        case statements.Within(field, address, length, negate):
            bits = ((1 << length) - 1 << len(address) * 8 - length).to_bytes(len(address), "big")
            operator = nft.NOT_EQUAL if negate else nft.EQUAL
            return _load(table, field) + nft.mask(bits) + nft.compare(operator, address)
        case statements.Between(field, first, last, negate):
            if negate:
                return _load(table, field) + nft.outside_range(first, last)
            return _load(table, field) + nft.compare(nft.AT_LEAST, first) + nft.compare(nft.AT_MOST, last)
        case statements.InSet(parts, name, negate):
            return _load(table, *parts) + nft.look_up(name, invert=negate)
        case statements.CtState(states):
            zero = nft.compare(nft.NOT_EQUAL, bytes(4))
            return nft.load_ct_state() + nft.mask(struct.pack("=I", states)) + zero
        case statements.Translated():
            found = nft.mask(struct.pack("=I", _DESTINATION_TRANSLATED))
            return nft.load_ct_status() + found + nft.compare(nft.NOT_EQUAL, bytes(4))
        case statements.NoTrack():
            return nft.no_track()
        case statements.HasMark(bit, negate):
            wanted = struct.pack("=I", bit)
            operator = nft.NOT_EQUAL if negate else nft.EQUAL
            return nft.load_meta(nft.MARK) + nft.mask(wanted) + nft.compare(operator, wanted)
        case statements.SetMark(bits, clear):
            kept, given = struct.pack("=I", bits ^ 0xFFFFFFFF), struct.pack("=I", 0 if clear else bits)
            return nft.load_meta(nft.MARK) + nft.mask(kept, given) + nft.store_mark()
        case statements.ByMap(parts, name):
            return _load(table, *parts) + nft.look_up(name, into=nft.VERDICT)
        case Verdict(kind, chain):
            return nft.give_verdict(_VERDICTS[kind], chain)
        case statements.Reject():
            return nft.reject_port_unreachable()
        case statements.Log(prefix):
            return nft.log(prefix)
        case statements.Dnat(version, address, port):
            target = nft.load_value(address) + nft.load_value(port.to_bytes(2, "big"), 4)
            return target + nft.translate(1, _ip(version), with_port=True)
        case statements.NatByMap(kind, version, parts, name):
            found = _load(table, *parts) + nft.look_up(name, into=0)
            return found + nft.translate(1 if kind == "dnat" else 0, _ip(version), with_port=False)
        case statements.Reset():
            return nft.reject_tcp_reset()
        case statements.Rate(rate, unit, burst, over):
            return nft.limit(rate, _SECONDS[unit], burst, over=over)
        case statements.RateOf(parts, name, rate, unit, burst, over):
            bucket = nft.limit_of(rate, _SECONDS[unit], burst, over=over)
            return _load(table, *parts) + nft.remember(name, refresh=True, bucket=bucket)
        case statements.Remember(parts, name, refresh):
            return _load(table, *parts) + nft.remember(name, refresh=refresh)
        case statements.MoreConnections(limit):
            return nft.connection_limit(limit)
        case statements.SetDscp(version, value):
            return _set_dscp(version, value)
        case statements.Masquerade(ports):
            return _ports(ports, 0) + nft.masquerade(with_port=ports is not None, with_range=_is_range(ports))
        case statements.Snat(version, address, ports):
            target = nft.load_value(address) + _ports(ports, 4)
            return target + nft.translate(0, _ip(version), with_port=ports is not None, with_range=_is_range(ports))


def _ports(ports: tuple[int, int] | None, word: int) -> bytes:
    if ports is None:
        return b""
    last = nft.load_value(fields.port(ports[1]), word + 4) if _is_range(ports) else b""
    return nft.load_value(fields.port(ports[0]), word) + last


def _is_range(ports: tuple[int, int] | None) -> bool:
    """The kernel takes one port for both ends, and newer versions of nft write it so."""
    return ports is not None and ports[0] != ports[1]


def _set_dscp(version: int, value: int) -> bytes:
    """The first 16 bits of the IP header without the code point, then with it: six bits after 8 (IPv4) or 4
    (IPv6) others."""
    shift = 2 if version == 4 else 6
    kept = (0xFFFF ^ 0x3F << shift).to_bytes(2, "big")
    written = nft.store_payload(fields.NETWORK, 0, 2, checksum=_CHECKSUM4 if version == 4 else None)
    return nft.load_payload(fields.NETWORK, 0, 2) + nft.mask(kept, (value << shift).to_bytes(2, "big")) + written


def _load(table: Table, *parts: Field) -> bytes:
    """The fields into the registers, side by side."""
    encoded = b""
    if fields.MAC_SOURCE in parts:
        # nft does so, too: there is a link header only on Ethernet.
        encoded = nft.load_meta(_META_IIFTYPE) + nft.compare(nft.EQUAL, _ETHERNET)
    word = 0
    for part in parts:
        if part.base == fields.META:
            encoded += nft.load_meta(part.where, word)
        else:
            encoded += nft.load_payload(part.base, part.where, part.type.width, word)
        word += wire.pad(part.type.width) // 4
    return encoded


def _ip(version: int) -> str:
    return "ip" if version == 4 else "ip6"
