"""nf_tables over nfnetlink: messages, expressions and elements as bytes (linux/netfilter/nf_tables.h).

Knows the wire and no firewall: what a rule is for, and how a match becomes expressions, is decided by the
caller. Registers are counted in words of 4 bytes, as a concatenation fills them; the verdict register is
`VERDICT`.
"""

from __future__ import annotations

import struct

from calico_openstack.netlink.wire import Request, attr, be32, be64, nest, text

_SUBSYSTEM = 10 << 8
(NEW_TABLE, GET_TABLE, DELETE_TABLE, NEW_CHAIN, GET_CHAIN, DELETE_CHAIN, NEW_RULE, GET_RULE, DELETE_RULE) = range(9)
(NEW_SET, GET_SET, DELETE_SET, NEW_ELEMENTS, GET_ELEMENTS, DELETE_ELEMENTS) = range(9, 15)

FAMILIES = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "ip6": 10}
HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
ARP_HOOKS = {"input": 0, "output": 1}

SET_INTERVAL, SET_MAP, SET_TIMEOUT, SET_DYNAMIC, SET_CONCAT = 0x4, 0x8, 0x10, 0x20, 0x80
ELEMENT_END, ELEMENT_CATCH_ALL = 0x1, 0x2
BIG_ENDIAN, HOST_ENDIAN = 2, 1

DROP, ACCEPT, JUMP, GOTO, RETURN = 0, 1, -3, -4, -5
EQUAL, NOT_EQUAL, AT_MOST, AT_LEAST = 0, 1, 3, 5
VERDICT = -1
MARK = 3
_GENMSG = struct.Struct("!BBH")

BEGIN = Request(16, 0, _GENMSG.pack(0, 0, 10))
END = Request(17, 0, _GENMSG.pack(0, 0, 10))


def message(kind: int, family: str, body: bytes, flags: int = 0) -> Request:
    return Request(_SUBSYSTEM | kind, flags, _GENMSG.pack(FAMILIES.get(family, 0), 0, 0) + body)


def kind_of(message_kind: int) -> int:
    return message_kind & 0xFF


def register(word: int) -> int:
    """NFT_REG_1.. for the start of each 16 bytes, NFT_REG32_00.. between, as nft and the kernel's dumps number them."""
    if word == VERDICT:
        return 0
    return 1 + word // 4 if word % 4 == 0 else 8 + word


def value(kind: int, data: bytes) -> bytes:
    """NFTA_DATA_VALUE."""
    return nest(kind, attr(1, data))


def verdict(kind: int, code: int, chain: str = "") -> bytes:
    """NFTA_DATA_VERDICT."""
    return nest(kind, nest(2, be32(1, code), text(2, chain) if chain else b""))


# Expressions: each is one NFTA_LIST_ELEM.


def expression(name: str, *attributes: bytes) -> bytes:
    return nest(1, text(1, name), nest(2, *attributes))


def load_meta(key: int, word: int = 0) -> bytes:
    return expression("meta", be32(2, key), be32(1, register(word)))


def load_payload(base: int, offset: int, length: int, word: int = 0) -> bytes:
    return expression("payload", be32(1, register(word)), be32(2, base), be32(3, offset), be32(4, length))


def load_ct_state(word: int = 0) -> bytes:
    return expression("ct", be32(2, 0), be32(1, register(word)))


def load_ct_status(word: int = 0) -> bytes:
    return expression("ct", be32(2, 2), be32(1, register(word)))


def store_mark() -> bytes:
    """The first register becomes the packet's mark."""
    return expression("meta", be32(2, MARK), be32(3, register(0)))


def no_track() -> bytes:
    return expression("notrack")


def load_value(data: bytes, word: int = 0) -> bytes:
    return expression("immediate", be32(1, register(word)), value(2, data))


def give_verdict(code: int, chain: str = "") -> bytes:
    return expression("immediate", be32(1, 0), verdict(2, code, chain))


def compare(operator: int, data: bytes) -> bytes:
    return expression("cmp", be32(1, register(0)), be32(2, operator), value(3, data))


def mask(bits: bytes, flip: bytes = b"") -> bytes:
    """Keep the bits of the first register that `bits` has, then turn those of `flip` round."""
    first = register(0)
    turned = value(5, flip or bytes(len(bits)))
    return expression("bitwise", be32(1, first), be32(2, first), be32(3, len(bits)), value(4, bits), turned)


def outside_range(first: bytes, last: bytes) -> bytes:
    return expression("range", be32(1, register(0)), be32(2, 1), value(3, first), value(4, last))


def look_up(name: str, *, into: int | None = None, invert: bool = False) -> bytes:
    """Is the content of the registers from the first on in the set? `into`: a map, and where its data goes."""
    parts = [text(1, name), be32(2, register(0))]
    if into is not None:
        parts.append(be32(3, register(into)))
    if invert:
        parts.append(be32(5, 1))
    return expression("lookup", *parts)


def translate(kind: int, family: str, *, with_port: bool, with_range: bool = False) -> bytes:
    """NAT (`kind` 0 source, 1 destination) to the address in the first register, and the port in word 4 (of a
    range, the last in word 8)."""
    parts = [be32(1, kind), be32(2, FAMILIES[family]), be32(3, register(0))]
    if with_port:
        parts.append(be32(5, register(4)))
    if with_range:
        parts.append(be32(6, register(8)))
    return expression("nat", *parts)


