"""The kernel's tables that all guests of a host share, and whose limits one of them could reach: read, never written.

Neighbours (ARP, IPv6) are one table per family for the whole machine, with `gc_thresh3` as its limit; beyond it nobody
new can be resolved, the host's own gateways included. Permanent entries, as Felix makes them for guests, are in the
count and do not meet the limit (Linux 5.0). Known flows are one table per network namespace (`nf_conntrack_max`);
beyond it new flows are dropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from calico_openstack.daemon.logs import get_logger

log = get_logger("felix.shared_tables")

PAUSE = 10.0
"""Seconds between two readings."""

CROWDED, ROOMY = 0.8, 0.7
"""Shares of the limit: told when it is more than the first, and again when it is less than the second."""

_CURES = {
    "arp": "raise net.ipv4.neigh.default.gc_thresh1, 2 and 3",
    "ndisc": "raise net.ipv6.neigh.default.gc_thresh1, 2 and 3",
    "conntrack": "raise net.netfilter.nf_conntrack_max, and look who opens so many flows",
}


class SharedTable(NamedTuple):
    """`overflows` counts entries that found no room, where the kernel says so."""

    entries: int
    limit: int
    overflows: int = 0


def read_shared_tables(proc: Path = Path("/proc")) -> dict[str, SharedTable]:
    """By name: `arp`, `ndisc`, `conntrack`; those of which the kernel, here, tells both size and limit."""
    found: dict[str, SharedTable] = {}
    for name, family in (("arp", "ipv4"), ("ndisc", "ipv6")):
        limit = _number(proc / f"sys/net/{family}/neigh/default/gc_thresh3")
        counted = _neighbours(proc / f"self/net/stat/{name}_cache")
        if limit is not None and counted is not None:
            found[name] = SharedTable(counted[0], limit, counted[1])
    entries, limit = (_number(proc / f"sys/net/netfilter/nf_conntrack_{what}") for what in ("count", "max"))
    if entries is not None and limit:
        found["conntrack"] = SharedTable(entries, limit)
    return found


class Crowding:
    """Looks every PAUSE seconds, and says once when a table is nearly full. `tables` is replaced as a whole."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self.tables: dict[str, SharedTable] = {}
        self._proc = proc
        self._crowded: set[str] = set()
        self._due = 0.0

    def step(self, now: float) -> None:
        if now < self._due:
            return
        self._due = now + PAUSE
        before, self.tables = self.tables, read_shared_tables(self._proc)
        for name, table in self.tables.items():
            share = table.entries / table.limit if table.limit else 0.0
            overflowed = name in before and table.overflows > before[name].overflows
            if (share > CROWDED or overflowed) and name not in self._crowded:
                self._crowded.add(name)
                log.warning("kernel.table_nearly_full", table=name, entries=table.entries, limit=table.limit,
                            overflows=table.overflows, cure=_CURES[name])  # fmt: skip
            elif share < ROOMY and not overflowed and name in self._crowded:
                self._crowded.remove(name)
                log.info("kernel.table_has_room", table=name, entries=table.entries, limit=table.limit)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _neighbours(path: Path) -> tuple[int, int] | None:
    """Entries and overflows: one line per processor, in hexadecimal; the entries are the same in each."""
    try:
        heads, *rows = (line.split() for line in path.read_text().splitlines())
        entries, full = heads.index("entries"), heads.index("table_fulls")
        return int(rows[0][entries], 16), sum(int(row[full], 16) for row in rows)
    except (OSError, ValueError, IndexError):
        return None
