"""Unicast routes of the main table that leave by a workload interface: a target for the reconciler.

With RemoveExternalRoutes (the default) every such route is ours, whoever made it, and unwanted ones are removed;
otherwise only those of our protocol are. Never ours: `fe80::/64`, other tables, routes without a device. A stranger's
route on an interface that wants nothing yet is left alone for ten seconds, because another component may be ahead of
the datastore; upstream does the same (felix/routetable/ownershippol). Needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from calico_openstack.daemon.reconcile import Changes
from calico_openstack.model.net import Net, parse_net
from calico_openstack.netlink.rtnl_routes import (
    TABLE_MAIN,
    UNICAST,
    Route,
    RouteEvent,
    delete_route,
    dump_routes,
    read_route,
    replace_route,
)
from calico_openstack.netlink.socket import NetlinkError, NetlinkSocket

GRACE = 10.0
"""Seconds for which a stranger's route stays on an interface that wants none."""

_LINK_LOCAL = parse_net("fe80::/64")
_GONE = {errno.ESRCH, errno.ENODEV, errno.ENETDOWN, errno.ENETUNREACH}


class RouteKey(NamedTuple):
    """What makes a route one of its own in our eyes; the kernel has room for one per destination, metric and TOS."""

    ifindex: int
    destination: Net
    metric: int
    tos: int = 0


def key_of(route: Route) -> RouteKey:
    return RouteKey(route.ifindex, route.destination, route.metric, route.tos)


class Routes:
    """`is_ours` tells a workload interface by its index, `wants` whether it has a route of ours coming."""

    name = "routes"

    def __init__(
        self,
        connection: NetlinkSocket,
        is_ours: Callable[[int], bool],
        wants: Callable[[int], bool],
        clock: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._is_ours = is_ours
        self._wants = wants
        self._clock = clock
        self._protocol = 3
        self._remove_external = True
        self._synced = True
        self._strangers: dict[RouteKey, float] = {}

    def use(self, protocol: int, remove_external: bool, synced: bool = True) -> None:
        """[DeviceRouteProtocol], [RemoveExternalRoutes], [not RouteSyncDisabled]: if not, no route is ours."""
        self._protocol = protocol
        self._synced = synced
        self._remove_external = remove_external

    def read(self) -> Mapping[RouteKey, Route]:
        """All routes of ours, without the strangers that still have grace."""
        now = self._clock()
        found: dict[RouteKey, Route] = {}
        strangers: dict[RouteKey, float] = {}
        for route in self._dump():
            key = key_of(route)
            if not self._wants(route.ifindex):
                since = self._strangers.get(key, now)
                if now < since + GRACE:
                    strangers[key] = since
                    continue
            found[key] = route
        self._strangers = strangers
        return found

    def present(self, ifindexes: Iterable[int]) -> set[Route]:
        """The routes of these interfaces as the kernel has them now: the proof that programming worked."""
        wanted = list(ifindexes)
        if len(wanted) <= 4:
            return {route for ifindex in wanted for route in self._of(ifindex)}
        return {route for route in self._dump() if route.ifindex in set(wanted)}

    def apply(self, changes: Changes[RouteKey, Route]) -> Mapping[RouteKey, str]:
        """Puts first: a prefix that moves to another interface is replaced in place, and its old route is then gone."""
        puts, deletes = list(changes.puts), list(changes.deletes)
        requests = [replace_route(changes.puts[key]) for key in puts]
        requests += [delete_route(self._spelled(key)) for key in deletes]
        keys = puts + deletes
        return {
            keys[index]: str(error)
            for index, error in self._connection.send_batch(requests).items()
            if index < len(puts) or error.errno not in _GONE
        }

    def wake_at(self) -> float | None:
        """When the grace of the first stranger ends, and the routes are to be read again."""
        return min((since + GRACE for since in self._strangers.values()), default=None)

    def is_candidate(self, route: Route) -> bool:
        """Whether the route is one that this target looks after."""
        return (
            self._synced
            and route.table == TABLE_MAIN
            and route.kind == UNICAST
            and route.ifindex != 0
            and route.destination != _LINK_LOCAL
            and (self._remove_external or route.protocol == self._protocol)
            and self._is_ours(route.ifindex)
        )

    def concerns(self, event: RouteEvent, wanted: Mapping[RouteKey, Route]) -> bool:
        """Whether the event says that things are not as wanted any more; echoes of our own writes do not."""
        if not self.is_candidate(event.route):
            return False
        mine = wanted.get(key_of(event.route))
        return mine is not None if event.deleted else mine != event.route

    def _of(self, ifindex: int) -> list[Route]:
        """The routes of one interface; none if it has just gone: that is news for the next step, not a fault."""
        try:
            return list(self._dump(ifindex))
        except NetlinkError as error:
            if error.errno != errno.ENODEV:
                raise
            return []

    def _dump(self, ifindex: int = 0) -> Iterable[Route]:
        for version in (4, 6):
            for message in self._connection.dump(dump_routes(version, ifindex=ifindex)):
                event = read_route(message)
                if event is not None and self.is_candidate(event.route):
                    yield event.route

    def _spelled(self, key: RouteKey) -> Route:
        # Scope "nowhere" (255) and protocol 0 match any; the destination, device, metric and TOS are what counts.
        scope = 255 if key.destination.version == 4 else 0
        return Route(key.destination, key.ifindex, key.metric, 0, scope, tos=key.tos)


def displaces(event: RouteEvent, mine: Route) -> bool:
    """Whether another's route may stand where ours should. When one is replaced, the kernel tells the new one alone,
    wherever that leads."""
    route = event.route
    here = (route.destination, route.table, route.metric, route.tos)
    return not event.deleted and route != mine and here == (mine.destination, mine.table, mine.metric, mine.tos)
