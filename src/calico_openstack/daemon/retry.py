"""When to try again.

A key that failed gets a date, not a thread: each failure doubles its pause up to `longest`, a success forgets it.
Knows no clock: `now` (seconds, any epoch, monotonic) comes in, `wake_at` goes out. Keeps `since` of the first
failure in a row, because an operator asks "since when?" and not "when last?".
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Failure:
    """One key's debt: why, since when, how long the present pause is (seconds), when it is due."""

    reason: str
    since: float
    pause: float
    due: float


@dataclass(slots=True)
class Retries(Generic[K]):
    """The failures of a set of keys. Pauses are in seconds."""

    shortest: float = 1.0
    longest: float = 60.0
    _failures: dict[K, Failure] = field(default_factory=dict)

    def failed(self, key: K, reason: str, now: float) -> Failure:
        last = self._failures.get(key)
        pause = min(self.longest, last.pause * 2) if last else self.shortest
        failure = Failure(reason, last.since if last else now, pause, now + pause)
        self._failures[key] = failure
        return failure

    def succeeded(self, key: K) -> bool:
        """Forget the key; True if it had failed before (so that a recovery can be logged once)."""
        return self._failures.pop(key, None) is not None

    def due(self, now: float) -> list[K]:
        return [key for key, failure in self._failures.items() if failure.due <= now]

    def wake_at(self) -> float | None:
        """The earliest due time, or None when nothing has failed."""
        return min((failure.due for failure in self._failures.values()), default=None)

    def get(self, key: K) -> Failure | None:
        return self._failures.get(key)

    def __iter__(self) -> Iterator[tuple[K, Failure]]:
        return iter(list(self._failures.items()))

    def __len__(self) -> int:
        return len(self._failures)
