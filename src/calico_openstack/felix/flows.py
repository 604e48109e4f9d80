"""Established flows that are to end: those of released addresses, and those that policy would not allow any more.

    released addresses ─► all their flows end, before the address gets another route
    narrowed endpoints ─► after the transaction that narrows: their flows are listed once, then judged, some per step

The kernel lists by address if few are concerned, otherwise everything once. Listing and judging take at most `SLICE`
seconds per step and read the kernel's table as they go, so that a busy host goes on programming meanwhile and a full
table takes no memory here; `wake_at` says that there is more. Many released addresses that nobody gets are treated the
same way; those that somebody gets lose their flows at once. What fails is kept, and tried again with a growing pause.
What ended stays ended (`kernel.barred`). Lives in the apply thread; needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Set

from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.retry import Retries
from calico_openstack.felix.flow_judge import FlowJudge
from calico_openstack.felix.kernel.barred import Barred
from calico_openstack.felix.kernel.conntrack import MOST_SEARCHES, Conntrack
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.narrowing import Narrowed
from calico_openstack.felix.wanted.state import Wanted
from calico_openstack.model.net import Net
from calico_openstack.netlink.conntrack import Tracked, concerns, read_flow
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
        self._departed: set[Net] = set()
        # Of these the flows are being listed, for as long as there is a listing.
        self._releasing: set[Net] = set()
        self._release_parts: Iterator[list[Message]] | None = None
        self._narrowed = Narrowed()
        self._judged_for = Narrowed()
        self._parts: Iterator[list[Message]] | None = None
        self._just_released: set[Net] = set()
        # Whether the last step got as far as judging: not if the firewall could not be brought up to date.
        self._may_judge = False
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

    def release(self, addresses: Set[Net], now: float, is_routed: Callable[[Net], bool] = lambda _: True) -> None:
        """End all flows of these addresses, and what is still owed of former ones.

        Those that are to have a route, perhaps to another guest, at once; of the others, if they are many, some.
        """
        self._may_judge = False
        self._just_released = set()
        self._released |= addresses
        waits = bool(self._trouble.get("release")) and "release" not in self._trouble.due(now)
        if (self._released or self._releasing) and (addresses or not waits):
            self._try("release", lambda: self._release(is_routed), now)

    def depart(self, addresses: Set[Net], is_local: Callable[[Net], bool], now: float) -> None:
        """The guest with these addresses lives on at another host: end its flows, which are stale when it comes back,
        but those with guests of this host: these go on by way of this host."""
        self._departed |= addresses
        if self._departed and (addresses or "depart" in self._trouble.due(now)):
            self._try("depart", lambda: self._depart(is_local), now)

    def changed(self, narrowed: Narrowed) -> None:
        """What is wanted has changed: the flows of these endpoints are to be judged once the firewall says the same."""
        self._narrowed.merge(narrowed)
        self._judge_of_now = None

    def everything_changed(self) -> None:
        """Other settings: flows of all endpoints are to be judged by them."""
        self.changed(Narrowed(dict.fromkeys(self._wanted.endpoints)))

    def judge(self, settings: RulesetSettings, now: float) -> None:
        """Judge what is due. To be called when the kernel's firewall has what is wanted."""
        self._may_judge = True
        self._bar(lambda: self._barred.adopt(now))
        until = self._barred.wake_at()
        if until is not None and until <= now:
            self._bar(lambda: self._barred.expire(now))
        if not (self._narrowed or self._under_way):
            return
        if self._trouble.get("judge") is None or "judge" in self._trouble.due(now):
            self._try("judge", lambda: self._judge(settings, now), now)

    def ledgers(self) -> dict[str, Retries[str]]:
        """What waits for its next try: the connection tracker as a whole."""
        return {"flows": self._trouble}

    def wake_at(self) -> float | None:
        if self._trouble:
            retries = (failure.due for what, failure in self._trouble if what != "judge" or self._may_judge)
            return min(retries, default=None)
        if self._releasing or (self._under_way and self._may_judge):
            return 0.0
        return self._barred.wake_at() if self._may_judge else None

    @property
    def _under_way(self) -> bool:
        return bool(self._queue or self._condemned or self._parts is not None)

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

    def _release(self, is_routed: Callable[[Net], bool]) -> None:
        owed = self._released | self._releasing
        urgent = owed if len(owed) <= MOST_SEARCHES else {net for net in owed if is_routed(net)}
        if urgent:
            self._conntrack.release(urgent)
            self._just_released = urgent
            self._released -= urgent
            self._releasing -= urgent
        if not self._releasing:
            self._release_parts, self._releasing, self._released = None, self._released, set()
        if self._releasing:
            self._release_some()

    def _depart(self, is_local: Callable[[Net], bool]) -> None:
        for part in self._conntrack.parts(self._departed):
            flows = ((message, flow) for message in part if (flow := read_flow(message)) is not None)
            self._conntrack.end([message for message, flow in flows if self._goes_away(flow, is_local)])
        self._departed = set()

    def _goes_away(self, flow: Tracked, is_local: Callable[[Net], bool]) -> bool:
        ends = {flow.original.source, flow.reply.source}
        return not ends.isdisjoint(self._departed) and not any(is_local(net) for net in ends - self._departed)

    def _release_some(self) -> None:
        if self._release_parts is None:
            self._release_parts = self._conntrack.parts(self._releasing)
        until = self._stopwatch() + SLICE
        try:
            while self._stopwatch() < until:
                part = next(self._release_parts, None)
                if part is None:
                    self._release_parts, self._releasing = None, set()
                    return
                flows = ((message, read_flow(message)) for message in part)
                self._conntrack.end([m for m, flow in flows if flow is not None and concerns(flow, self._releasing)])
        except OSError:
            self._release_parts = None
            raise

    def _judge(self, settings: RulesetSettings, now: float) -> None:
        if self._narrowed:
            self._begin()
        until = self._stopwatch() + SLICE
        while self._stopwatch() < until and self._fetched():
            if self._judge_of_now is None:
                self._judge_of_now = FlowJudge(self._wanted, self._judged_for, settings, self._host_addresses())
            for _ in range(min(_CHUNK, len(self._queue))):
                message = self._queue.popleft()
                flow = read_flow(message)
                if flow is not None and self._judge_of_now.must_end(flow):
                    self._condemned.append((message, flow))
        if self._condemned:
            self._bar(lambda: self._barred.bar((flow for _, flow in self._condemned), now))
            self._conntrack.end([message for message, _ in self._condemned])
            self._condemned = []
        if not self._under_way:
            self._judged_for = Narrowed()
            self._judge_of_now = None
            if self._narrowed:
                self._begin()

    def _begin(self) -> None:
        """List the flows of who has become narrower: at once if these are few; else after what is being listed."""
        # What was released in this step has only flows that the present firewall has let in.
        addresses = self._addresses(self._narrowed) - self._just_released
        if self._parts is not None and len(addresses) > MOST_SEARCHES:
            return
        self._judged_for.merge(self._narrowed)
        self._judge_of_now = None
        narrowed, self._narrowed = self._narrowed, Narrowed()
        parts = self._conntrack.parts(addresses)
        try:
            if self._parts is None:
                self._queue.extend(next(parts, ()))
                self._parts = parts
            else:
                for part in parts:
                    self._queue.extendleft(part)
        except OSError:
            self._narrowed.merge(narrowed)
            raise

    def _fetched(self) -> bool:
        """Whether there is a flow to judge, reading more of the table if need be."""
        while not self._queue and self._parts is not None:
            try:
                part = next(self._parts, None)
            except OSError:
                # What the rest of the table holds must be found by a new listing.
                self._parts = None
                self._narrowed.merge(self._judged_for)
                raise
            if part is None:
                self._parts = None
            else:
                self._queue.extend(part)
        return bool(self._queue)

    def _addresses(self, narrowed: Narrowed) -> set[Net]:
        """By which addresses to list: the changed peers if these are fewer than the endpoint's own."""
        found = {nat.internal for nat in narrowed.nats}
        for key, peers in narrowed.endpoints.items():
            endpoint = self._wanted.endpoints.get(key)
            if endpoint is not None:
                few = peers is not None and len(peers) <= len(endpoint.addresses)
                found.update(peers if few and peers is not None else endpoint.addresses)
        return found
