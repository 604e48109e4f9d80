"""Neighbours (RTM_*NEIGH): the kernel's ARP and ND entries; permanent ones are what Felix programs."""

from __future__ import annotations

import struct
from typing import NamedTuple

from calico_openstack.model.net import Net
from calico_openstack.netlink import rtnl, wire
from calico_openstack.netlink.wire import Message, Request

_HEADER = struct.Struct("=BxxxiHBB")
_DST, _LLADDR, _IFINDEX = 1, 2, 8

PERMANENT = 0x80
PROXY = 0x08


class Neighbour(NamedTuple):
    """One entry. `mac` is empty while the kernel is still asking; `state` is a NUD_* bit."""

    address: Net
    ifindex: int
    mac: str
    state: int = PERMANENT


class NeighbourEvent(NamedTuple):
    neighbour: Neighbour
    deleted: bool


def replace_neighbour(neighbour: Neighbour) -> Request:
    body = _header(neighbour) + wire.attr(_DST, neighbour.address.packed)
    return Request(rtnl.NEWNEIGH, wire.CREATE | wire.REPLACE, body + wire.attr(_LLADDR, rtnl.write_mac(neighbour.mac)))


def delete_neighbour(neighbour: Neighbour) -> Request:
    """The kernel answers ENOENT when it is gone already."""
    return Request(rtnl.DELNEIGH, 0, _header(neighbour) + wire.attr(_DST, neighbour.address.packed))


def dump_neighbours(version: int, *, ifindex: int = 0) -> Request:
    """All entries of one IP version, of one device if `ifindex` is given (filtered by a strict kernel)."""
    body = _HEADER.pack(rtnl.family_of(version), 0, 0, 0, 0)
    if ifindex:
        body += wire.u32(_IFINDEX, ifindex)
    return Request(rtnl.GETNEIGH, 0, body)


def read_neighbour(message: Message) -> NeighbourEvent | None:
    """The entry of a NEWNEIGH or DELNEIGH; None for other messages, proxy entries and bridge entries."""
    if message.kind not in (rtnl.NEWNEIGH, rtnl.DELNEIGH):
        return None
    family, ifindex, state, flags, _ = _HEADER.unpack_from(message.body)
    version = rtnl.version_of(family)
    found = wire.attributes(message.body, _HEADER.size)
    if version is None or flags & PROXY or _DST not in found:
        return None
    address = rtnl.read_address(version, found[_DST])
    neighbour = Neighbour(address, ifindex, rtnl.read_mac(found.get(_LLADDR, b"")), state)
    return NeighbourEvent(neighbour, message.kind == rtnl.DELNEIGH)


def _header(neighbour: Neighbour) -> bytes:
    return _HEADER.pack(rtnl.family_of(neighbour.address.version), neighbour.ifindex, neighbour.state, 0, 0)
