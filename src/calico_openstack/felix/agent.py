"""Felix: follows the datastore, thinks, programs the kernel, reports.

    etcd ─► AsyncMirror ─► Datastore (intake, Graph) ──┐ wake
    kernel events (links, routes, neighbours) ─────────┤            ┌─► EndpointReporter ─► etcd
    timers: resync, retry, heartbeat ──────────────────┴─► apply ───┴─► HostReporter ─────► etcd
                                                 (one step at a time, in the apply thread)

Start-up is a chain of signals: `store-in-sync`, `datastore-ready`, `first-apply`; nothing is written to the kernel
before the first two. Later loss of etcd changes nothing in the kernel. The loop steps at least every ten seconds, so
a heartbeat means that it can.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from calico_openstack.daemon import garbage, logs
from calico_openstack.daemon.health import Health
from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.tasks import Tasks
from calico_openstack.etcd.aio import AsyncClient
from calico_openstack.etcd.mirror import AsyncMirror
from calico_openstack.felix import listeners, old_region
from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.dataplane import Dataplane, DataplaneSettings, Report
from calico_openstack.felix.dataplane_settings import dataplane_settings
from calico_openstack.felix.datastore import Datastore
from calico_openstack.felix.kernel.sysctls import Sysctls
from calico_openstack.felix.resyncs import Resyncs
from calico_openstack.felix.running import Running
from calico_openstack.felix.settings import FelixSettings, Source, resolve
from calico_openstack.felix.settings_sources import datastore_sources
from calico_openstack.felix.status import EndpointReporter, HostReporter
from calico_openstack.felix.wanted.state import Changes
from calico_openstack.model.keys import RESOURCES

log = get_logger("felix")

COALESCE = 0.01
"""Seconds between two steps, at least."""
HEARTBEAT = 10.0
GIVE_UP = 90.0
"""Seconds of trouble without a pause after which a new process is better (upstream panics, too)."""
_PART = "dataplane"


class Unable(Exception):
    """Nothing can be done on this host."""


class Felix:
    """One agent. `local` are the host's own sources of settings, strong to weak."""

    def __init__(self, settings: FelixSettings, local: list[Source], health: Health) -> None:
        self._local = local
        self._health = health
        self._graph = Graph(settings.felix_hostname, allow_spoofing=settings.workload_source_spoofing)
        self._store = Datastore(self._graph)
        self._client = AsyncClient(settings.etcd)
        self._wake = asyncio.Event()
        self._in_sync = asyncio.Event()
        self._first_apply = asyncio.Event()
        self._freeze: str | None = None
        self._wake_at: float | None = None
        self._troubled: float | None = None
        self._rp_filter = Sysctls().read("ipv4/conf/default/rp_filter") or "1"
        self._has_ipv6 = Sysctls().read("ipv6/conf/all/forwarding") is not None
        self._reporter: EndpointReporter | None = None
        now = time.monotonic()
        self._running = Running(settings, health, self._store, started=now, last_step=now)
        self._running.origins = resolve(settings.felix_hostname, local).origins
        self._told: set[str] = set()
        self._hosts = 0
        self._part = health.register(_PART, timeout=_watchdog(settings))

    @property
    def settings(self) -> FelixSettings:
        return self._running.settings

    async def run(self) -> None:
        """For ever; raises when something that must not end has ended."""
        with ThreadPoolExecutor(1, thread_name_prefix="apply") as thread:
            async with Tasks() as tasks:
                tasks.start("datastore", self._follow())
                tasks.start("apply", self._apply(thread))
                tasks.start("report", self._report())
                listeners.start(tasks, self._running)
                await tasks.forever()

    async def _follow(self) -> None:
        """Take in the datastore."""
        mirror = self._running.mirror = AsyncMirror(self._client, RESOURCES)
        async for batch in mirror.batches():
            changed = await self._store.take_batch(batch.events)
            if changed or not self._in_sync.is_set():
                self._resolve_settings()
            if self._health.signal("store-in-sync"):
                log.info("store.in_sync", keys=len(batch.events), revision=batch.revision)
            self._running.snapshots += batch.in_sync
            self._doubt_name()
            self._in_sync.set()
            self._wake.set()

    def _resolve_settings(self) -> None:
        sources = datastore_sources(
            self._store.configurations.values(), self.settings.felix_hostname, self._store.node_labels
        )
        resolved = resolve(self.settings.felix_hostname, [*self._local, *sources])
        logs.set_level(resolved.settings.log_severity_screen)
        self._complain(resolved.problems, resolved.without_effect)
        self._running.use(resolved.settings, resolved.origins)
        self._graph.set_allow_spoofing(self.settings.workload_source_spoofing)
        self._part.timeout = _watchdog(self.settings)

    def _doubt_name(self) -> None:
        """Whenever the number of hosts with endpoints is another: are some of them ours, under another name?"""
        if self._hosts != self._store.census.hosts:
            self._hosts = self._store.census.hosts
            doubt = self._store.census.misnamed(self.settings.felix_hostname)
            if doubt is not None and doubt not in self._told:
                self._told.add(doubt)
                log.warning("host.name_in_doubt", reason=doubt)

    def _complain(self, problems: list[str], without_effect: list[str]) -> None:
        for problem in problems:
            if problem not in self._told:
                log.warning("setting.ignored", reason=problem)
        unknown = [name for name in without_effect if name not in self._told]
        if unknown:
            log.info("settings.without_effect", names=" ".join(unknown))
        self._told.update(problems, without_effect)

    async def _apply(self, thread: ThreadPoolExecutor) -> None:
        """Bring the kernel after the datastore, for ever."""
        loop = asyncio.get_running_loop()
        await self._wait_until_ready()
        try:
            dataplane = await loop.run_in_executor(thread, Dataplane, self._dataplane_settings())
        except PermissionError as error:
            raise Unable(
                "the kernel may not be programmed: run Felix as root, with CAP_NET_ADMIN and CAP_NET_RAW"
            ) from error
        self._running.dataplane = dataplane
        resyncs = Resyncs(time.monotonic())
        while True:
            self._wake.clear()
            changes = Changes() if self._frozen() else self._store.news()
            due = resyncs.due(self.settings, time.monotonic())
            step = partial(_step, dataplane, self._dataplane_settings(), changes, due)
            self._after(changes, *await loop.run_in_executor(thread, step))
            await self._sleep(dataplane.filenos(), dataplane.arrivals.filenos(), resyncs.wake_at())

    async def _wait_until_ready(self) -> None:
        if not self._has_ipv6:
            log.warning("ipv6.off", reason="the kernel has no IPv6 (ipv6.disable=1): only IPv4 is programmed")
        while not self._in_sync.is_set() or self._frozen():
            self._health.beat(_PART, self._freeze or "waits for etcd")
            # Told to wait, it does what it should, as upstream sees it.
            self._health.set_ready(_PART, self._freeze is not None)
            self._wake.clear()
            await self._wait(HEARTBEAT)
        self._health.set_ready(_PART, False)
        self._health.signal("datastore-ready")

    def _frozen(self) -> bool:
        """Whether the datastore says that nothing may be changed now; the kernel stays as it is meanwhile."""
        reason = self._store.not_ready
        if reason != self._freeze:
            self._freeze = reason
            if reason is None:
                log.info("datastore.ready")
            else:
                log.warning("datastore.not_ready", reason=reason)
        return reason is not None

    def _after(self, changes: Changes, report: Report, seconds: float) -> None:
        """Tell everybody what a step did."""
        running = self._running
        running.stepped(changes, report, seconds, time.monotonic())
        self._wake_at = report.wake_at
        if self._reporter is not None:
            self._reporter.exist(self._store.living, running.programmed)
            for key, up in report.statuses:
                self._reporter.say(key, up)
        if changes:
            self._explain_absences()
        done = {name: count for name, count in report.operations.items() if count}
        self._note_trouble(report)
        if report.trouble is None and self._health.signal("first-apply"):
            total = sum(report.operations.values())
            log.info("felix.resync", operations=total, **report.operations, endpoints=len(running.programmed))
            self._first_apply.set()
            garbage.settle()
        elif done:
            log.info("felix.applied", **done)
        amiss = f" trouble: {report.trouble.reason}" if report.trouble is not None else ""
        self._health.beat(_PART, running.line(len(report.failures)) + amiss)

    def _note_trouble(self, report: Report) -> None:
        """Not ready while a whole target cannot be worked on; Unable if that does not pass."""
        trouble = report.trouble
        self._health.set_ready(_PART, trouble is None)
        if trouble is None:
            self._troubled = None
            return
        now = time.monotonic()
        self._troubled = self._troubled if self._troubled is not None else now
        if now - self._troubled > GIVE_UP:
            raise Unable(f"for {GIVE_UP:g} s the kernel could not be programmed: {trouble.reason}")

    def _explain_absences(self) -> None:
        """Say once why an endpoint of this host that the datastore has is not programmed."""
        reasons = self._graph.reasons()
        for key, reason in reasons.items():
            if self._running.absences.get(key) != reason:
                log.warning("endpoint.absent", endpoint=key.endpoint, workload=key.workload, reason=reason)
        self._running.absences = reasons

    async def _sleep(self, events: Iterable[int], guests: Iterable[int], resync_at: float) -> None:
        """Until there is something to do: news from the datastore, the kernel or a guest, a retry, a resync, a
        heartbeat. What a guest says is not made to wait for more: its packets get lost meanwhile."""
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        urgent = asyncio.Event()
        # The apply thread drains the socket; until then the loop must not spin on it.
        for event in events:
            loop.add_reader(event, self._wake.set)
        for guest in guests:
            loop.add_reader(guest, self._hurry, urgent)
        try:
            until = min(resync_at, self._wake_at if self._wake_at is not None else math.inf)
            # A retry that is due already has just been made: not in a tight circle.
            await self._wait(min(HEARTBEAT, max(COALESCE, until - now)))
        finally:
            for event in (*events, *guests):
                loop.remove_reader(event)
        if not urgent.is_set():
            # What comes alone is done at once; what comes in a row waits for its company.
            await asyncio.sleep(max(0.0, now + COALESCE - time.monotonic()))

    def _hurry(self, urgent: asyncio.Event) -> None:
        urgent.set()
        self._wake.set()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _report(self) -> None:
        """Report from the first apply on; begin anew when a setting of reporting changes."""
        await self._first_apply.wait()
        while True:
            settings = self.settings
            async with Tasks() as tasks:
                self._start_reporters(tasks, settings)
                await self._running.unchanged(tasks, settings, _reporting)
                self._reporter = None
            left = settings.openstack_region
            if left != self.settings.openstack_region:
                await old_region.leave(self._client, left, settings.felix_hostname, self._store.living)

    def _start_reporters(self, tasks: Tasks, settings: FelixSettings) -> None:
        region, name = settings.openstack_region, settings.felix_hostname
        if settings.reporting_interval_secs:
            interval, ttl = settings.reporting_interval_secs, settings.reporting_ttl_secs
            host = HostReporter(self._client, region, name, interval, ttl, self._alive)
            tasks.start("host status", host.run())
        if settings.endpoint_reporting_enabled:
            reporter = self._reporter = EndpointReporter(self._client, region, name)
            reporter.exist(self._store.living, self._running.programmed)
            for key, up in self._running.statuses.items():
                reporter.say(key, up)
            reporter.complete()
            tasks.start("endpoint status, follow", reporter.follow())
            tasks.start("endpoint status, write", reporter.write())
            tasks.start("endpoint status, check", reporter.check())
        else:
            log.warning(
                "endpoints.not_reported", reason="EndpointReportingEnabled is false; ports will not become ACTIVE"
            )

    def _alive(self) -> bool:
        return time.monotonic() - self._running.last_step < _watchdog(self.settings)

    def _dataplane_settings(self) -> DataplaneSettings:
        return dataplane_settings(self.settings, self._rp_filter, self._has_ipv6)


def _step(dataplane: Dataplane, settings: DataplaneSettings, changes: Changes, due: set[str]) -> tuple[Report, float]:
    """In the apply thread; also says how many seconds it took. The first step of all reads everything anyway."""
    begun = time.monotonic()
    dataplane.use(settings)
    dataplane.resync(firewall="firewall" in due, host="host" in due)
    report = dataplane.step(changes, time.monotonic())
    return report, time.monotonic() - begun


def _watchdog(settings: FelixSettings) -> float:
    return max(20.0, settings.dataplane_watchdog_timeout)


def _reporting(settings: FelixSettings) -> tuple[object, ...]:
    """What the reporters are made from."""
    return (
        settings.openstack_region,
        settings.endpoint_reporting_enabled,
        settings.reporting_interval_secs,
        settings.reporting_ttl_secs,
    )
