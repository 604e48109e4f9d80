"""One reconciler, many targets: make an outside thing be as it should, and keep a ledger of what could not be done.

A target is one outside thing that consists of keyed objects: routes by destination, sysctls by path, addresses by
interface, files by path. It can do two things, and knows nothing of retries or of the past:

```
    read()  -> Mapping[K, V]            all objects of ours that are there now
    apply(changes) -> Mapping[K, str]   do them; what failed, and why
```

The reconciler keeps what is wanted and what was last seen. `step` reads when it must (at the start, and after a
`drifted`), compares, applies the differences only, and gives each failed key a date in the ledger. So a correct
host costs one `read` and no operation; a change costs work proportional to the change; a failing object is tried
again alone, more rarely each time, and hinders no other.

```
    wanted ──┐
             ├──► diff ──► Changes ──► target.apply ──┬──► last seen
    read ────┘                                        └──► ledger: reason, since, next try
```

Calls of a target may block, so `step` belongs into the apply thread; `ApplyLoop` has one. It beats its reporter only
after all its reconcilers have moved: a stuck target looks dead, as it must.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from calico_openstack.daemon.health import Health
from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.retry import Retries

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

log = get_logger("reconcile")

BEAT = 10.0
"""Seconds after which an idle loop steps all the same, to show that it could (upstream's interval)."""


@dataclass(frozen=True, slots=True)
class Changes(Generic[K, V]):
    """What to do: `puts` are to be made or replaced, `deletes` removed. False when there is nothing to do."""

    puts: Mapping[K, V]
    deletes: Sequence[K] = ()

    def __bool__(self) -> bool:
        return bool(self.puts or self.deletes)


class Target(Protocol[K, V]):
    """One outside thing. `apply` may raise OSError: then all its changes have failed and it is read anew."""

    @property
    def name(self) -> str: ...
    def read(self) -> Mapping[K, V]: ...
    def apply(self, changes: Changes[K, V]) -> Mapping[K, str]: ...


def diff(wanted: Mapping[K, V], actual: Mapping[K, V]) -> Changes[K, V]:
    """What turns `actual` into `wanted`. `diff(x, x)` is empty."""
    return Changes(
        {key: value for key, value in wanted.items() if key not in actual or actual[key] != value},
        [key for key in actual if key not in wanted],
    )


@dataclass(frozen=True, slots=True)
class Report:
    """What one step did: operations asked of the target, keys that failed, whether it was read."""

    operations: int = 0
    failed: int = 0
    read: bool = False


@dataclass(slots=True)
class Reconciler(Generic[K, V]):
    """One target's wanted and last seen objects. Not thread-safe: `want` and `step` in turn, as `ApplyLoop` does."""

    target: Target[K, V]
    failures: Retries[K] = field(default_factory=Retries)
    # The target as a whole: a `read` or an `apply` that raised.
    trouble: Retries[str] = field(default_factory=Retries)
    _wanted: dict[K, V] = field(default_factory=dict)
    _actual: dict[K, V] | None = None
    _touched: dict[K, None] = field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """Whether the target is as wanted, as far as known."""
        return self._actual is not None and not (self._touched or self.failures or self.trouble)

    def want(self, key: K, value: V | None) -> None:
        """Wish for one object; None = it should not be there."""
        if value is None:
            self._wanted.pop(key, None)
        else:
            self._wanted[key] = value
        self._touched[key] = None

    def want_all(self, wanted: Mapping[K, V]) -> None:
        """Wish for exactly these objects."""
        difference = diff(wanted, self._wanted)
        self._wanted = dict(wanted)
        self._touched.update(dict.fromkeys((*difference.puts, *difference.deletes)))

    def drifted(self) -> None:
        """Somebody else may have changed the outside thing: read it anew at the next step."""
        self._actual = None

    def look(self, now: float) -> Mapping[K, V] | None:
        """What is there, as last seen; read if it must be. None if it cannot be read: the trouble says why."""
        if self._actual is None and not self._waits(now):
            try:
                self._see(dict(self.target.read()))
            except OSError as error:
                self._fail(error, now)
        return self._actual

    def withdraw(self, now: float, spared: Callable[[K], bool]) -> Report:
        """Of what is due the removals alone, without those that are `spared`; `step` does the rest."""
        return self._do(now, lambda changes: Changes({}, [key for key in changes.deletes if not spared(key)]))

    def step(self, now: float) -> Report:
        """Do what is due now. Blocks as long as the target does; never raises for what a target did (OSError)."""
        return self._do(now, lambda changes: changes)

    def _do(self, now: float, chosen: Callable[[Changes[K, V]], Changes[K, V]]) -> Report:
        if self._waits(now):
            return Report()
        try:
            read = self._actual is None
            if read:
                self._see(dict(self.target.read()))
            due = self._due(now)
            changes = chosen(due)
            done = {*changes.puts, *changes.deletes}
            self._touched = dict.fromkeys(key for key in (*due.puts, *due.deletes) if key not in done)
            failed = self.target.apply(changes) if changes else {}
        except OSError as error:
            self._fail(error, now)
            return Report(failed=1)
        self.trouble.succeeded(self.target.name)
        self._learn(changes, failed, now)
        return Report(len(changes.puts) + len(changes.deletes), len(failed), read)

    def _see(self, actual: dict[K, V]) -> None:
        """What was read; what differs from it is due."""
        self._actual = actual
        self._forgive(actual)
        differs = diff(self._wanted, actual)
        self._touched.update(dict.fromkeys((*differs.puts, *differs.deletes)))

    def _fail(self, error: OSError, now: float) -> None:
        failure = self.trouble.failed(self.target.name, str(error), now)
        log.warning("target.failed", target=self.target.name, reason=str(error), again_in=failure.pause)
        self._actual = None

    def wake_at(self) -> float | None:
        """When `step` has something to do again by itself; None if never, 0 if at once."""
        if self.trouble:
            return self.trouble.wake_at()
        if self._actual is None or self._touched:
            return 0.0
        return self.failures.wake_at()

    def _waits(self, now: float) -> bool:
        return bool(self.trouble) and not self.trouble.due(now)

    def _due(self, now: float) -> Changes[K, V]:
        actual = self._actual or {}
        puts: dict[K, V] = {}
        deletes: list[K] = []
        for key in (*self._touched, *(key for key in self.failures.due(now) if key not in self._touched)):
            if key not in self._wanted:
                if key in actual or self.failures.get(key) is not None:
                    deletes.append(key)
            elif key not in actual or actual[key] != self._wanted[key]:
                puts[key] = self._wanted[key]
        return Changes(puts, deletes)

    def _learn(self, changes: Changes[K, V], failed: Mapping[K, str], now: float) -> None:
        assert self._actual is not None
        for key, value in changes.puts.items():
            if key not in failed:
                self._actual[key] = value
        for key in changes.deletes:
            if key not in failed:
                self._actual.pop(key, None)
        for key in (*changes.puts, *changes.deletes):
            if key in failed:
                failure = self.failures.failed(key, failed[key], now)
                # Half-done is possible: what is there now is not known until it is done again.
                self._actual.pop(key, None)
                log.warning(
                    "object.failed",
                    target=self.target.name,
                    key=_words(key),
                    reason=failure.reason,
                    again_in=failure.pause,
                )
            elif self.failures.succeeded(key):
                log.info("object.recovered", target=self.target.name, key=_words(key))

    def _forgive(self, actual: Mapping[K, V]) -> None:
        """A key that had failed and is found right, by whatever hand, is no failure any more."""
        for key, _ in self.failures:
            right = actual.get(key) == self._wanted[key] if key in self._wanted else key not in actual
            if right:
                self.failures.succeeded(key)


def _words(key: object) -> str:
    """For people: the parts of a tuple as each calls itself, so that addresses are not shown as numbers."""
    names = getattr(key, "_fields", None)
    if names is None or type(key).__str__ is not object.__str__:
        return str(key)
    return " ".join(f"{name}={getattr(key, name)}" for name in names)


class ApplyLoop:
    """Steps reconcilers, in order, on one thread of its own, whenever there is something to do.

    Register the reporter `name` with `health` before. `wait_until(n)`: the wish numbered `n` has been applied.
    """

    def __init__(self, reconcilers: Sequence[Reconciler[Any, Any]], health: Health, name: str = "apply-loop") -> None:
        self._reconcilers = reconcilers
        self._health = health
        self._name = name
        self._wake = asyncio.Event()
        self._moved = asyncio.Condition()
        self._wished = 0
        self._applied = 0
        self._lock = asyncio.Lock()

    @property
    def applied(self) -> int:
        """The newest wish that all targets have taken in. Single objects of it may have failed: see the ledgers."""
        return self._applied

    async def wish(self, wishes: Sequence[tuple[Reconciler[Any, Any], Mapping[Any, Any]]], revision: int) -> None:
        """Wish for single objects (value None = gone), all in one step; `revision` is what `wait_until` waits for."""
        async with self._lock:
            for reconciler, objects in wishes:
                for key, value in objects.items():
                    reconciler.want(key, value)
            self._wished = max(self._wished, revision)
        self._wake.set()

    async def drifted(self, reconciler: Reconciler[Any, Any]) -> None:
        async with self._lock:
            reconciler.drifted()
        self._wake.set()

    async def wait_until(self, revision: int) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self._applied >= revision)

    async def run(self) -> None:
        """For ever. Nothing is read or written before the first call."""
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        try:
            while True:
                self._wake.clear()
                async with self._lock:
                    wished = self._wished
                    for reconciler in self._reconcilers:
                        await loop.run_in_executor(thread, reconciler.step, time.monotonic())
                self._health.beat(self._name)
                async with self._moved:
                    if not any(reconciler.trouble for reconciler in self._reconcilers):
                        self._applied = wished
                    self._moved.notify_all()
                await self._sleep()
        finally:
            # Without waiting: a target that hangs must not hold up the end of the program.
            thread.shutdown(wait=False, cancel_futures=True)

    async def _sleep(self) -> None:
        times = [at for at in (reconciler.wake_at() for reconciler in self._reconcilers) if at is not None]
        pause = min([BEAT, *(max(0.0, at - time.monotonic()) for at in times)])
        try:
            async with asyncio.timeout(pause):
                await self._wake.wait()
        except TimeoutError:
            pass
