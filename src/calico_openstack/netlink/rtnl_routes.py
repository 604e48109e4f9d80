"""Routes (RTM_*ROUTE): add or replace, delete, list with the kernel's own filters, follow.

Comparing routes needs one spelling for each: IPv6 knows no scopes (the kernel reports 0), and turns metric 0 into 1024;
`Route` values made here and values read back are therefore equal when the kernel means the same.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from calico_openstack.model.net import Net
from calico_openstack.netlink import rtnl, wire
from calico_openstack.netlink.wire import Message, Request

_HEADER = struct.Struct("=BBBBBBBBI")
_DST, _OIF, _GATEWAY, _PRIORITY, _PREFSRC, _TABLE = 1, 4, 5, 6, 7, 15

TABLE_MAIN, TABLE_LOCAL = 254, 255
PROTOCOL_KERNEL, PROTOCOL_BOOT = 2, 3
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253
UNICAST = 1


class Route(NamedTuple):
    """One route. `ifindex` is 0 for a route without one device (blackhole, multipath); `metric` is the priority."""

    destination: Net
    ifindex: int
    metric: int = 0
    protocol: int = PROTOCOL_BOOT
    scope: int = SCOPE_UNIVERSE
    source: Net | None = None
    gateway: Net | None = None
    table: int = TABLE_MAIN
    kind: int = UNICAST
    tos: int = 0


class RouteEvent(NamedTuple):
    route: Route
    deleted: bool


def device_route(
    destination: Net, ifindex: int, *, metric: int, protocol: int = PROTOCOL_BOOT, source: Net | None = None
) -> Route:
    """A route to a neighbour on the link itself, in the spelling that the kernel reports back."""
    scope = SCOPE_LINK if destination.version == 4 else SCOPE_UNIVERSE
    return Route(destination, ifindex, metric, protocol, scope, source)


def replace_route(route: Route) -> Request:
    """Make it so: a route to the same destination with the same metric and TOS is replaced, whoever made it."""
    return Request(rtnl.NEWROUTE, wire.CREATE | wire.REPLACE, _body(route))


def delete_route(route: Route) -> Request:
    """Delete exactly this one. The kernel answers ESRCH when it is gone already."""
    return Request(rtnl.DELROUTE, 0, _body(route))


def dump_routes(version: int, *, table: int = TABLE_MAIN, ifindex: int = 0) -> Request:
    """The routes of one IP version in one table, of one device if `ifindex` is given.

    The filters work in the kernel if the socket is strict (NETLINK_GET_STRICT_CHK, Linux 4.20); readers must still
    check, because an older kernel sends everything.
    """
    body = _HEADER.pack(rtnl.family_of(version), 0, 0, 0, table if table < 256 else 0, 0, 0, 0, 0)
    if table >= 256:
        body += wire.u32(_TABLE, table)
    if ifindex:
        body += wire.u32(_OIF, ifindex)
    return Request(rtnl.GETROUTE, 0, body)


def read_route(message: Message) -> RouteEvent | None:
    """The route of a NEWROUTE or DELROUTE; None for other messages and other families."""
    if message.kind not in (rtnl.NEWROUTE, rtnl.DELROUTE):
        return None
    family, length, _, tos, table, protocol, scope, kind, _ = _HEADER.unpack_from(message.body)
    version = rtnl.version_of(family)
    if version is None:
        return None
    found = wire.attributes(message.body, _HEADER.size)
    route = Route(
        destination=rtnl.read_net(version, found.get(_DST, b""), length),
        ifindex=wire.read_u32(found[_OIF]) if _OIF in found else 0,
        metric=wire.read_u32(found[_PRIORITY]) if _PRIORITY in found else 0,
        protocol=protocol,
        scope=scope,
        source=rtnl.read_address(version, found[_PREFSRC]) if _PREFSRC in found else None,
        gateway=rtnl.read_address(version, found[_GATEWAY]) if _GATEWAY in found else None,
        table=wire.read_u32(found[_TABLE]) if _TABLE in found else table,
        kind=kind,
        tos=tos,
    )
    return RouteEvent(route, message.kind == rtnl.DELROUTE)


def _body(route: Route) -> bytes:
    net = route.destination
    table = route.table if route.table < 256 else 0
    body = _HEADER.pack(
        rtnl.family_of(net.version), net.length, 0, route.tos, table, route.protocol, route.scope, route.kind, 0
    )
    body += wire.attr(_DST, net.packed)
    if route.ifindex:
        body += wire.u32(_OIF, route.ifindex)
    if route.metric:
        body += wire.u32(_PRIORITY, route.metric)
    if route.source:
        body += wire.attr(_PREFSRC, route.source.packed)
    if route.gateway:
        body += wire.attr(_GATEWAY, route.gateway.packed)
    if route.table >= 256:
        body += wire.u32(_TABLE, route.table)
    return body
