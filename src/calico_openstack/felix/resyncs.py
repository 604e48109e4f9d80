"""When the kernel is to be read back as a whole: the firewall, and the rest of the host."""

from __future__ import annotations

import math
import random

from calico_openstack.felix.settings import FelixSettings


class Resyncs:
    """When the kernel is to be read back as a whole, with ten percent of jitter. An interval of 0 means never."""

    def __init__(self, now: float) -> None:
        self._last = {"firewall": now, "host": now}
        self._next = {"firewall": now, "host": now}

    def due(self, settings: FelixSettings, now: float) -> set[str]:
        host = [
            seconds for seconds in (settings.route_refresh_interval, settings.interface_refresh_interval) if seconds
        ]
        intervals = {"firewall": settings.nftables_refresh_interval or math.inf, "host": min(host, default=math.inf)}
        due = {name for name, at in self._next.items() if at <= now}
        for name in due:
            self._last[name] = now
        for name in self._next:
            if name in due or self._next[name] > self._last[name] + 1.1 * intervals[name]:
                self._next[name] = self._last[name] + intervals[name] * random.uniform(0.9, 1.1)
        return due

    def wake_at(self) -> float:
        return min(self._next.values())
