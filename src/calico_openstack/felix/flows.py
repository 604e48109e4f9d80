"""Established flows that are to end: those of released addresses, and those that policy would not allow any more.

    released addresses ─► all their flows end, before the address gets another route
    narrowed endpoints ─► after the transaction that narrows: their flows are listed once, then judged, some per step

The kernel lists by address if few are concerned, otherwise everything once. Judging takes at most `SLICE` seconds per
step, so that a busy host goes on programming meanwhile; `wake_at` says that there is more. What fails is kept, and
tried again with a growing pause. What ended stays ended (`kernel.barred`). Lives in the apply thread; needs
CAP_NET_ADMIN.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Set

from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.retry import Retries
from calico_openstack.felix.flow_judge import FlowJudge
from calico_openstack.felix.kernel.barred import Barred
from calico_openstack.felix.kernel.conntrack import Conntrack
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.narrowing import Narrowed
from calico_openstack.felix.wanted.state import Wanted
from calico_openstack.model.net import Net
from calico_openstack.netlink.conntrack import Tracked, read_flow
from calico_openstack.netlink.wire import Message

log = get_logger("felix.flows")

SLICE = 0.02
"""Seconds of judging per step."""

_CHUNK = 32


class Flows:
    """`host_addresses()` reads the addresses of this host; it is asked only when there are flows to judge."""

    def __init__(
        self,
        wanted: Wanted,
        host_addresses: Callable[[], Collection[Net]],
        conntrack: Conntrack | None = None,
        barred: Barred | None = None,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted = wanted
        self._host_addresses = host_addresses
        self._conntrack = conntrack or Conntrack()
        self._barred = barred or Barred()
        self._stopwatch = stopwatch
        self._released: set[Net] = set()
        self._narrowed = Narrowed()
        self._judged_for = Narrowed()
        self._queue: deque[Message] = deque()
        self._condemned: list[tuple[Message, Tracked]] = []
        self._trouble = Retries[str]()
        self._judge_of_now: FlowJudge | None = None

    @property
    def ended(self) -> int:
        return self._conntrack.ended

    @property
    def transactions(self) -> int:
        """Of nf_tables, beside the firewall's."""
        return self._barred.transactions

    def release(self, addresses: Set[Net], now: float) -> None:
        """End all flows of these addresses, and what is still owed of former ones."""
        self._released |= addresses
        waits = bool(self._trouble.get("release")) and "release" not in self._trouble.due(now)
        if self._released and (addresses or not waits):
            self._try("release", self._release, now)

    def changed(self, narrowed: Narrowed) -> None:
        """What is wanted has changed: the flows of these endpoints are to be judged once the firewall says the same."""
        self._narrowed.merge(narrowed)
        self._judge_of_now = None

    def judge(self, settings: RulesetSettings, now: float) -> None:
        """Judge what is due. To be called when the kernel's firewall has what is wanted."""
        until = self._barred.wake_at()
        if until is not None and until <= now:
            self._bar(lambda: self._barred.expire(now))
        if not (self._narrowed or self._queue or self._condemned):
            return
        if self._trouble.get("judge") is None or "judge" in self._trouble.due(now):
            self._try("judge", lambda: self._judge(settings, now), now)

    def ledgers(self) -> dict[str, Retries[str]]:
        """What waits for its next try: the connection tracker as a whole."""
        return {"flows": self._trouble}

    def wake_at(self) -> float | None:
        if self._trouble:
            return self._trouble.wake_at()
        return 0.0 if self._queue or self._condemned else self._barred.wake_at()

    def close(self) -> None:
        self._conntrack.close()
        self._barred.close()

    def _try(self, what: str, do: Callable[[], None], now: float) -> None:
        try:
            do()
        except OSError as error:
            failure = self._trouble.failed(what, str(error), now)
            log.warning("conntrack.failed", step=what, reason=failure.reason, again_in=failure.pause)
        else:
            if self._trouble.succeeded(what):
                log.info("conntrack.recovered", step=what)

    def _bar(self, do: Callable[[], None]) -> None:
        """Ending without barring is better than neither: a failure is told, and that is all."""
        try:
            do()
        except OSError as error:
            log.warning("flows.not_barred", reason=str(error))

    def _release(self) -> None:
        self._conntrack.release(self._released)
        self._released = set()

    def _judge(self, settings: RulesetSettings, now: float) -> None:
        if self._narrowed:
            self._queue.extend(self._conntrack.list(self._addresses(self._narrowed)))
            self._judged_for.merge(self._narrowed)
            self._narrowed = Narrowed()
            self._judge_of_now = None
        if self._queue:
            if self._judge_of_now is None:
                self._judge_of_now = FlowJudge(self._wanted, self._judged_for, settings, self._host_addresses())
            judge = self._judge_of_now
            until = self._stopwatch() + SLICE
            while self._queue and self._stopwatch() < until:
                for _ in range(min(_CHUNK, len(self._queue))):
                    message = self._queue.popleft()
                    flow = read_flow(message)
                    if flow is not None and judge.must_end(flow):
                        self._condemned.append((message, flow))
        if self._condemned:
            self._bar(lambda: self._barred.bar((flow for _, flow in self._condemned), now))
            self._conntrack.end([message for message, _ in self._condemned])
            self._condemned = []
        if not self._queue:
            self._judged_for = Narrowed()
            self._judge_of_now = None

    def _addresses(self, narrowed: Narrowed) -> set[Net]:
        """By which addresses to list: the changed peers if these are fewer than the endpoint's own."""
        found = {nat.internal for nat in narrowed.nats}
        for key, peers in narrowed.endpoints.items():
            endpoint = self._wanted.endpoints.get(key)
            if endpoint is not None:
                few = peers is not None and len(peers) <= len(endpoint.addresses)
                found.update(peers if few and peers is not None else endpoint.addresses)
        return found