def masquerade(*, with_port: bool, with_range: bool = False) -> bytes:
    """The source becomes the outgoing interface's address; the port is in word 0, the last of a range in word 4."""
    # Unlike nat, masq does not take the ports for meant when they are given (NF_NAT_RANGE_PROTO_SPECIFIED).
    parts = [be32(1, 2), be32(2, register(0))] if with_port else []
    if with_range:
        parts.append(be32(3, register(4)))
    return expression("masq", *parts)


def reject_port_unreachable() -> bytes:
    """NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_PORT_UNREACH: right for both families."""
    return expression("reject", be32(1, 2), attr(2, b"\1"))


def reject_tcp_reset() -> bytes:
    return expression("reject", be32(1, 1), attr(2, b"\0"))


def limit(rate: int, seconds: int, burst: int, *, over: bool) -> bytes:
    """`rate` packets in `seconds` (NFTA_LIMIT_UNIT), NFT_LIMIT_F_INV if `over`."""
    return nest(1, limit_of(rate, seconds, burst, over=over))


def limit_of(rate: int, seconds: int, burst: int, *, over: bool) -> bytes:
    """The same as the content of an attribute, for `remember`."""
    parts = be64(1, rate), be64(2, seconds), be32(3, burst), be32(4, 0), be32(5, int(over))
    return text(1, "limit") + nest(2, *parts)


def remember(name: str, *, refresh: bool, bucket: bytes = b"") -> bytes:
    """The registers from the first on become an element of the set (NFT_DYNSET_OP_ADD, or _UPDATE to `refresh` its
    time), with a bucket of its own."""
    parts = [text(1, name), be32(3, int(refresh)), be32(4, register(0))]
    if bucket:
        parts.append(nest(7, bucket))
    return expression("dynset", *parts)


def connection_limit(count: int) -> bytes:
    """Goes on when there are more than `count` (NFT_CONNLIMIT_F_INV)."""
    return expression("connlimit", be32(1, count), be32(2, 1))


def store_payload(base: int, offset: int, length: int, *, checksum: int | None = None) -> bytes:
    """The first register into the packet. `checksum`: offset of the Internet checksum to correct (IPv4's own)."""
    place = (be32(5, register(0)), be32(2, base), be32(3, offset), be32(4, length))
    return expression("payload", *place, be32(6, checksum is not None), be32(7, checksum or 0))


def log(prefix: str, level: int = 6) -> bytes:
    return expression("log", attr(2, prefix.encode()[:127] + b"\0"), be32(5, level))


# Objects.


def comment(words: str) -> bytes:
    """NFTA_RULE_USERDATA with a comment, where `nft list` looks for it."""
    data = words.encode()[:126] + b"\0"
    return attr(7, bytes((0, len(data))) + data)


def element(key: bytes, *, end: bytes = b"", data: bytes = b"", flags: int = 0) -> bytes:
    """One NFTA_LIST_ELEM of a set. `end`: NFTA_SET_ELEM_KEY_END; `data`: an encoded NFTA_SET_ELEM_DATA."""
    parts = b"" if flags & ELEMENT_CATCH_ALL else nest(1, attr(1, key))
    return nest(1, parts, data, be32(3, flags) if flags else b"", nest(10, attr(1, end)) if end else b"")


def set_body(
    table: str,
    name: str,
    identity: int,
    *,
    key_type: int,
    key_length: int,
    flags: int,
    data_type: int | None = None,
    data_length: int = 0,
    field_lengths: tuple[int, ...] = (),
    byte_order: int = BIG_ENDIAN,
    dynamic: tuple[int, int] | None = None,
) -> bytes:
    """Attributes of NFT_MSG_NEWSET. `field_lengths` describes a concatenation of ranges to the kernel (pipapo).

    `dynamic`: the most elements, and their time in seconds.

    `byte_order` travels in the set's user data (NFTNL_UDATA_SET_KEYBYTEORDER), for `nft list` alone:
    without it, nft prints interface names as numbers. More of nft's own user data is left out on purpose:
    nft 1.0.6 crashes on what nft 1.1 writes there.
    """
    parts = [text(1, table), text(2, name), be32(3, flags), be32(4, key_type), be32(5, key_length)]
    if data_type is not None:
        parts.append(be32(6, data_type))
        if data_length:
            parts.append(be32(7, data_length))
    parts.append(be32(10, identity))
    if field_lengths:
        described = nest(2, *(nest(1, be32(1, length)) for length in field_lengths))
        parts.append(nest(9, described))
    if dynamic is not None:
        parts += [nest(9, be32(1, dynamic[0])), be64(11, dynamic[1] * 1000)]
    parts.append(attr(13, b"\x00\x04" + struct.pack("=I", byte_order)))
    return b"".join(parts)


def chain_hook(hook: int, priority: int) -> bytes:
    return nest(4, be32(1, hook), be32(2, priority))


def counter() -> bytes:
    return expression("counter", be64(1, 0), be64(2, 0))
