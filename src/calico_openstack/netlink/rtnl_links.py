"""Links: what network interfaces there are, by name and index, and whether they carry.

`running` is IFF_RUNNING: for a tap it means that someone (QEMU) holds the other end; for a veth, that the peer is up.
A name may come back with another index: then it is another interface, and everything that hung on the old one is gone.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from calico_openstack.netlink import rtnl, wire
from calico_openstack.netlink.wire import Message, Request

_HEADER = struct.Struct("=BxHiII")
_ADDRESS, _NAME, _MTU, _INFO, _EXT_MASK = 1, 3, 4, 18, 29
_INFO_KIND = 1
_SKIP_STATISTICS = 8  # RTEXT_FILTER_SKIP_STATS: counters are half of a link message
_UP, _RUNNING = 0x1, 0x40


class Link(NamedTuple):
    """One interface. `mac` is empty when it has none; `mtu` in bytes."""

    name: str
    ifindex: int
    up: bool
    running: bool
    mtu: int = 1500
    mac: str = ""

    @property
    def carries(self) -> bool:
        """Administratively up, and somebody is at the other end."""
        return self.up and self.running


class LinkEvent(NamedTuple):
    link: Link
    deleted: bool


def dump_links() -> Request:
    return Request(rtnl.GETLINK, 0, _HEADER.pack(rtnl.AF_UNSPEC, 0, 0, 0, 0) + wire.u32(_EXT_MASK, _SKIP_STATISTICS))


def set_link_up(ifindex: int, up: bool = True) -> Request:
    return Request(rtnl.NEWLINK, 0, _HEADER.pack(rtnl.AF_UNSPEC, 0, ifindex, _UP if up else 0, _UP))


def add_link(name: str, kind: str, mtu: int) -> Request:
    """A new interface of this kind (`ifb`, `dummy`, ...), not up yet. EEXIST if the name is taken."""
    body = _HEADER.pack(rtnl.AF_UNSPEC, 0, 0, 0, 0) + wire.text(_NAME, name) + wire.u32(_MTU, mtu)
    return Request(rtnl.NEWLINK, wire.CREATE | wire.EXCLUSIVE, body + wire.nest(_INFO, wire.text(_INFO_KIND, kind)))


def set_mtu(ifindex: int, mtu: int) -> Request:
    return Request(rtnl.NEWLINK, 0, _HEADER.pack(rtnl.AF_UNSPEC, 0, ifindex, 0, 0) + wire.u32(_MTU, mtu))


def delete_link(ifindex: int) -> Request:
    return Request(rtnl.DELLINK, 0, _HEADER.pack(rtnl.AF_UNSPEC, 0, ifindex, 0, 0))


def kind_of(message: Message) -> str:
    """The kind of the interface of a NEWLINK: `veth`, `tun`, `ifb`, ...; empty for a physical one."""
    found = wire.attributes(message.body, _HEADER.size)
    return wire.read_text(wire.attributes(found.get(_INFO, b"")).get(_INFO_KIND, b""))


def read_link(message: Message) -> LinkEvent | None:
    """The link of a NEWLINK or DELLINK; None for other messages.

    Bridges send DELLINK with family AF_BRIDGE when a port leaves them; the port itself lives on.
    """
    if message.kind not in (rtnl.NEWLINK, rtnl.DELLINK):
        return None
    family, _, ifindex, flags, _ = _HEADER.unpack_from(message.body)
    found = wire.attributes(message.body, _HEADER.size)
    if family != rtnl.AF_UNSPEC or _NAME not in found:
        return None
    link = Link(
        name=wire.read_text(found[_NAME]),
        ifindex=ifindex,
        up=bool(flags & _UP),
        running=bool(flags & _RUNNING),
        mtu=wire.read_u32(found[_MTU]) if _MTU in found else 0,
        mac=rtnl.read_mac(found.get(_ADDRESS, b"")),
    )
    return LinkEvent(link, message.kind == rtnl.DELLINK)
