"""Addresses of interfaces (RTM_*ADDR): add, delete, list, follow."""

from __future__ import annotations

import struct
from typing import NamedTuple

from calico_openstack.model.net import Net
from calico_openstack.netlink import rtnl, wire
from calico_openstack.netlink.wire import Message, Request

_HEADER = struct.Struct("=BBBBI")
_ADDRESS, _LOCAL, _FLAGS = 1, 2, 8

NO_DAD, NO_PREFIX_ROUTE = 0x2, 0x200

SCOPE_UNIVERSE, SCOPE_LINK, SCOPE_HOST = 0, 253, 254


class Address(NamedTuple):
    """One address of an interface: `address` has full length, `length` is the prefix that it is on."""

    address: Net
    length: int
    ifindex: int
    scope: int = SCOPE_UNIVERSE
    flags: int = 0


class AddressEvent(NamedTuple):
    address: Address
    deleted: bool


def dump_addresses(version: int = 0) -> Request:
    """All addresses of one IP version, or of both (0)."""
    family = rtnl.family_of(version) if version else rtnl.AF_UNSPEC
    return Request(rtnl.GETADDR, 0, _HEADER.pack(family, 0, 0, 0, 0))


def add_address(address: Address) -> Request:
    """Add, or change the flags of, an address. `NO_PREFIX_ROUTE` keeps the kernel from making a connected route."""
    return Request(rtnl.NEWADDR, wire.CREATE | wire.REPLACE, _body(address) + wire.u32(_FLAGS, address.flags))


def delete_address(address: Address) -> Request:
    return Request(rtnl.DELADDR, 0, _body(address))


def read_address(message: Message) -> AddressEvent | None:
    """The address of a NEWADDR or DELADDR; None for other messages."""
    if message.kind not in (rtnl.NEWADDR, rtnl.DELADDR):
        return None
    family, length, flags, scope, ifindex = _HEADER.unpack_from(message.body)
    found = wire.attributes(message.body, _HEADER.size)
    version = rtnl.version_of(family)
    # With a peer, LOCAL is ours and ADDRESS the other end's; IPv6 without a peer has ADDRESS alone.
    packed = found.get(_LOCAL) or found.get(_ADDRESS)
    if version is None or packed is None:
        return None
    if _FLAGS in found:
        flags = wire.read_u32(found[_FLAGS])
    address = Address(rtnl.read_address(version, packed), length, ifindex, scope, flags)
    return AddressEvent(address, message.kind == rtnl.DELADDR)


def _body(address: Address) -> bytes:
    net = address.address
    header = _HEADER.pack(rtnl.family_of(net.version), address.length, 0, address.scope, address.ifindex)
    return header + wire.attr(_LOCAL, net.packed) + wire.attr(_ADDRESS, net.packed)
