"""The bytes of router advertisements, and which packets are router solicitations (RFC 4861, 4191, 8106).

The kernel fills in the checksum of a raw ICMPv6 socket.
"""

from __future__ import annotations

import struct
from typing import Final

from calico_openstack.dhcp.advertise import Advertisement
from calico_openstack.model.net import Net

SOLICITATION: Final = 133
ADVERTISEMENT: Final = 134
HOP_LIMIT: Final = 255
"""Of solicitations and advertisements alike: proof that a packet was not forwarded."""

_SOURCE_LINK_LAYER, _PREFIX, _MTU, _ROUTE, _RDNSS, _DNSSL = 1, 3, 5, 24, 25, 31
_MANAGED, _OTHER, _AUTONOMOUS = 0x80, 0x40, 0x40
PREFIX_VALID: Final = 86400
PREFIX_PREFERRED: Final = 14400
OPTION_LIFETIME: Final = 1800


def advertisement(wanted: Advertisement, mac: str) -> bytes:
    """The ICMPv6 message; `mac` is the sending interface's address, empty to leave the option out."""
    flags = (_MANAGED if wanted.managed else 0) | (_OTHER if wanted.other else 0)
    parts = [struct.pack("!BBHBBHII", ADVERTISEMENT, 0, 0, 64, flags, wanted.router_lifetime, 0, 0)]
    if mac:
        parts.append(_option(_SOURCE_LINK_LAYER, bytes.fromhex(mac.replace(":", ""))))
    if wanted.mtu is not None:
        parts.append(_option(_MTU, struct.pack("!HI", 0, wanted.mtu)))
    parts += [_prefix(prefix) for prefix in wanted.prefixes]
    parts += [_route(route) for route in wanted.routes]
    if wanted.dns_servers:
        servers = b"".join(server.packed for server in wanted.dns_servers)
        parts.append(_option(_RDNSS, struct.pack("!HI", 0, OPTION_LIFETIME) + servers))
    if wanted.search:
        parts.append(_option(_DNSSL, struct.pack("!HI", 0, OPTION_LIFETIME) + _domain(wanted.search)))
    return b"".join(parts)


def is_solicitation(packet: bytes, hop_limit: int) -> bool:
    """RFC 4861, 6.1.1: what a router may answer."""
    return len(packet) >= 8 and packet[0] == SOLICITATION and packet[1] == 0 and hop_limit == HOP_LIMIT


def _prefix(prefix: Net) -> bytes:
    body = struct.pack("!BBIII", prefix.length, _AUTONOMOUS, PREFIX_VALID, PREFIX_PREFERRED, 0)
    return _option(_PREFIX, body + prefix.packed)


def _route(route: Net) -> bytes:
    used = 16 if route.length > 64 else 8 if route.length else 0
    return _option(_ROUTE, struct.pack("!BBI", route.length, 0, OPTION_LIFETIME) + route.packed[:used])


def _domain(name: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0"


def _option(kind: int, body: bytes) -> bytes:
    """Type, length in units of eight bytes, body, zeroes."""
    length = (2 + len(body) + 7) // 8
    return bytes((kind, length)) + body.ljust(length * 8 - 2, b"\0")
