"""One batch on the kernel, in the order that is safe at every instant. Lives in the apply thread.

    drain events             ─► links; drift marks wishes
    what is no longer wanted ─► routes go first, then the firewall forgets the endpoint, then its flows end
    what is narrower now     ─► right after the firewall, flows that nobody allows any more end (`flows`)
    what is newly wanted     ─► the firewall first, then sysctls, neighbours, and routes last
    read back                ─► status: "up" only if the tap carries, the firewall took the batch, and the kernel
                                shows the routes

An address that moves between taps loses its flows before it gets the new route. Its old route goes at once, unless
that tap's endpoint still has the address (a virtual one): then it is replaced in place. If the firewall cannot be
brought up to date, no route is added: an endpoint without protection is not reachable. What fails is retried with a
growing pause, alone. A crash at any line leaves a state from which the next start reads, compares and goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from calico_openstack.daemon.reconcile import Reconciler
from calico_openstack.daemon.retry import Failure, Retries
from calico_openstack.felix.arrivals import Arrivals
from calico_openstack.felix.disturbances import disturbed, unset
from calico_openstack.felix.firewall import Firewall
from calico_openstack.felix.flows import Flows
from calico_openstack.felix.interfaces import Interfaces
from calico_openstack.felix.kernel.access import KernelAccess
from calico_openstack.felix.kernel.neighbours import NeighbourKey, Neighbours
from calico_openstack.felix.kernel.routes import RouteKey, Routes
from calico_openstack.felix.kernel.shared_tables import Crowding
from calico_openstack.felix.own_interfaces import OwnInterfaces
from calico_openstack.felix.read_back import ReadBack
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.shaping import Shaping
from calico_openstack.felix.surroundings import Surroundings, has_ipv6
from calico_openstack.felix.switchover import SwitchOver
from calico_openstack.felix.sysctl_keeper import SysctlKeeper
from calico_openstack.felix.taps import Difference, Taps
from calico_openstack.felix.wanted.host import HostRules
from calico_openstack.felix.wanted.migration import Migrations
from calico_openstack.felix.wanted.narrowing import Narrowed, Narrowing
from calico_openstack.felix.wanted.state import Changes, Wanted
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import Net
from calico_openstack.netlink.rtnl_addresses import Address, dump_addresses, read_address
from calico_openstack.netlink.rtnl_routes import Route

K = TypeVar("K", RouteKey, NeighbourKey)
V = TypeVar("V", Route, str)

TARGETS = ("nft", "routes", "neighbours", "sysctls", "flows", "shaping", "upstream")
"""What a step counts its single operations by."""


@dataclass(frozen=True, slots=True)
class DataplaneSettings:
    ruleset: RulesetSettings = field(default_factory=RulesetSettings)
    host: HostRules = field(default_factory=HostRules)
    remove_external_routes: bool = True
    remove_upstream_rules: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """What one step did: single operations per target, and status changes in the order in which they happened.

    `failures`: what could not be done, by name. `trouble`: why nothing at all can be done with some target, since when.
    """

    operations: dict[str, int]
    statuses: list[tuple[EndpointKey, bool]]
    failures: dict[str, str]
    wake_at: float | None
    trouble: Failure | None = None


class Dataplane:
    """Everything in the kernel that Felix looks after. Times are monotonic seconds."""

    def __init__(
        self,
        settings: DataplaneSettings,
        clock: Callable[[], float] = time.monotonic,
        kernel: KernelAccess | None = None,
    ) -> None:
        self.settings = settings
        kernel = kernel or KernelAccess.open()
        self._connection = kernel.route
        self.events = kernel.events
        self._interfaces = Interfaces(self._connection, lambda name: self.settings.ruleset.is_tap(name))
        is_tap, is_tap_name = self._interfaces.is_tap, self._interfaces.is_tap_name
        # Public for who shows them (metrics, the debug socket), as whole copies: this thread goes on changing them.
        self.wanted = self._wanted = Wanted()
        self.firewall = self._firewall = Firewall(settings.ruleset, self._wanted, kernel.tables)
        self._migrations = Migrations(settings.host.convergence, settings.host.afterglow)
        self.taps = self._taps = Taps(
            settings.host, self._interfaces.carrying_tap, self._migrations.phase, self._migrations.has_departed
        )
        self._routes = Routes(self._connection, is_tap, lambda ifindex: self._taps.has_claims(ifindex), clock)
        self._routes.use(settings.host.protocol, settings.remove_external_routes, settings.host.program_routes)
        self._route_keeper = Reconciler[RouteKey, Route](self._routes)
        self._neighbour_keeper = Reconciler[NeighbourKey, str](Neighbours(self._connection, is_tap))
        self._sysctls = SysctlKeeper(kernel.sysctls, kernel.sysctl_watch, self._taps)
        self._narrowing = Narrowing()
        self._flows = Flows(self._wanted, self._host_addresses, kernel.conntrack, kernel.barred)
        self._own_interfaces = OwnInterfaces(self._wanted, self._list_addresses, self._interfaces.name_of, is_tap_name)
        self._shaping = Shaping(self._connection, is_tap_name)
        self._others = kernel.others
        self.crowding = Crowding()
        self.surroundings = self._surroundings = Surroundings(
            kernel.others, settings.ruleset.tap_prefixes, self._has_ipv6
        )
        self._switchover = SwitchOver(kernel.others, self._surroundings, is_tap_name, self._firewall.in_place)
        self._read_back = ReadBack(
            self._taps, self._firewall, self._routes, (self._route_keeper, self._neighbour_keeper)
        )
        self.arrivals = self._arrivals = Arrivals(
            self._wanted,
            self._taps,
            self._migrations,
            self._interfaces.links.by_name,
            self._routes.present,
            kernel.captures,
        )
        # What the next step has to do besides its changes.
        self._look_at: set[str] = set()
        self._watched: set[str] = set()
        self._owed_routes: dict[RouteKey, Route | None] = {}
        self._owed_neighbours: dict[NeighbourKey, str | None] = {}
        self._owed_releases: set[Net] = set()
        self._departed: set[Net] = set()
        self._counts = dict.fromkeys(TARGETS, 0)

    def resync(self, firewall: bool = True, host: bool = True) -> None:
        """Read back at the next step: the firewall; links, routes, neighbours and sysctls."""
        if firewall:
            self._firewall.drifted()
            self._surroundings.drifted()
        if host:
            self._interfaces.doubt()
            self._own_interfaces.happened()
            self._hosts_drifted()
            self._shaping.drifted()
            self._look_at |= self._taps.owners.keys()

    def use(self, settings: DataplaneSettings) -> None:
        """Other settings, in effect with the next step."""
        if settings == self.settings:
            return
        if settings.ruleset != self.settings.ruleset:
            self._firewall.use(settings.ruleset)
            self._flows.everything_changed()
        self.settings = settings
        self._surroundings.use(settings.ruleset.tap_prefixes)
        self._routes.use(settings.host.protocol, settings.remove_external_routes, settings.host.program_routes)
        self._migrations.use(settings.host.convergence, settings.host.afterglow)
        self._owe(self._taps.use(settings.host))
        self.resync(firewall=False)

    def step(self, changes: Changes, now: float) -> Report:
        """Bring the kernel to the wanted state as changed by `changes`. Never raises for what the kernel did."""
        self._counts = dict.fromkeys(TARGETS, 0)
        flows, writes = self._flows.ended, self._sysctls.operations
        if changes:
            self._flows.changed(self._narrowing.update(self._wanted, changes))
        self._wanted.apply(changes)
        changed, flapped = self._observe(now)
        self._own_interfaces.settle(changes, now)
        statuses = self._read_back.interrupted(flapped)
        self._read_back.forget(changes.endpoints_removed)
        changed |= self._arrivals.update(changes, now)
        self._owe(self._taps.update(changes, changed))
        self._owe(self._arrivals.claims(now))
        dirty = self._look_at | set(self._read_back.failures.due(now))
        self._look_at = set()

        self._withdraw(now)
        protected = self._protect(changes, now)
        self._recover(now)
        moved = {net for net in self._owed_releases if self._taps.is_routed(net)}
        self._flows.release(self._owed_releases, now, self._taps.is_routed)
        self._flows.depart(self._departed, self._taps.is_wanted, now)
        self._departed = set()
        if protected:
            # Before the neighbours, which tell a next process what this one had not done yet.
            self._judge(now)
        failures = self._sysctls.apply(self.settings.host, dirty)
        self._shape(dirty, now)
        self._want(self._neighbour_keeper, self._owed_neighbours)
        self._counts["neighbours"] += self._neighbour_keeper.step(now).operations
        if protected:
            self._counts["routes"] += self._route_keeper.step(now).operations
            # Until then the firewall, or the old route of a virtual address, may have let a packet begin a flow anew.
            self._owed_releases = set()
            if moved:
                self._flows.release(moved, now)
            self._look_around(now)
        # After the routes: to close a packet socket takes the kernel some 15 ms.
        self._arrivals.listen(self._watched, now)
        self._watched = set()
        statuses += self._read_back.prove(dirty, protected, failures, now)
        self._counts["flows"] = self._flows.ended - flows
        self._counts["sysctls"] = self._sysctls.operations - writes
        failed = {name: failure.reason for name, failure in self._read_back.failures} | self._shaping.failures
        failed |= {name: failure.reason for name, failure in self._switchover.failures}
        failed |= self._sysctls.unset
        return Report(self._counts, statuses, failed, self._wake_at(), self._trouble())

    def ledgers(self) -> dict[str, Retries[Any]]:
        """What failed and waits for its next try, by kind."""
        routes, neighbours = self._route_keeper, self._neighbour_keeper
        return {
            "interface": self._read_back.failures,
            "all interfaces": self._interfaces.failures,
            "addresses": self._own_interfaces.failures,
            **self._firewall.ledgers(),
            "route": routes.failures,
            "all routes": routes.trouble,
            "neighbour": neighbours.failures,
            "all neighbours": neighbours.trouble,
            **self._shaping.ledgers(),
            **self._flows.ledgers(),
            "switch-over": self._switchover.failures,
        }

    def close(self) -> None:
        parts = self._connection, self.events, self._firewall, self._flows, self._sysctls, self._others, self._arrivals
        for part in parts:
            if part is not None:
                part.close()

    def filenos(self) -> tuple[int, ...]:
        """One of them is readable when something happened on this host, apart from what guests say."""
        return *self.events.filenos(), *self._sysctls.filenos()

    def _observe(self, now: float) -> tuple[set[str], set[str]]:
        """Take in what the kernel says: links, and marks for what others did to routes and neighbours."""
        happened = self.events.drain()
        if happened.lost:
            self.resync(firewall=False)
        if happened.nft:
            self._firewall.somebody_committed()
        if happened.others:
            self._surroundings.happened()
        if happened.addresses or happened.links or happened.lost:
            self._own_interfaces.happened()
        self._interfaces.update(happened.links, now)
        grace = self._routes.wake_at()
        if grace is not None and grace <= now:
            self._hosts_drifted()
        self._look_at.update(unset(happened, self._taps, self._interfaces.name_of) | self._sysctls.disturbed())
        for ifindex in disturbed(happened, self._routes, self._taps):
            self._hosts_drifted()
            name = self._interfaces.name_of(ifindex)
            if name is not None:
                self._look_at.add(name)
        changed, flapped = self._interfaces.links.take_changes()
        self._shaping.happened(happened.shaped, self._interfaces.name_of, changed)
        if flapped & self._taps.programmed.keys():
            self._hosts_drifted()
        return {name for name in changed if self._interfaces.is_tap_name(name)}, flapped

    def _trouble(self) -> Failure | None:
        """The oldest of what keeps a whole target from being read or written."""
        ledgers = (
            self._firewall.whole,
            self._interfaces.failures,
            self._route_keeper.trouble,
            self._neighbour_keeper.trouble,
        )
        found = [failure for ledger in ledgers for _, failure in ledger]
        return min(found, key=lambda failure: failure.since, default=None)

    def _owe(self, difference: Difference) -> None:
        self._owed_routes.update(difference.routes)
        self._owed_neighbours.update(difference.neighbours)
        self._owed_releases |= difference.released
        self._departed |= difference.departed
        if difference.inherited:
            self._flows.changed(Narrowed(dict(difference.inherited)))
        self._look_at |= difference.interfaces
        self._watched |= difference.watched

    def _withdraw(self, now: float) -> None:
        """Remove the routes that no tap gets any more, and those to taps whose endpoint has lost the address."""
        self._want(self._route_keeper, self._owed_routes)
        self._counts["routes"] += self._route_keeper.withdraw(now, self._stays).operations

    def _stays(self, key: RouteKey) -> bool:
        """Whether an unwanted route may lead there until its replacement is made: then no packet gets lost."""
        return self._taps.claims(key.ifindex, key.destination)

    def _protect(self, changes: Changes, now: float) -> bool:
        before, troubled = self._firewall.operations, self._firewall.trouble is not None
        refused = self._firewall.refused.keys()
        protected = self._firewall.step(changes, now)
        self._counts["nft"] += self._firewall.operations - before
        if protected and (troubled or self._firewall.refused.keys() != refused):
            self._look_at |= self._taps.owners.keys()
        return protected

    def _recover(self, now: float) -> None:
        """What a former process owed and did not get to: its flows must end before the next owner gets a route."""
        if self._firewall.former is None:
            return
        routes, neighbours = self._route_keeper.look(now), self._neighbour_keeper.look(now)
        if routes is not None and neighbours is not None:
            former, self._firewall.former = self._firewall.former, None
            self._owed_releases |= former.released(self._taps, routes, neighbours)
            self._flows.changed(Narrowed(nats=former.nats_gone(self._wanted, self._taps, neighbours)))

    def _judge(self, now: float) -> None:
        transactions = self._flows.transactions
        self._flows.judge(self.settings.ruleset, now)
        self._firewall.others_committed(self._flows.transactions - transactions)

    def _has_ipv6(self) -> bool:
        return self.settings.host.ipv6 and has_ipv6(self._wanted.endpoints.values())

    def _look_around(self, now: float) -> None:
        """With ours in place: take the host over from upstream, and see who else filters here."""
        if self.settings.remove_upstream_rules:
            self._counts["upstream"] += self._switchover.step(now)
        self._surroundings.step(now)
        self.crowding.step(now)

    def _host_addresses(self) -> set[Net]:
        return {address.address for address in self._list_addresses()}

    def _list_addresses(self) -> list[Address]:
        found = (read_address(message) for message in self._connection.dump(dump_addresses()))
        return [event.address for event in found if event is not None]

    def _shape(self, dirty: set[str], now: float) -> None:
        for name in dirty:
            owner = self._taps.owners.get(name)
            link = self._interfaces.links.by_name.get(name) if self._interfaces.is_tap_name(name) else None
            self._shaping.update(name, link, owner.qos if owner is not None else None)
        self._counts["shaping"] += self._shaping.step(now)

    def _want(self, keeper: Reconciler[K, V], owed: dict[K, V | None]) -> None:
        for key, value in owed.items():
            keeper.want(key, value)
        owed.clear()

    def _hosts_drifted(self) -> None:
        """Somebody may have changed routes or neighbours."""
        self._route_keeper.drifted()
        self._neighbour_keeper.drifted()

    def _wake_at(self) -> float | None:
        # What waits for the firewall, or for the list of routes, is due when these are.
        unprotected = self._firewall.trouble is not None
        times = [
            self._firewall.wake_at(),
            None if unprotected else self._route_keeper.wake_at(),
            self._neighbour_keeper.wake_at(),
            self._read_back.failures.wake_at(),
            self._own_interfaces.failures.wake_at(),
            self._interfaces.failures.wake_at(),
            None if self._route_keeper.trouble else self._routes.wake_at(),
            self._flows.wake_at(),
            self._shaping.wake_at(),
            None if unprotected else self._surroundings.wake_at(),
            None if unprotected else self._switchover.wake_at(),
            self._arrivals.wake_at(),
            0.0 if self._look_at else None,
        ]
        return min((at for at in times if at is not None), default=None)
