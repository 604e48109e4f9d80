"""The DHCP agent of one host: wiring.

```
    etcd mirror ──► store ─┐ marks
    tap events ────────────┼──► debounce ──► render ──► tap addresses ──► files, reload ──► advertisements
    every 30 s ────────────┘    50..500 ms   (pure)     (netlink)         (two dnsmasq)     (raw socket)
                                                └─► problems: logged once when they come and once when they go
```

The order matters: the tap's address first, because dnsmasq is deaf on an interface without one. Everything that was
served before the agent ended is served while it is away; nothing is removed before the first snapshot from etcd,
unless etcd stays away for `BOOT_PATIENCE`: then the last documents on disk are served.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from calico_openstack.daemon.health import Health, serve
from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.tasks import Tasks
from calico_openstack.dhcp import known
from calico_openstack.dhcp.command import Place, command4, command6
from calico_openstack.dhcp.debounce import Debounce
from calico_openstack.dhcp.dnsmasq import Dnsmasq
from calico_openstack.dhcp.files import locked, open_directory
from calico_openstack.dhcp.grants import owners4, owners6
from calico_openstack.dhcp.problems import Problem
from calico_openstack.dhcp.radv import RouterAdvertiser
from calico_openstack.dhcp.render import render
from calico_openstack.dhcp.settings import DhcpSettings
from calico_openstack.dhcp.store import Store, prefixes
from calico_openstack.dhcp.taps import Taps
from calico_openstack.etcd.aio import AsyncClient
from calico_openstack.etcd.errors import EtcdError
from calico_openstack.etcd.lease import AsyncKeptKey
from calico_openstack.etcd.mirror import AsyncMirror
from calico_openstack.model.keys import DhcpStatusKey
from calico_openstack.model.status import HostStatus, encode_status
from calico_openstack.netlink.socket import Overrun

log = get_logger("dhcp.agent")

BOOT_PATIENCE = 3.0
RESYNC = 30.0
AFTER_FAILURE = 1.0
REPORT_EVERY = 30.0
REPORT_LIFE = 90


class DhcpAgent:
    """`run` never ends by itself. Needs CAP_NET_ADMIN, CAP_NET_RAW, and to start dnsmasq as root."""

    def __init__(self, settings: DhcpSettings) -> None:
        self._settings = settings
        serving, region, binary = settings.serving, settings.calico.region, settings.dnsmasq
        place4, place6 = Place(settings.state_directory / "v4"), Place(settings.state_directory / "v6")
        self._dnsmasq4 = Dnsmasq("v4", place4, command4(binary, place4, serving, settings.verbose))
        self._dnsmasq6 = Dnsmasq("v6", place6, command6(binary, place6, serving, region, settings.verbose))
        self._known = settings.state_directory / "known.json"
        self._client = AsyncClient(settings.calico.etcd)
        self._mirror = AsyncMirror(self._client, prefixes(settings.calico.host, region))
        self._store = Store()
        self._in_sync = False
        self._debounce = Debounce()
        self._woken = asyncio.Event()
        self._served = asyncio.Event()
        self._problems: dict[Problem, None] = {}
        self.health = Health()

    async def run(self) -> None:
        settings = self._settings
        open_directory(settings.state_directory)
        lock = locked(settings.state_directory / "lock")
        self.health.register("apply", timeout=3 * RESYNC)
        self.health.register("dnsmasq", ready=False)
        if settings.health_port:
            await serve(self.health, settings.health_host, settings.health_port)
        taps, radv = Taps(), RouterAdvertiser()
        loop = asyncio.get_running_loop()
        loop.add_reader(taps.fileno(), lambda: self._mark() if taps.drain() else None)
        try:
            async with Tasks() as tasks:
                tasks.start("dnsmasq v4", self._dnsmasq4.keep())
                tasks.start("dnsmasq v6", self._dnsmasq6.keep())
                tasks.start("router advertisements", radv.run())
                tasks.start("follow etcd", self._follow())
                tasks.start("apply", self._apply_for_ever(taps, radv))
                tasks.start("status", self._report())
                await tasks.forever()
        finally:
            loop.remove_reader(taps.fileno())
            taps.close()
            radv.close()
            lock.close()
            await self._client.close()

    async def _follow(self) -> None:
        async for batch in self._mirror.batches():
            if not self._in_sync:
                self._store = Store()  # what was read from disk is history now
                self._in_sync = True
                self.health.signal("store-in-sync")
                log.info("store.in_sync", revision=batch.revision, documents=len(batch.events))
            self._store.handle(batch.events)
            self._mark()

    async def _apply_for_ever(self, taps: Taps, radv: RouterAdvertiser) -> None:
        await self._first_documents()
        while True:
            try:
                await self._apply(taps, radv)
            except (OSError, Overrun) as error:  # a full disk, a kernel short of memory: what is served is served on
                log.error("dhcp.apply_failed", reason=str(error), again_in=AFTER_FAILURE)
                await asyncio.sleep(AFTER_FAILURE)
                self._mark()
            await self._until_due()

    async def _first_documents(self) -> None:
        """The first snapshot; or, when etcd stays away, what this host served last."""
        limit = time.monotonic() + BOOT_PATIENCE
        while not self._in_sync and time.monotonic() < limit:
            await self._wait(limit)
        if not self._in_sync:
            events = known.load(self._known)
            log.warning("store.from_disk", documents=len(events), reason=self._mirror.health.reason)
            self._store.handle(events)

    async def _apply(self, taps: Taps, radv: RouterAdvertiser) -> None:
        began = time.monotonic()
        self._debounce.done()
        taps.read()
        mtus = {name: link.mtu for name, link in taps.links.items()}
        rendered = render(self._store.endpoints, self._store.subnets, mtus, self._settings.serving)
        changed, failed = taps.apply(rendered.addresses)
        ifindexes = {name: link.ifindex for name, link in taps.links.items()}
        v4, v6 = rendered.v4, rendered.v6
        told4 = await self._dnsmasq4.apply(v4.hosts, v4.options, owners4(v4.grants))
        told6 = await self._dnsmasq6.apply(v6.hosts, v6.options, owners6(v6.grants, ifindexes))
        radv.set(rendered.advertisements, taps.links)
        if self._in_sync:
            known.save(self._known, self._store.documents())
        self._note_problems([*self._store.problems, *rendered.problems, *failed])
        if changed.add or changed.remove or told4 or told6:
            log.info(
                "dhcp.served",
                ports=len(rendered.addresses),
                taps=len(taps.links),
                added=len(changed.add),
                removed=len(changed.remove),
                took=round(time.monotonic() - began, 3),
            )
        running = self._dnsmasq4.running.is_set() and self._dnsmasq6.running.is_set()
        self.health.set_ready("dnsmasq", running)
        self.health.set_ready("apply", True, f"{len(rendered.addresses)} ports, {len(self._problems)} problems")
        self.health.beat("apply")
        if self.health.signal("first-apply"):
            self._served.set()

    def _note_problems(self, problems: list[Problem]) -> None:
        now = dict.fromkeys(problems)
        for problem in now:
            if problem not in self._problems:
                log.warning("dhcp.problem", object=problem.subject, reason=problem.reason, cure=problem.cure)
        for problem in self._problems:
            if problem not in now:
                log.info("dhcp.problem_gone", object=problem.subject, reason=problem.reason)
        self._problems = now

    def _mark(self) -> None:
        self._debounce.mark(time.monotonic())
        self._woken.set()

    async def _until_due(self) -> None:
        resync = time.monotonic() + RESYNC
        while True:
            due = self._debounce.due_at()
            limit = resync if due is None else min(due, resync)
            if time.monotonic() >= limit:
                return
            await self._wait(limit)

    async def _wait(self, limit: float) -> None:
        """Until somebody marks, or until `limit` (monotonic)."""
        self._woken.clear()
        try:
            await asyncio.wait_for(self._woken.wait(), max(0.0, limit - time.monotonic()))
        except TimeoutError:
            pass

    async def _report(self) -> None:
        """The sign of life that makes the agent appear in `openstack network agent list`.

        Only while both servers run: an agent that serves nobody must not look alive.
        """
        options = self._settings.calico
        key = AsyncKeptKey(self._client, DhcpStatusKey(options.region, options.host).path, REPORT_LIFE)
        started = time.monotonic()
        first = True
        await self._served.wait()
        while True:
            await self._dnsmasq4.running.wait()
            await self._dnsmasq6.running.wait()
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            status = HostStatus(time=now, uptime=round(time.monotonic() - started, 2), first_update=first)
            try:
                await key.write(encode_status(status))
                first = False
                pause = REPORT_EVERY
            except EtcdError as error:
                log.warning("status.not_written", reason=str(error))
                pause = REPORT_EVERY / 6
            await asyncio.sleep(pause)
