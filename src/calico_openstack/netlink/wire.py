"""The bytes of netlink: message headers and attributes (RFC 3549; linux/netlink.h, `nla_put`, `nla_parse`).

Knows no protocol and no socket: rtnetlink and nfnetlink both build on these few functions. Headers are in
host byte order. Attribute payloads are in host order for rtnetlink (`u16`, `u32`, ...) and in network order
for nfnetlink (`be16`, `be32`, ...), so the name at each call says which one is meant.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

# linux/netlink.h: message kinds below 0x10 belong to netlink itself.
NOOP, ERROR, DONE, OVERRUN = 1, 2, 3, 4

# Flags of a request, of a "new" request, and of a reply.
REQUEST, MULTI, ACK, DUMP_INTERRUPTED = 0x1, 0x2, 0x4, 0x10
ROOT, MATCH = 0x100, 0x200
DUMP = ROOT | MATCH
REPLACE, EXCLUSIVE, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
# In a reply of kind ERROR: the request's payload is left out / extended attributes follow.
CAPPED, ACK_TLVS = 0x100, 0x200

NESTED = 0x8000
TYPE_MASK = 0x3FFF

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")

_U16, _U32, _U64 = struct.Struct("=H"), struct.Struct("=I"), struct.Struct("=Q")
_S32 = struct.Struct("=i")
_BE16, _BE32, _BE64 = struct.Struct("!H"), struct.Struct("!I"), struct.Struct("!Q")
_SHORT = struct.Struct("=HHI")
_SHORT_BE = struct.Struct("!I")


class Request(NamedTuple):
    """One message to send. REQUEST, ACK, the sequence number and the length are the socket's business."""

    kind: int
    flags: int
    body: bytes


class Message(NamedTuple):
    """One message received; `body` is what follows the 16-byte header."""

    kind: int
    flags: int
    sequence: int
    body: bytes


class Malformed(ValueError):
    """The kernel (or a peer) sent bytes that are not netlink; the sentence says where."""


def pad(length: int) -> int:
    """`length` rounded up to netlink's alignment of 4."""
    return (length + 3) & ~3


def attr(kind: int, data: bytes) -> bytes:
    """One attribute, padded. ValueError when `data` does not fit the 16-bit length field."""
    length = 4 + len(data)
    if length > 0xFFFF:
        raise ValueError(f"netlink attribute {kind & TYPE_MASK} of {length} bytes; at most 65535 fit")
    return ATTRIBUTE.pack(length, kind) + data + b"\0" * (-length & 3)


def nest(kind: int, *parts: bytes) -> bytes:
    return attr(kind | NESTED, b"".join(parts))


def flag(kind: int) -> bytes:
    return ATTRIBUTE.pack(4, kind)


def text(kind: int, value: str) -> bytes:
    """A zero-terminated string (NLA_NUL_STRING)."""
    return attr(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    return attr(kind, bytes((value,)))


def u16(kind: int, value: int) -> bytes:
    return attr(kind, _U16.pack(value))


def u32(kind: int, value: int) -> bytes:
    return _SHORT.pack(8, kind, value)


def s32(kind: int, value: int) -> bytes:
    return attr(kind, _S32.pack(value))


def u64(kind: int, value: int) -> bytes:
    return attr(kind, _U64.pack(value))


def be16(kind: int, value: int) -> bytes:
    return attr(kind, _BE16.pack(value))


def be32(kind: int, value: int) -> bytes:
    return ATTRIBUTE.pack(8, kind) + _SHORT_BE.pack(value & 0xFFFFFFFF)


def be64(kind: int, value: int) -> bytes:
    return attr(kind, _BE64.pack(value))


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A whole message with header; the caller pads between messages (bodies of attributes are already
    aligned)."""
    length = 16 + len(body)
    return HEADER.pack(length, kind, flags, sequence, 0) + body + b"\0" * (-length & 3)


def messages(buffer: bytes | memoryview) -> Iterator[Message]:
    """The messages of one datagram."""
    view = memoryview(buffer)
    offset, end = 0, len(view)
    while offset + 16 <= end:
        length, kind, flags, sequence, _ = HEADER.unpack_from(view, offset)
        if length < 16 or offset + length > end:
            raise Malformed(f"netlink message of {length} bytes at offset {offset} of {end}")
        yield Message(kind, flags, sequence, bytes(view[offset + 16 : offset + length]))
        offset += pad(length)


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Attributes by kind (flag bits removed); of a repeated kind the last one, as in `nla_parse`."""
    return dict(attribute_list(data, offset))


def attribute_list(data: bytes, offset: int = 0) -> list[tuple[int, bytes]]:
    """Attributes in order, for lists that repeat one kind (NFTA_LIST_ELEM, RTA_MULTIPATH, ...)."""
    found: list[tuple[int, bytes]] = []
    end = len(data)
    # A dump of a few thousand objects comes by here a hundred thousand times: no call inside.
    unpack, append = ATTRIBUTE.unpack_from, found.append
    while offset + 4 <= end:
        length, kind = unpack(data, offset)
        if length < 4 or offset + length > end:
            raise Malformed(f"netlink attribute of {length} bytes at offset {offset} of {end}")
        append((kind & TYPE_MASK, data[offset + 4 : offset + length]))
        offset += length + 3 & ~3
    return found


def read_text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="replace")


def read_u16(data: bytes) -> int:
    return int(_U16.unpack_from(data)[0])


def read_u32(data: bytes) -> int:
    return int(_U32.unpack_from(data)[0])


def read_s32(data: bytes) -> int:
    return int(_S32.unpack_from(data)[0])


def read_be16(data: bytes) -> int:
    return int(_BE16.unpack_from(data)[0])


def read_be32(data: bytes) -> int:
    return int(_BE32.unpack_from(data)[0])


def read_be64(data: bytes) -> int:
    return int(_BE64.unpack_from(data)[0])
