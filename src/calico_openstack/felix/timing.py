"""How long something took, counted into buckets: what a histogram is made of."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper ends of the buckets, in seconds; from one endpoint to the first read-back of a full host."""


class Timing:
    """Counts of durations, in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """Upper end as text, and how many took at most so long; the last one is all."""
        yield from zip((*map(str, BOUNDS), "+Inf"), accumulate(self._counts), strict=True)
