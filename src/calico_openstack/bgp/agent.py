"""The BGP agent: etcd in, BIRD's configuration out, sessions back into etcd.

```
    etcd ─► watch ─► View ─┐
                           ├─► speaker ─► obstacle? guard? ─► render ─► Plane: file, bird -p, "configure"
    passwords, settings ───┘
    BIRD ─► poll ─► Status ─► report ─► etcd, with a lease
    settings ─► node ─► own Node record in etcd: created, kept true
```

Promises: nothing is rendered before the first whole snapshot; while etcd is away BIRD simply goes on; BIRD is
never restarted and never stopped by the agent, and the end of the agent changes nothing.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from calico_openstack.bgp import node_record, secrets, swap
from calico_openstack.bgp.addresses import found_address
from calico_openstack.bgp.bird import Bird, BirdAway, Refused
from calico_openstack.bgp.guard import Guard
from calico_openstack.bgp.plane import Plane
from calico_openstack.bgp.render import digest, render, session_names
from calico_openstack.bgp.replies import DaemonState, SessionState
from calico_openstack.bgp.sessions import Cluster, Problem, Speaker, obstacle, speaker
from calico_openstack.bgp.settings import BgpSettings
from calico_openstack.bgp.status import Pace, Status, document, essence
from calico_openstack.bgp.view import PREFIXES, View
from calico_openstack.daemon.health import Health
from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.tasks import Tasks
from calico_openstack.etcd.aio import AsyncClient
from calico_openstack.etcd.errors import EtcdError
from calico_openstack.etcd.lease import AsyncKeptKey
from calico_openstack.etcd.mirror import AsyncMirror
from calico_openstack.etcd.values import Event
from calico_openstack.model.keys import BgpStatusKey, ResourceKey

log = get_logger("bgp")

QUIET = 0.2
"""Seconds without news before a batch of changes is rendered, ..."""
LONGEST_QUIET = 2.0
"""... but never more than this after the first of them."""
AGAIN = 60.0
"""Seconds after which a refused configuration is tried once more: the reason may have been a full disk."""
AWAY_POLL = 1.0
UNSETTLED_POLL = 2.0
NODE_RETRY = 5.0
ADDRESS_RETRY = 10.0
"""Seconds after which a host that had no default route yet is asked again for its address."""


class Agent:
    """One host's agent. `run` never returns; cancel it to end."""

    def __init__(self, settings: BgpSettings, client: AsyncClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._host = settings.calico.host
        self._bird = Bird(settings.bird_socket)
        self._plane = Plane(self._bird, settings.bird_config, settings.bird_binary, settings.bird_group)
        self._guard = Guard(settings.loss_confirm)
        self._view = View()
        self._in_sync = False
        self._speaker: Speaker | None = None
        self._problems: tuple[Problem, ...] = ()
        self._node_problem: Problem | None = None
        self._held = ""
        self._applied_at = ""
        self._daemon: DaemonState | None = None
        self._sessions: tuple[SessionState, ...] = ()
        self._polled = asyncio.Event()
        self._changed = asyncio.Event()
        self._node_changed = asyncio.Event()
        self._poll_now = asyncio.Event()
        self._report_now = asyncio.Event()
        self._again_at: float | None = None
        self.health = Health()
        self.health.register("apply", timeout=120)
        self.health.register("bird")
        self._mirror = AsyncMirror(client, PREFIXES)

    async def run(self) -> None:
        async with Tasks() as tasks:
            tasks.start("watch", self._watch())
            tasks.start("node", self._keep_node())
            tasks.start("apply", self._apply_loop())
            tasks.start("poll", self._poll_loop())
            tasks.start("report", self._report_loop())
            await tasks.forever()

    # -- etcd in -----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        own = ResourceKey("Node", self._host)
        async for batch in self._mirror.batches():
            changed = self._view.apply(batch.events)
            if not self._in_sync:
                self._in_sync = True
                self.health.signal("store-in-sync")
                log.info("store.in_sync", revision=batch.revision, documents=len(batch.events))
                self._node_changed.set()
                self._changed.set()
            if changed:
                self._changed.set()
            if any(event.key == own.path for event in batch.events):
                self._node_changed.set()

    async def _keep_node(self) -> None:
        """The own record as the settings say, also after somebody changed or deleted it."""
        uid = str(uuid.uuid4())
        own = self._settings.own
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(ADDRESS_RETRY if own.nowhere and self._in_sync else None):
                    await self._node_changed.wait()
            self._node_changed.clear()
            if own.nowhere:
                own = replace(own, found4=found_address(4), found6=found_address(6))
            try:
                if await node_record.ensure(self._client, own, uid, _now()):
                    log.info("node.written", node=self._host)
                self._node_problem = None
            except EtcdError as error:
                cure = "mend etcd, or the rights of the agent's user"
                self._node_problem = Problem(f"Node/{self._host}", f"cannot be written: {error}", cure)
                log.warning("node.not_written", reason=str(error))
                await asyncio.sleep(NODE_RETRY)
                self._node_changed.set()

    # -- BIRD out ----------------------------------------------------------------------------------------------

    async def _apply_loop(self) -> None:
        swap.remove_leftovers(self._settings.bird_config)
        while True:
            await self._wait_for_work()
            await self._settle()
            self._changed.clear()
            if self._in_sync:
                await self.apply(self._view.cluster())
            self.health.beat("apply", self._plane.error or self._held)
            self._report_now.set()

    async def _wait_for_work(self) -> None:
        """Until something changed, the guard wants its second look, or a refused file is to be tried again."""
        due = [at for at in (self._guard.wake_at(), self._again_at) if at is not None]
        pause = min([*(at - self._clock() for at in due), 30.0])
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, pause)):
                await self._changed.wait()

    async def _settle(self) -> None:
        """A burst of changes becomes one configuration."""
        latest = self._clock() + LONGEST_QUIET
        while self._changed.is_set() and self._clock() < latest:
            self._changed.clear()
            try:
                async with asyncio.timeout(min(QUIET, max(0.0, latest - self._clock()))):
                    await self._changed.wait()
            except TimeoutError:
                return

    async def apply(self, cluster: Cluster) -> None:
        """Bring about what this host should be in `cluster`, as far as guard, obstacles and BIRD let it."""
        again = self._again_at is not None and self._clock() >= self._again_at
        if again:
            self._again_at = None
        passwords = secrets.read(self._settings.secrets_directory, secrets.references(cluster))
        wish = speaker(cluster, self._host, passwords)
        self._note_problems(wish.problems)
        blocked = obstacle(cluster, self._host)
        if blocked is not None:
            self._held = f"{blocked.subject}: {blocked.reason}"
            return
        if await self._holds(wish):
            return
        self._held = ""
        text = render(wish, self._settings.options)
        before = self._plane.in_force
        self._speaker = wish
        if await self._plane.bring(text, again):
            self.health.signal("first-apply")
            self.health.set_ready("apply")
            self._again_at = None
            if before != text:
                self._applied_at = _now()
        elif self._again_at is None:
            # Once set it stays: the looks in between must not put it off.
            self._again_at = self._clock() + AGAIN
        self._poll_now.set()

    async def _holds(self, wish: Speaker) -> bool:
        before = session_names(self._plane.in_force or self._plane.present() or "")
        after = [session.name for session in wish.sessions]
        wake_at = self._guard.wake_at()
        due = wake_at is not None and self._clock() >= wake_at
        confirmed = due and await self._says_the_same(wish)
        if not self._guard.holds(before, after, self._clock(), confirmed):
            return False
        lost = len(set(before) - set(after))
        self._held = f"{lost} of {len(before)} sessions would go; waiting for a second look at etcd"
        log.warning("sessions.held", lost=lost, of=len(before), confirm_after=self._settings.loss_confirm)
        return True

    async def _says_the_same(self, wish: Speaker) -> bool:
        """A fresh reading of etcd, not the mirror's memory."""
        try:
            snapshot = await self._client.snapshot(PREFIXES)
        except EtcdError as error:
            log.warning("sessions.second_look_failed", reason=str(error))
            return False
        fresh = View()
        fresh.apply(Event(item.key, item.value, item.mod_revision) for item in snapshot.items)
        cluster = fresh.cluster()
        if obstacle(cluster, self._host) is not None:
            return False
        passwords = secrets.read(self._settings.secrets_directory, secrets.references(cluster))
        again = speaker(cluster, self._host, passwords)
        return [session.name for session in again.sessions] == [session.name for session in wish.sessions]

    def _note_problems(self, problems: tuple[Problem, ...]) -> None:
        for problem in sorted(set(problems) - set(self._problems)):
            log.warning("object.not_used", object=problem.subject, reason=problem.reason, cure=problem.cure)
        for problem in sorted(set(self._problems) - set(problems)):
            log.info("object.mended", object=problem.subject)
        self._problems = problems

    # -- BIRD in -----------------------------------------------------------------------------------------------

    async def _poll_loop(self) -> None:
        while True:
            self._poll_now.clear()
            await self._poll()
            self._polled.set()
            try:
                async with asyncio.timeout(self._poll_pause()):
                    await self._poll_now.wait()
            except TimeoutError:
                if secrets.references(self._view.cluster()):
                    # Nobody tells us about a changed password file, so look.
                    self._changed.set()

    async def _poll(self) -> None:
        before = self._daemon
        try:
            self._daemon, self._sessions = await self._bird.state()
        except (BirdAway, Refused) as error:
            if before is not None:
                log.warning("bird.away", reason=str(error))
                self._report_now.set()
            self._daemon, self._sessions = None, ()
            self.health.set_ready("bird", False, str(error))
            return
        if before is None or before.started != self._daemon.started:
            log.info("bird.found", version=self._daemon.version, started=self._daemon.started)
            # It may have read another file, or none of ours: tell it once.
            self._plane.in_force = None
            self._changed.set()
        self.health.set_ready("bird", self._status().ready, f"{len(self._sessions)} sessions")
        self._report_now.set()

    def _poll_pause(self) -> float:
        if self._daemon is None:
            return min(AWAY_POLL, self._settings.poll)
        settled = all(session.established for session in self._sessions) and not self._daemon.recovering
        return self._settings.poll if settled else min(UNSETTLED_POLL, self._settings.poll)

    # -- status out --------------------------------------------------------------------------------------------

    def _status(self) -> Status:
        problems = self._problems if self._node_problem is None else (*self._problems, self._node_problem)
        return Status(
            daemon=self._daemon,
            sessions=self._sessions,
            wanted=self._speaker.sessions if self._speaker else (),
            problems=problems,
            digest=digest(self._plane.in_force) if self._plane.in_force else "",
            applied_at=self._applied_at,
            error=self._plane.error,
            held=self._held,
        )

    async def _report_loop(self) -> None:
        key = BgpStatusKey(self._settings.calico.region, self._host).path
        kept = AsyncKeptKey(self._client, key, self._settings.status_ttl)
        pace, started, first = Pace(), self._clock(), True
        await self._polled.wait()
        while True:
            self._report_now.clear()
            status = self._status()
            now = self._clock()
            if pace.due(essence(status), now):
                try:
                    await kept.write(document(status, _now(), now - started, first))
                    pace.written(essence(status), now)
                    first = False
                except EtcdError as error:
                    log.warning("status.not_written", reason=str(error))
                    await asyncio.sleep(AWAY_POLL)
                    continue
            pause = pace.wake_at(essence(self._status()), self._clock()) - self._clock()
            try:
                async with asyncio.timeout(max(0.05, pause)):
                    await self._report_now.wait()
            except TimeoutError:
                pass
            else:
                # News that may not go out yet must not turn this loop into a busy one.
                await asyncio.sleep(0.1)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
