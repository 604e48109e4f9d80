"""When to act on a row of events: soon after the last one, and not long after the first.

A guest's birth is several events (endpoint, subnet, tap, tap up) within milliseconds, a host's start hundreds. Knows no
clock.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Debounce:
    """Seconds: due when it has been `quiet` since the last mark, or `longest` since the first."""

    quiet: float = 0.05
    longest: float = 0.5
    _first: float | None = None
    _last: float = 0.0

    def mark(self, now: float) -> None:
        if self._first is None:
            self._first = now
        self._last = now

    def due_at(self) -> float | None:
        """None: nothing is waiting."""
        return None if self._first is None else min(self._last + self.quiet, self._first + self.longest)

    def done(self) -> None:
        self._first = None
