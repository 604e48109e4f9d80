"""The rtnetlink door of a kernel in memory: links, routes, neighbours, traffic control.

Takes the requests that `netlink` writes, reads them with its readers, answers dumps with messages that they read.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from calico_openstack.netlink import rtnl, traffic_control, wire
from calico_openstack.netlink.rtnl_links import LinkEvent
from calico_openstack.netlink.rtnl_neighbours import PERMANENT, Neighbour, NeighbourEvent, read_neighbour
from calico_openstack.netlink.rtnl_neighbours import replace_neighbour as neighbour_request
from calico_openstack.netlink.rtnl_routes import Route, RouteEvent, read_route
from calico_openstack.netlink.rtnl_routes import replace_route as route_request
from calico_openstack.netlink.socket import NetlinkError
from calico_openstack.netlink.traffic_control import INGRESS, ROOT
from calico_openstack.netlink.wire import Message, Request

if TYPE_CHECKING:
    from calico_openstack.testing.fake_kernel import FakeKernel

_LINK = struct.Struct("=BxHiII")
_TC = struct.Struct("=BxxxiIII")
_ADDRESS, _NAME, _MTU, _INFO = 1, 3, 4, 18
_OIF = 4
_UP, _RUNNING = 0x1, 0x40
_ANY_SCOPE = 255


class FakeRouteSocket:
    """Stands in for a strict `NetlinkSocket(ROUTE)`."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def close(self) -> None:
        pass

    def request(self, request: Request) -> list[Message]:
        self._fail(request)
        self._do(request)
        self._kernel.did()
        return []

    def send_batch(self, requests: Sequence[Request]) -> dict[int, NetlinkError]:
        failures: dict[int, NetlinkError] = {}
        for index, request in enumerate(requests):
            try:
                self.request(request)
            except NetlinkError as error:
                failures[index] = error
        return failures

    def dump(self, request: Request) -> list[Message]:
        self._fail(request)
        kernel = self._kernel
        match request.kind:
            case rtnl.GETLINK:
                return [self._link(index) for index in kernel.links]
            case rtnl.GETROUTE:
                device = wire.attributes(request.body, 12).get(_OIF)
                wanted = wire.read_u32(device) if device else 0
                return [
                    Message(rtnl.NEWROUTE, 0, 0, route_request(route).body)
                    for route in kernel.routes.values()
                    if rtnl.family_of(route.destination.version) == request.body[0] and wanted in (0, route.ifindex)
                ]
            case rtnl.GETNEIGH:
                return [
                    Message(rtnl.NEWNEIGH, 0, 0, neighbour_request(Neighbour(address, index, mac)).body)
                    for (index, address), mac in kernel.neighbours.items()
                    if rtnl.family_of(address.version) == request.body[0]
                ]
            case traffic_control.GETQDISC:
                return [Message(traffic_control.NEWQDISC, 0, 0, body) for body in kernel.qdiscs.values()]
            case traffic_control.GETFILTER:
                device = _TC.unpack_from(request.body)[1]
                return [
                    Message(traffic_control.NEWFILTER, 0, 0, body)
                    for (index, _), body in kernel.filters.items()
                    if index == device
                ]
            case rtnl.GETADDR:
                return []
        raise AssertionError(f"nobody has taught this kernel to list {request.kind}")

    def _fail(self, request: Request) -> None:
        if code := self._kernel.fails(request):
            raise NetlinkError(code)

    def _do(self, request: Request) -> None:
        message = Message(request.kind, 0, 0, request.body)
        if (route := read_route(message)) is not None:
            self._route(route)
        elif (neighbour := read_neighbour(message)) is not None:
            self._neighbour(neighbour)
        elif request.kind in (rtnl.NEWLINK, rtnl.DELLINK):
            self._change_link(request)
        elif request.kind in (traffic_control.NEWQDISC, traffic_control.DELQDISC):
            self._qdisc(request)
        elif request.kind in (traffic_control.NEWFILTER, traffic_control.DELFILTER):
            self._filter(request)
        else:
            raise AssertionError(f"nobody has taught this kernel to do {request.kind}")

    def _route(self, event: RouteEvent) -> None:
        routes, route = self._kernel.routes, event.route
        key = (route.destination, route.metric, route.tos)
        if not event.deleted:
            self._present(route.ifindex)
            routes[key] = route
        elif key in routes and routes[key].ifindex == route.ifindex and _matches(routes[key], route):
            event = RouteEvent(routes.pop(key), deleted=True)
        else:
            raise NetlinkError(errno.ESRCH)
        self._kernel.happened.routes.append(event)

    def _neighbour(self, event: NeighbourEvent) -> None:
        entry = event.neighbour
        self._present(entry.ifindex)
        key = (entry.ifindex, entry.address)
        if not event.deleted:
            self._kernel.neighbours[key] = entry.mac
        elif self._kernel.neighbours.pop(key, None) is None:
            raise NetlinkError(errno.ENOENT)
        self._kernel.happened.neighbours.append(NeighbourEvent(entry._replace(state=PERMANENT), event.deleted))

    def _change_link(self, request: Request) -> None:
        kernel = self._kernel
        _, _, index, flags, change = _LINK.unpack_from(request.body)
        found = wire.attributes(request.body, _LINK.size)
        if request.kind == rtnl.DELLINK:
            self._present(index)
            kernel.unplug(kernel.name_of(index))
            return
        if request.flags & wire.CREATE:
            name = wire.read_text(found[_NAME])
            if kernel.index_of(name) is not None:
                raise NetlinkError(errno.EEXIST)
            kind = wire.read_text(wire.attributes(found[_INFO])[1])
            index = kernel.plug(name, kind, wire.read_u32(found[_MTU]))
            kernel.links[index] = kernel.links[index]._replace(up=False, running=False)
        self._present(index)
        if change & _UP:
            up = bool(flags & _UP)
            kernel.links[index] = kernel.links[index]._replace(up=up, running=up)
        elif _MTU in found:
            kernel.links[index] = kernel.links[index]._replace(mtu=wire.read_u32(found[_MTU]))
        kernel.happened.links.append(LinkEvent(kernel.links[index], deleted=False))

    def _qdisc(self, request: Request) -> None:
        kernel = self._kernel
        _, index, handle, parent, _ = _TC.unpack_from(request.body)
        self._present(index)
        key = (index, parent)
        if request.kind == traffic_control.NEWQDISC:
            if request.flags & wire.EXCLUSIVE and key in kernel.qdiscs:
                raise NetlinkError(errno.EEXIST)
            kernel.qdiscs[key] = request.body
        else:
            known = kernel.qdiscs.get(key)
            if known is None or (parent == ROOT and _TC.unpack_from(known)[2] != handle):
                raise NetlinkError(errno.ENOENT)
            del kernel.qdiscs[key]
            if parent == INGRESS:
                for filter_ in [one for one in kernel.filters if one[0] == index]:
                    del kernel.filters[filter_]
        kernel.happened.shaped.add(index)

    def _filter(self, request: Request) -> None:
        kernel = self._kernel
        family, index, _, parent, info = _TC.unpack_from(request.body)
        self._present(index)
        key = (index, info >> 16)
        if (index, INGRESS) not in kernel.qdiscs:
            raise NetlinkError(errno.EINVAL)
        if request.kind == traffic_control.NEWFILTER:
            if key in kernel.filters:
                raise NetlinkError(errno.EEXIST)
            # The kernel gives the filter a handle.
            kernel.filters[key] = _TC.pack(family, index, 1, parent, info) + request.body[_TC.size :]
        elif kernel.filters.pop(key, None) is None:
            raise NetlinkError(errno.ENOENT)
        kernel.happened.shaped.add(index)

    def _present(self, index: int) -> None:
        if index not in self._kernel.links:
            raise NetlinkError(errno.ENODEV)

    def _link(self, index: int) -> Message:
        link = self._kernel.links[index]
        flags = (_UP if link.up else 0) | (_RUNNING if link.running else 0)
        body = _LINK.pack(rtnl.AF_UNSPEC, 0, index, flags, 0) + wire.text(_NAME, link.name) + wire.u32(_MTU, link.mtu)
        body += wire.attr(_ADDRESS, bytes.fromhex(link.mac.replace(":", "")))
        return Message(rtnl.NEWLINK, 0, 0, body + wire.nest(_INFO, wire.text(1, self._kernel.kinds[index])))


def _matches(known: Route, asked: Route) -> bool:
    """Scope "nowhere" and protocol 0 match any (fib_table_delete, ip6_route_del)."""
    scope = asked.scope in (_ANY_SCOPE, known.scope) or asked.destination.version == 6
    return scope and asked.protocol in (0, known.protocol)
