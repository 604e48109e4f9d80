"""Who else filters packets on this host: read at the start and when others change their tables, told once each.

Felix writes nothing here. The old ip_tables send no events: they are read at the start, at each refresh of the firewall
and while something of the upstream Felix is to be removed. Lives in the apply thread; `obstacles` is replaced as a
whole, for who shows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from calico_openstack.daemon.logs import get_logger
from calico_openstack.felix import obstacles as judge
from calico_openstack.felix import upstream
from calico_openstack.felix.foreign import ForeignChain, ForeignTable, by_place, without
from calico_openstack.felix.kernel.others import Others
from calico_openstack.felix.obstacles import Obstacle
from calico_openstack.felix.upstream import Leftovers, leftovers
from calico_openstack.felix.wanted.state import WantedEndpoint

log = get_logger("felix.surroundings")

PAUSE = 10.0
"""Seconds between two readings, however often others change their tables."""


class Surroundings:
    """`prefixes` begin the names of guests' interfaces; without `others` nothing is looked at.

    `upstream`: what of it was there at the last reading; one that serves other interfaces than guests' is none of our
    business. `has_ipv6`: whether a guest here has IPv6; if none does, nobody misses it.
    """

    def __init__(self, others: Others | None, prefixes: Iterable[str], has_ipv6: Callable[[], bool]) -> None:
        self.obstacles: tuple[Obstacle, ...] = ()
        self.upstream = Leftovers()
        self.upstream_removed = False
        self.upstream_serves_others = False
        self._others = others
        self._has_ipv6 = has_ipv6
        self._prefixes = tuple(prefixes)
        self._legacy: list[ForeignChain] = []
        self._changed = self._legacy_due = True
        self._read_at = -math.inf
        self._unread = ""

    def use(self, prefixes: Iterable[str]) -> None:
        if tuple(prefixes) != self._prefixes:
            self._prefixes = tuple(prefixes)
            self._changed = True

    def happened(self) -> None:
        """Somebody else changed tables or chains: look at the next step that is due."""
        self._changed = True

    def drifted(self) -> None:
        """Look at everything at the next step that is due."""
        self._changed = self._legacy_due = True

    def step(self, now: float) -> None:
        """Look, if there is a reason. Never raises for what the kernel did: this is only for people."""
        if self._others is None or not self._changed or now < self._read_at + PAUSE:
            return
        self._changed, self._read_at = False, now
        try:
            self.read(self._others, legacy=self._legacy_due, whole=False)
            self._unread = ""
        except OSError as error:
            if str(error) != self._unread:
                self._unread = str(error)
                log.warning("others.unread", reason=self._unread)
            self._changed = True

    def read(self, others: Others, legacy: bool = True, whole: bool = True) -> None:
        """Look now. OSError if something cannot be read."""
        tables, chains = others.tables(whole)
        if legacy:
            self._legacy = others.legacy_chains(whole)
            self._legacy_due = False
        self._judge(tables, [*chains, *self._legacy])

    def _judge(self, tables: list[ForeignTable], chains: list[ForeignChain]) -> None:
        self.upstream = leftovers(tables, chains)
        served = upstream.served(self.upstream, chains)
        elsewhere = served and not any(map(self._overlaps, served))
        if elsewhere:
            self.upstream = Leftovers()
        if elsewhere and not self.upstream_serves_others:
            log.info("switchover.not_ours", reason=f"an upstream Felix serves {', '.join(sorted(served))} on this host")
        self.upstream_serves_others = bool(elsewhere)
        rules = {place: set(addresses) for place, addresses in self.upstream.rules.items()}
        others = {
            place: chain
            for place, chain in without(by_place(chains), set(self.upstream.chains), rules).items()
            if ForeignTable(place.family, place.table) not in self.upstream.tables
        }
        if not self._has_ipv6():
            others = {place: chain for place, chain in others.items() if place.family != "ip6"}
        found = judge.obstacles(others, self._prefixes, self.upstream.rules)
        if self.upstream_removed:
            found += judge.upstream_runs(self.upstream)
        for one in found:
            if one not in self.obstacles:
                log.warning("others.in_the_way", where=one.where, reason=one.why, cure=one.cure)
        for one in self.obstacles:
            if one not in found:
                log.info("others.out_of_the_way", where=one.where)
        self.obstacles = tuple(found)

    def _overlaps(self, served: str) -> bool:
        return any(prefix.startswith(served) or served.startswith(prefix) for prefix in self._prefixes)

    def wake_at(self) -> float | None:
        return self._read_at + PAUSE if self._changed and self._others is not None else None


def has_ipv6(endpoints: Iterable[WantedEndpoint]) -> bool:
    """Whether one of them has an IPv6 address."""
    return any(net.version == 6 for endpoint in endpoints for net in endpoint.addresses)
