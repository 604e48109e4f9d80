"""Connection tracking (ctnetlink, linux/netfilter/nfnetlink_conntrack.h): find flows by an address, end them.

An address that leaves this host, or moves to another interface, must not hand its flows to the next owner. Flows opened
by the address have it as the source of their first packet; flows opened towards it (also through a translation) have it
as the source of the reply. The kernel compares the address itself (CTA_FILTER, Linux 5.8), so a busy table costs one
pass in the kernel and not one in Python.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection, Sequence
from typing import NamedTuple

from calico_openstack.model.net import Net
from calico_openstack.netlink import rtnl, wire
from calico_openstack.netlink.socket import NetlinkSocket
from calico_openstack.netlink.wire import Message, Request

_HEADER = struct.Struct("=BBH")
_SUBSYSTEM = 1 << 8
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_TUPLE_ORIG, _TUPLE_REPLY, _ID, _TUPLE_MASTER, _ZONE, _FILTER = 1, 2, 12, 14, 18, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SOURCE = {4: 1, 6: 3}
_IP_DESTINATION = {4: 2, 6: 4}
_PROTO_NUMBER, _PROTO_SOURCE_PORT, _PROTO_DESTINATION_PORT = 1, 2, 3
_PROTO_ICMP = {1: (5, 6), 58: (8, 9)}
_FILTER_FLAGS = {_TUPLE_ORIG: 1, _TUPLE_REPLY: 2}
_BY_SOURCE = 1 << 0

DIRECTIONS = (_TUPLE_ORIG, _TUPLE_REPLY)


class Ends(NamedTuple):
    """One direction of a flow. `ports`: source and destination; `icmp`: type and code; where the protocol has them."""

    source: Net
    destination: Net
    protocol: int
    ports: tuple[int, int] | None = None
    icmp: tuple[int, int] | None = None


class Tracked(NamedTuple):
    """A flow as the kernel tracks it.

    `original` is its first packet as it came in, `reply` what the kernel expects in return: without translation the
    mirror image. So the first packet, translated, goes from `original.source` to `reply.source`. `master` is the first
    packet of the flow that announced this one (FTP data). `zone` 0 is the host's own.
    """

    original: Ends
    reply: Ends
    master: Ends | None = None
    zone: int = 0


def find_flows(address: Net, direction: int) -> Request:
    """A dump of the flows whose source in `direction` (one of DIRECTIONS) is the IPv4 address. For IPv6 addresses
    kernels answer wrongly, so ValueError."""
    if address.version != 4:
        raise ValueError(f"{address}: only flows of IPv4 addresses can be looked for")
    source = wire.attr(_IP_SOURCE[address.version], address.packed)
    body = _header(address.version)
    body += wire.nest(direction, wire.nest(_TUPLE_IP, source))
    body += wire.nest(_FILTER, wire.u32(_FILTER_FLAGS[direction], _BY_SOURCE))
    return Request(_GET, 0, body)


def all_flows(version: int | None = None) -> Request:
    """A dump of every flow of one IP version, or of both."""
    return Request(_GET, 0, _HEADER.pack(rtnl.AF_UNSPEC, 0, 0) if version is None else _header(version))


def read_flow(message: Message) -> Tracked | None:
    """The flow of a dump; None for what is no IP flow."""
    version = rtnl.version_of(message.body[0])
    found = wire.attributes(message.body, _HEADER.size)
    if version is None or _TUPLE_ORIG not in found or _TUPLE_REPLY not in found:
        return None
    master = _ends(version, found[_TUPLE_MASTER]) if _TUPLE_MASTER in found else None
    zone = int.from_bytes(found.get(_ZONE, b""), "big")
    return Tracked(_ends(version, found[_TUPLE_ORIG]), _ends(version, found[_TUPLE_REPLY]), master, zone)


def _ends(version: int, packed: bytes) -> Ends:
    parts = wire.attributes(packed)
    addresses = wire.attributes(parts[_TUPLE_IP])
    proto = wire.attributes(parts[_TUPLE_PROTO])
    protocol = proto[_PROTO_NUMBER][0]
    ports = icmp = None
    if _PROTO_SOURCE_PORT in proto and _PROTO_DESTINATION_PORT in proto:
        ports = wire.read_be16(proto[_PROTO_SOURCE_PORT]), wire.read_be16(proto[_PROTO_DESTINATION_PORT])
    elif protocol in _PROTO_ICMP:
        kind, code = _PROTO_ICMP[protocol]
        icmp = proto[kind][0], proto[code][0]
    source, destination = addresses[_IP_SOURCE[version]], addresses[_IP_DESTINATION[version]]
    return Ends(rtnl.read_address(version, source), rtnl.read_address(version, destination), protocol, ports, icmp)


def end_flow(version: int, flow: Message) -> Request:
    """Delete the flow that a dump showed; its id is named, so that a younger flow of the same addresses survives."""
    found = wire.attributes(flow.body, _HEADER.size)
    body = _header(version) + wire.attr(_TUPLE_ORIG | wire.NESTED, found[_TUPLE_ORIG])
    for kind in (_ID, _ZONE):
        if kind in found:
            body += wire.attr(kind, found[kind])
    return Request(_DELETE, 0, body)


def concerns(flow: Tracked, addresses: Collection[Net]) -> bool:
    """Whether one of the addresses opened the flow, or is where it leads to."""
    return flow.original.source in addresses or flow.reply.source in addresses


def end_flows(connection: NetlinkSocket, flows: Sequence[Message]) -> int:
    """End these flows; how many there were.

    A flow that ended by itself meanwhile is no error. Raises NetlinkError for anything else, after having tried all.
    """
    requests = [end_flow(rtnl.version_of(flow.body[0]) or 4, flow) for flow in flows]
    failures = connection.send_batch(requests)
    for failure in failures.values():
        if failure.errno != errno.ENOENT:
            raise failure
    return len(flows) - len(failures)


def _header(version: int) -> bytes:
    return _HEADER.pack(rtnl.family_of(version), 0, 0)
