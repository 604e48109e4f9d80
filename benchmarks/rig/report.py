"""Times side by side: rounds that take turns, medians, and every number as a ratio to the baseline.

A shared machine gets faster and slower by itself; what is measured in turns gets that alike, so ratios hold.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

_UNITS = ((1.0, "s "), (1e-3, "ms"), (1e-6, "us"))


def small(description: str | None) -> bool:
    """Whether the command line says `--small`: the same with few objects and rounds, to see that it works."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="few objects and rounds")
    return bool(parser.parse_args().small)


def in_turns(rounds: int, actions: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of processor time of each action in each round, one action after the other."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            gc.collect()
            began = time.process_time()
            result = action()
            times[name].append(time.process_time() - began)
            del result
    return times


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many per cent of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(percent / 100 * len(ordered) + 0.5) - 1))]


def show(title: str, times: Mapping[str, Sequence[float]], percentiles: Sequence[int] = ()) -> None:
    """Median (or these percentiles) of each, and the ratio to the first, which is the baseline."""
    print(title)
    ranks: Sequence[int] = percentiles or (50,)
    base: list[float] = []
    for name, values in times.items():
        found = [statistics.median(values) if rank == 50 else percentile(values, rank) for rank in ranks]
        base = base or found
        cells = [
            (f"p{rank} " if percentiles else "") + f"{duration(value)}  x{value / first:<6.2f}"
            for rank, value, first in zip(ranks, found, base, strict=True)
        ]
        print(f"  {name:<46} " + "  ".join(cells).rstrip())


def shares(title: str, parts: Mapping[str, float], whole: float) -> None:
    """Where the time goes: each part, and the rest, in per cent of the whole."""
    rest = {"the rest": whole - sum(parts.values())}
    print(f"{title}: " + ", ".join(f"{name} {100 * part / whole:.0f} %" for name, part in {**parts, **rest}.items()))


def duration(seconds: float) -> str:
    unit, name = next(((unit, name) for unit, name in _UNITS if seconds >= unit), _UNITS[-1])
    return f"{seconds / unit:7.2f} {name}"
