"""Connection tracking (ctnetlink, linux/netfilter/nfnetlink_conntrack.h): find flows by an address, end them.

An address that leaves this host, or moves to another interface, must not hand its flows to the next owner. Flows opened
by the address have it as the source of their first packet; flows opened towards it (also through a translation) have it
as the source of the reply. The kernel compares the address itself (CTA_FILTER, Linux 5.8), so a busy table costs one
pass in the kernel and not one in Python.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable

from calico_openstack.model.net import Net
from calico_openstack.netlink import rtnl, wire
from calico_openstack.netlink.socket import NetlinkSocket
from calico_openstack.netlink.wire import Message, Request

_HEADER = struct.Struct("=BBH")
_SUBSYSTEM = 1 << 8
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP = 1
_IP_SOURCE = {4: 1, 6: 3}
_FILTER_FLAGS = {_TUPLE_ORIG: 1, _TUPLE_REPLY: 2}
_BY_SOURCE = 1 << 0

DIRECTIONS = (_TUPLE_ORIG, _TUPLE_REPLY)


def find_flows(address: Net, direction: int) -> Request:
    """A dump of the flows whose source in `direction` (one of DIRECTIONS) is the address."""
    source = wire.attr(_IP_SOURCE[address.version], address.packed)
    body = _header(address.version)
    body += wire.nest(direction, wire.nest(_TUPLE_IP, source))
    body += wire.nest(_FILTER, wire.u32(_FILTER_FLAGS[direction], _BY_SOURCE))
    return Request(_GET, 0, body)


def end_flow(version: int, flow: Message) -> Request:
    """Delete the flow that a dump showed; its id is named, so that a younger flow of the same addresses survives."""
    found = wire.attributes(flow.body, _HEADER.size)
    body = _header(version) + wire.attr(_TUPLE_ORIG | wire.NESTED, found[_TUPLE_ORIG])
    for kind in (_ID, _ZONE):
        if kind in found:
            body += wire.attr(kind, found[kind])
    return Request(_DELETE, 0, body)


def end_flows_of(connection: NetlinkSocket, addresses: Iterable[Net]) -> int:
    """End every flow of these addresses (full length) in the socket's namespace; how many there were.

    A flow that ended by itself meanwhile is no error. Raises NetlinkError for anything else.
    """
    ended = 0
    for address in addresses:
        for direction in DIRECTIONS:
            flows = connection.dump(find_flows(address, direction))
            requests = [end_flow(address.version, flow) for flow in flows]
            for failure in connection.send_batch(requests).values():
                if failure.errno != errno.ENOENT:
                    raise failure
            ended += len(requests)
    return ended


def _header(version: int) -> bytes:
    return _HEADER.pack(rtnl.family_of(version), 0, 0)
