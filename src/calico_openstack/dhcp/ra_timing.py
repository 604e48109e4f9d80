"""When each tap's router advertisement is due (RFC 4861, 6.2.4 and 6.2.6).

A new or changed advertisement is sent at once and twice more soon after; then every 200 to 600 seconds. A
solicitation is answered at once, by multicast, but not within three seconds of the last one. Knows no clock and no
dice: `now` comes in, and the spread between taps comes from their names.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Final

LONGEST: Final = 600.0
SHORTEST: Final = 200.0
BETWEEN_MULTICASTS: Final = 3.0
INITIAL: Final = (4.0, 12.0)
"""Pauses after the first advertisement of a tap, or of a change; RFC 4861 allows up to 16 s for each of three."""


@dataclass(slots=True)
class _Tap:
    due: float
    initial: int = 0
    last: float = float("-inf")
    sent: int = 0


@dataclass(slots=True)
class Schedule:
    """The due times of all taps, in seconds of any monotonic clock."""

    _taps: dict[str, _Tap] = field(default_factory=dict)

    def announce(self, tap: str, now: float) -> None:
        """The tap is new, or has something new to say."""
        known = self._taps.get(tap)
        if known is None:
            self._taps[tap] = _Tap(now)
        else:
            known.due = max(now, known.last + BETWEEN_MULTICASTS)
            known.initial = 0

    def forget(self, tap: str) -> None:
        self._taps.pop(tap, None)

    def solicited(self, tap: str, now: float) -> None:
        """A guest asks. Taps that have nothing to say are not known here."""
        known = self._taps.get(tap)
        if known is not None:
            known.due = min(known.due, max(now, known.last + BETWEEN_MULTICASTS))

    def due(self, now: float) -> list[str]:
        return [tap for tap, known in self._taps.items() if known.due <= now]

    def sent(self, tap: str, now: float) -> None:
        known = self._taps[tap]
        known.last = now
        known.sent += 1
        if known.initial < len(INITIAL):
            known.due = now + INITIAL[known.initial]
            known.initial += 1
        else:
            known.due = now + _interval(tap, known.sent)

    def failed(self, tap: str, now: float) -> None:
        """It could not be sent: a tap's own address is not usable for its first second or two (RFC 4862, 5.4)."""
        self._taps[tap].due = now + 1.0

    def wake_at(self) -> float | None:
        return min((known.due for known in self._taps.values()), default=None)


def _interval(tap: str, count: int) -> float:
    share = zlib.crc32(f"{tap} {count}".encode()) / 0xFFFFFFFF
    return SHORTEST + (LONGEST - SHORTEST) * share
