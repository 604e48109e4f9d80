"""What is still owed to etcd, and the thread that pays it: one per process.

A hook tries to write at once, within the time an API request may wait. What could not be written (etcd away, a conflict
that would not end) is remembered here and tried again with growing pauses, until it succeeds. While etcd is known to be
away no request waits for it. Everything written is looked at once more a little later (see `sync`: the gap that
compare-and-swap leaves). The memory is this process's: if the process dies, the leader's periodic check finds the rest.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from oslo_log import log

from calico_openstack.etcd.errors import EtcdError, Unavailable
from calico_openstack.neutron.sync import Changes, Outcome, Ref, Synchroniser, Unfinished
from calico_openstack.neutron.translate.document import Refusal
from calico_openstack.neutron.translate.slots import Slot

LOG = log.getLogger(__name__)

INLINE_LIMIT: Final = 32
"""A change that touches more objects than this is written in the background; the API call does not wait."""
BATCH: Final = 16
SHORTEST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
AWAY_PAUSE: Final = 2.0
"""While etcd is away it is asked every so many seconds, by the background thread only."""
SECOND_LOOK: Final = 2.0
REFUSALS_REMEMBERED: Final = 10000


@dataclass(slots=True)
class Debt:
    """One object that has to be looked at. `since` (monotonic seconds) is set once it failed."""

    slots: frozenset[Slot]
    due: float
    pause: float = 0.0
    since: float | None = None
    reason: str = ""


class Background:
    """Thread-safe. Nothing runs before the first use, so it may be made before a fork."""

    def __init__(self, synchroniser: Synchroniser, request_timeout: float, timeout: float) -> None:
        self._synchroniser = synchroniser
        self._request_timeout = request_timeout
        self._timeout = timeout
        self._lock = threading.Condition()
        self._debts: dict[Ref, Debt] = {}
        self._paying: dict[Ref, Debt] = {}
        self._jobs: list[Callable[[], None]] = []
        self._jobs_due = 0.0
        self._away_since: float | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._refusals: set[Refusal] = set()

    @property
    def owed(self) -> int:
        """Objects whose last write failed."""
        with self._lock:
            failed = {ref for debts in (self._debts, self._paying) for ref, debt in debts.items() if debt.since}
            return len(failed)

    @property
    def away(self) -> bool:
        """Whether etcd did not answer the last time it was asked."""
        return self._away_since is not None

    def changed(self, changes: Changes) -> None:
        """Write now if etcd answers in time, else later. Never raises: the API call has succeeded already."""
        if not changes:
            return
        if len(changes) > INLINE_LIMIT or self.away:
            self.owe(changes, "etcd is away" if self.away else "")
            return
        try:
            self._settle(self._synchroniser.sync(changes, self._request_timeout), changes)
        except Unavailable as error:
            self._went_away(error)
            self.owe(changes, str(error))
        except Unfinished as error:
            LOG.info("Not written yet: %s: %s. It is tried again in the background", _names(changes), error)
            self.owe(changes, str(error))
        except EtcdError as error:
            LOG.error("etcd refuses %s: %s. It is tried again in the background", _names(changes), error)
            self.owe(changes, str(error), SHORTEST_PAUSE)
        except Exception as error:
            LOG.exception("Could not write %s to etcd; it is tried again in the background", _names(changes))
            self.owe(changes, f"{type(error).__name__}: {error}", SHORTEST_PAUSE)

    def owe(self, changes: Changes, reason: str = "", delay: float = 0.0) -> None:
        """Look at these in the background, `delay` seconds from now. A reason marks them as failed."""
        now = time.monotonic()
        with self._lock:
            for ref, slots in changes.items():
                debt = self._debts.get(ref)
                if debt is None:
                    debt = self._debts[ref] = Debt(slots, now + delay)
                else:
                    debt.slots |= slots
                    debt.due = min(debt.due, now + delay)
                if reason:
                    debt.reason, debt.since = reason, debt.since or now
            self._wake()

    def soon(self, job: Callable[[], None]) -> None:
        """Run `job` in the background: again until etcd answers it, otherwise once; what else it raises is logged."""
        with self._lock:
            self._jobs.append(job)
            self._wake()

    def stop(self) -> None:
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=10)

    # --- the thread

    def _wake(self) -> None:
        if self._thread is None and not self._stopping:
            self._thread = threading.Thread(target=self._run, name="calico-background", daemon=True)
            self._thread.start()
        self._lock.notify_all()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._stopping and not self._jobs_are_due() and not self._due():
                    self._lock.wait(self._until_due())
                if self._stopping:
                    return
                batch = {ref: self._debts[ref] for ref in self._due()[:BATCH]}
                for ref in batch:
                    del self._debts[ref]
                self._paying = batch
            if batch:
                self._pay(batch)
                self._paying = {}
            self._work()

    def _work(self) -> None:
        """Run the jobs that are due. While etcd does not answer they wait: one may take long to find out."""
        with self._lock:
            jobs, self._jobs = (self._jobs, []) if self._jobs_are_due() else ([], self._jobs)
        for at, job in enumerate(jobs):
            try:
                job()
            except Unavailable as error:
                LOG.info("etcd does not answer a background job, trying again: %s", error)
                with self._lock:
                    self._jobs[:0] = jobs[at:]
                    self._jobs_due = time.monotonic() + AWAY_PAUSE
                return
            except Exception:
                LOG.exception("A background job failed")

    def _jobs_are_due(self) -> bool:
        return bool(self._jobs) and self._jobs_due <= time.monotonic()

    def _due(self) -> list[Ref]:
        now = time.monotonic()
        return [ref for ref, debt in self._debts.items() if debt.due <= now]

    def _until_due(self) -> float | None:
        times = [debt.due for debt in self._debts.values()] + ([self._jobs_due] if self._jobs else [])
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _pay(self, batch: Mapping[Ref, Debt]) -> None:
        changes = {ref: debt.slots for ref, debt in batch.items()}
        try:
            outcome = self._synchroniser.sync(changes, self._timeout)
        except Unavailable as error:
            self._went_away(error)
            self._again(batch, str(error), AWAY_PAUSE)
            return
        except EtcdError as error:
            self._came_back()
            if len(batch) > 1:
                # One document may be at fault (too large, say): it must not hold up the others.
                for ref, debt in batch.items():
                    self._pay({ref: debt})
            else:
                level = logging.INFO if isinstance(error, Unfinished) else logging.ERROR
                LOG.log(level, "etcd has not taken %s: %s", _names(changes), error)
                self._again(batch, str(error))
            return
        except Exception as error:
            LOG.exception("Could not bring %s up to date; trying again", _names(changes))
            self._again(batch, f"{type(error).__name__}: {error}")
            return
        self._came_back()
        late = [ref for ref, debt in batch.items() if debt.since is not None and ref not in outcome.failed]
        if late:
            LOG.info("Written at last: %s", ", ".join(f"{ref.kind} {ref.id}" for ref in late))
        self._settle(outcome, changes, batch)

    def _settle(self, outcome: Outcome, changes: Changes, batch: Mapping[Ref, Debt] | None = None) -> None:
        for refusal in outcome.refusals:
            if refusal not in self._refusals:
                if len(self._refusals) >= REFUSALS_REMEMBERED:
                    self._refusals.clear()
                self._refusals.add(refusal)
                LOG.warning("Left out, because it cannot be expressed: %s", refusal)
        if outcome.failed:
            failed = {ref: (batch or {}).get(ref) or Debt(changes.get(ref, frozenset()), 0) for ref in outcome.failed}
            self._again(failed, "translation failed")
        if outcome.written:
            self.owe({ref: changes.get(ref, frozenset()) for ref in outcome.written}, delay=SECOND_LOOK)

    def _again(self, batch: Mapping[Ref, Debt], reason: str, pause: float | None = None) -> None:
        for ref, debt in batch.items():
            growing = min(LONGEST_PAUSE, debt.pause * 2) if debt.pause else SHORTEST_PAUSE
            wait = pause if pause is not None else growing
            self.owe({ref: debt.slots}, reason, wait)
            with self._lock:
                later = self._debts.get(ref)
                if later is not None:
                    later.pause = wait
                    later.since = debt.since or later.since

    def _went_away(self, error: EtcdError) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            LOG.error("etcd does not answer (%s). API calls go on; changes are remembered and written later", error)

    def _came_back(self) -> None:
        if self._away_since is None:
            return
        LOG.warning("etcd answers again after %.0f s", time.monotonic() - self._away_since)
        self._away_since = None
        now = time.monotonic()
        with self._lock:
            for debt in self._debts.values():
                debt.due = min(debt.due, now)
            self._lock.notify_all()


def _names(changes: Changes) -> str:
    names = [f"{ref.kind} {ref.id}" for ref in changes]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
