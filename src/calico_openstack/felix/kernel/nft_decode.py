"""What a dump of nf_tables says, as the values that `ruleset.difference` compares.

Only our own forms are understood. Anything else in one of our tables (a rule without our comment, a set of
a type that we never make) becomes a value that equals nothing of ours, so that the difference repairs it.
"""

from __future__ import annotations

from calico_openstack.felix.kernel.nft_encode import set_attributes
from calico_openstack.felix.ruleset import fields
from calico_openstack.felix.ruleset.fields import DataType
from calico_openstack.felix.ruleset.objects import ANY_KEY, Dynamic, Hook, Key, SetSpec, Value
from calico_openstack.felix.ruleset.statements import Verdict
from calico_openstack.netlink import nftables as nft
from calico_openstack.netlink import wire
from calico_openstack.netlink.wire import attributes, read_be32, read_text

GENMSG = 4
"""Bytes of `struct nfgenmsg` before the attributes of each message."""

_FAMILIES = {number: name for name, number in nft.FAMILIES.items()}
_HOOKS = {number: name for name, number in nft.HOOKS.items()}
_ARP_HOOKS = {number: name for name, number in nft.ARP_HOOKS.items()}
_TYPES = {value.code: value for value in vars(fields).values() if isinstance(value, DataType)}
_VERDICTS = {nft.ACCEPT: "accept", nft.DROP: "drop", nft.RETURN: "return", nft.JUMP: "jump", nft.GOTO: "goto"}
_UNKNOWN = DataType("unknown", 63, 4)


def family(body: bytes) -> str:
    return _FAMILIES.get(body[0], "")


def rule_digest(found: dict[int, bytes]) -> str:
    """The digest in our comment; empty for a rule that is not ours."""
    data = found.get(7, b"")
    if len(data) < 3 or data[0] != 0:
        return ""
    return read_text(data[2 : 2 + data[1]]).partition(" ")[0]


def hook(found: dict[int, bytes], *, arp: bool) -> Hook | None:
    if 4 not in found:
        return None
    place = attributes(found[4])
    number, priority = read_be32(place[1]), read_be32(place[2])
    accepts = 5 not in found or read_be32(found[5]) == nft.ACCEPT
    name = (_ARP_HOOKS if arp else _HOOKS).get(number, "?")
    kind = read_text(found.get(7, b"")) if accepts else "?"
    return Hook(kind, name, priority - (1 << 32) if priority >> 31 else priority)  # type: ignore[arg-type]


def set_spec(found: dict[int, bytes]) -> SetSpec:
    name = read_text(found[2])
    flags = read_be32(found[3]) if 3 in found else 0
    code = read_be32(found[4])
    parts = []
    while code:
        parts.append(_TYPES.get(code & 0x3F, _UNKNOWN))
        code >>= 6
    data = _TYPES.get(read_be32(found[6]), _UNKNOWN) if 6 in found else None
    spec = SetSpec(name, tuple(reversed(parts)), bool(flags & nft.SET_INTERVAL), data, _dynamic(found, flags))
    length = read_be32(found[5])
    ours = set_attributes(spec)
    return spec if ours[0] == flags and ours[2] == length else spec._replace(key=(_UNKNOWN,))


def _dynamic(found: dict[int, bytes], flags: int) -> Dynamic | None:
    if not flags & nft.SET_DYNAMIC:
        return None
    size = attributes(found[9]).get(1) if 9 in found else None
    milliseconds = int.from_bytes(found.get(11, b""), "big")
    return Dynamic(read_be32(size) if size else 0, milliseconds // 1000)


def elements(spec: SetSpec, found: list[bytes]) -> dict[Key, Value]:
    """The elements of one set from its NFTA_LIST_ELEMs."""
    if spec.interval and len(spec.key) == 1:
        return dict.fromkeys(_ranges(spec.key[0], found))
    result: dict[Key, Value] = {}
    for data in found:
        parts = attributes(data)
        flags = read_be32(parts[3]) if 3 in parts else 0
        key: Key = ANY_KEY
        if not flags & nft.ELEMENT_CATCH_ALL:
            key = attributes(parts[1])[1]
            if 10 in parts:
                key = (key, attributes(parts[10])[1])
        result[key] = _data(parts[2]) if 2 in parts else None
    return result


def _ranges(kind: DataType, found: list[bytes]) -> list[Key]:
    """Starts and ends of a tree of intervals, paired; the last range may reach the end of all values and
    have no end."""
    edges = []
    for data in found:
        parts = attributes(data)
        is_end = bool(3 in parts and read_be32(parts[3]) & nft.ELEMENT_END)
        # At one value the end of a range sorts before the start of the next.
        edges.append((attributes(parts[1])[1], not is_end))
    edges.sort()
    ranges: list[Key] = []
    start: bytes | None = None
    for value, is_start in edges:
        if start is not None:
            last = int.from_bytes(value, "big") - 1
            ranges.append((start, last.to_bytes(kind.width, "big")))
        start = value if is_start else None
    if start is not None:
        ranges.append((start, b"\xff" * kind.width))
    return ranges


def _data(found: bytes) -> Value:
    parts = attributes(found)
    if 1 in parts:
        return parts[1]
    verdict = attributes(parts[2])
    code = wire.read_be32(verdict[1])
    kind = _VERDICTS.get(code - (1 << 32) if code >> 31 else code, "drop")
    return Verdict(kind, read_text(verdict.get(2, b"")))  # type: ignore[arg-type]
