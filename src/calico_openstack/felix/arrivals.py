"""Guests that arrive here, and guests that take an address over from another: who has which routes then.

    roles (Changes) ──► Migrations ◄── time
                            │   ▲ "it speaks"
                            ▼   │
      Taps ──► watch ──► Captures ──► "this address is mine" ──► Taps.claimed

What a former process knew is found again, once, by the routes that it left: an elevated metric says that a guest has
arrived, and a route says who had claimed a virtual address. Lives in the apply thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from calico_openstack.daemon.logs import get_logger
from calico_openstack.felix.kernel.captures import Captures
from calico_openstack.felix.taps import Difference, Taps
from calico_openstack.felix.wanted.migration import Migrations, Progress
from calico_openstack.felix.wanted.state import Changes, Wanted, WantedEndpoint
from calico_openstack.felix.wanted.watch import Watch
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import Net
from calico_openstack.netlink.rtnl_links import Link
from calico_openstack.netlink.rtnl_routes import Route

log = get_logger("felix.arrivals")

PAUSE = 0.5
"""Seconds for which the others are not heard after one has claimed an address: two guests that claim it in turns must
not keep the host busy, since each change ends flows."""


class Arrivals:
    """`routes(ifindexes)` reads the routes of taps from the kernel, `links` are the interfaces by name. Without
    `captures` guests are not heard."""

    def __init__(
        self,
        wanted: Wanted,
        taps: Taps,
        migrations: Migrations,
        links: Mapping[str, Link],
        routes: Callable[[Iterable[int]], set[Route]],
        captures: Captures | None,
    ) -> None:
        self._wanted = wanted
        self._taps = taps
        self._migrations = migrations
        self._links = links
        self._routes = routes
        self._captures = captures
        self._begun = False
        self._claims: dict[str, set[Net]] = {}
        self._muted: dict[str, float] = {}

    def update(self, changes: Changes, now: float) -> set[str]:
        """Take in what the datastore, the guests and time say; interfaces whose endpoint wants other routes by it.

        To be called after `changes` have been applied to what is wanted, before the taps take them in.
        """
        if self._begun:
            turned = self._migrations.update(changes, now)
        else:
            turned = self._migrations.update(changes, now, recall(self._taps, self._links, self._left()))
            self._begun = True
        for interface, heard in self._captures.hear() if self._captures is not None else ():
            owner = self._taps.owners.get(interface)
            if heard.running and owner is not None and self._migrations.arrive(owner.key, now):
                log.info("guest.arrived", interface=interface)
                turned.add(owner.key)
            if heard.claimed:
                self._claims.setdefault(interface, set()).update(heard.claimed)
        turned |= self._migrations.expire(now)
        return set(self._interfaces(turned))

    def claims(self, now: float) -> Difference:
        """What changes by the addresses that guests have claimed. To be called after the taps took the changes in."""
        difference = Difference()
        for interface, nets in self._claims.items():
            won = self._taps.claimed(interface, nets)
            for net in {key.destination for key, route in won.routes.items() if route is not None}:
                log.info("address.claimed", interface=interface, address=net.address)
            difference.merge(won)
            self._muted.update(dict.fromkeys(won.watched, now + PAUSE))
        self._claims.clear()
        return difference

    def listen(self, interfaces: Iterable[str], now: float) -> None:
        """Listen on these taps for what would change something now, and no longer for what would not."""
        if self._captures is None:
            return
        for interface in {*interfaces, *self._captures.failures.due(now), *self._captures.waiting()}:
            programmed = self._taps.programmed.get(interface)
            ifindex = programmed.ifindex if programmed is not None else 0
            self._captures.listen(interface, ifindex, self._taps.watch(interface), now)
        for interface, until in list(self._muted.items()):
            self._captures.mute(interface, now < until)
            if now >= until:
                del self._muted[interface]
        self._captures.end_some()

    def moving(self) -> dict[EndpointKey, Progress]:
        """Endpoints whose guest comes, has just come, or goes. A copy, for who shows it."""
        return self._migrations.moving()

    def listening(self) -> dict[str, Watch]:
        """What guests are listened to for, by interface. A copy, for who shows it."""
        return self._captures.watching() if self._captures is not None else {}

    def wake_at(self) -> float | None:
        retry = self._captures.wake_at() if self._captures is not None else None
        times = (self._migrations.wake_at(), retry, *self._muted.values())
        return min((at for at in times if at is not None), default=None)

    def filenos(self) -> tuple[int, ...]:
        """Files that are readable when a guest has said something that should have an effect at once."""
        return (self._captures.fileno(),) if self._captures is not None else ()

    def close(self) -> None:
        if self._captures is not None:
            self._captures.close()

    def _left(self) -> set[Route]:
        """What a former process left. If that cannot be read, a guest that has arrived shows it again by its next
        packet."""
        try:
            return self._routes([link.ifindex for link in self._links.values()])
        except OSError as error:
            log.warning("routes.unread", reason=str(error))
            return set()

    def _interfaces(self, turned: Iterable[EndpointKey]) -> Iterable[str]:
        for key in turned:
            endpoint = self._wanted.endpoints.get(key)
            if endpoint is not None:
                log.info("migration.phase", interface=endpoint.interface, phase=self._migrations.phase(key).value)
                yield endpoint.interface


def recall(taps: Taps, links: Mapping[str, Link], left: Iterable[Route]) -> Callable[[WantedEndpoint], bool]:
    """Tell the taps who had which address, by the routes that a former process left; the answer says whether an
    endpoint has elevated routes."""
    # Of two routes to one address the kernel uses the one with the lower metric.
    best = sorted(left, key=lambda route: route.metric, reverse=True)
    taps.found({route.destination: route.ifindex for route in best if route.destination.is_host})
    rules = taps.rules
    elevated = {
        (route.ifindex, route.destination)
        for route in best
        if route.metric == rules.metric(route.destination.version, elevated=True)
        and route.metric != rules.metric(route.destination.version)
    }

    def is_elevated(endpoint: WantedEndpoint) -> bool:
        link = links.get(endpoint.interface)
        return link is not None and any((link.ifindex, net) in elevated for net in endpoint.addresses)

    return is_elevated
