"""A second look before most sessions go.

PURE. An etcd that was restored empty, or restored from the wrong backup, would make every host drop its
sessions at once, and with them the routes of a cloud that works. So a change that takes away more than half
of the sessions is held until a fresh reading, `pause` seconds later, says the same. An intended change of
that size is only late by the pause.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(slots=True)
class Guard:
    """`pause` in seconds, 0 = never hold. `now` is monotonic."""

    pause: float = 15.0
    held_since: float | None = None

    def holds(self, before: Collection[str], after: Collection[str], now: float, confirmed: bool = False) -> bool:
        """Whether to stay with `before` (names of sessions) for now. `confirmed`: `after` was read a second time."""
        lost = set(before) - set(after)
        if self.pause <= 0 or not lost or 2 * len(lost) <= len(set(before)):
            self.held_since = None
            return False
        if confirmed and self.held_since is not None and now >= self.held_since + self.pause:
            self.held_since = None
            return False
        if self.held_since is None or now >= self.held_since + self.pause:
            # The second reading failed or said something else: wait for another one.
            self.held_since = now
        return True

    def wake_at(self) -> float | None:
        """When the second reading is due."""
        return None if self.held_since is None else self.held_since + self.pause
