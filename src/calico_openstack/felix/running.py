"""What is known of a Felix that runs: the loop writes it down, and who reports or shows it reads it.

Everything here belongs to the loop, but for what is behind `dataplane`: that the apply thread goes on changing, so it
may only be copied as a whole (a copy of a dict or a list is one step of the interpreter).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from calico_openstack.daemon.health import Health
from calico_openstack.daemon.tasks import TaskEnded, Tasks
from calico_openstack.etcd.mirror import AsyncMirror
from calico_openstack.felix.dataplane import TARGETS, Dataplane, Report
from calico_openstack.felix.datastore import Datastore
from calico_openstack.felix.settings import FelixSettings
from calico_openstack.felix.timing import Timing
from calico_openstack.felix.wanted.state import Changes
from calico_openstack.model.endpoint import EndpointKey


@dataclass(slots=True)
class Running:
    """Times are monotonic seconds. `origins`: parameter -> the source whose value counts, where it is not built in."""

    settings: FelixSettings
    health: Health
    store: Datastore
    started: float
    last_step: float
    origins: Mapping[str, str] = field(default_factory=dict)
    mirror: AsyncMirror | None = None
    dataplane: Dataplane | None = None
    programmed: set[EndpointKey] = field(default_factory=set)
    statuses: dict[EndpointKey, bool] = field(default_factory=dict)
    absences: dict[EndpointKey, str] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TARGETS, 0))
    snapshots: int = 0
    outputs: int = 0
    failed_steps: int = 0
    first_apply: float | None = None
    apply_time: Timing = field(default_factory=Timing)
    _tries: set[tuple[str, Hashable, float]] = field(default_factory=set)
    _other_settings: asyncio.Event = field(default_factory=asyncio.Event)

    def use(self, settings: FelixSettings, origins: Mapping[str, str]) -> None:
        """Other settings from now on; wakes up who waits for that."""
        self.settings, self.origins = settings, origins
        changed, self._other_settings = self._other_settings, asyncio.Event()
        changed.set()

    async def changed(self, before: FelixSettings, part: Callable[[FelixSettings], object]) -> None:
        """Until that part of the settings is another."""
        while part(self.settings) == part(before):
            await self._other_settings.wait()

    async def unchanged(self, tasks: Tasks, before: FelixSettings, part: Callable[[FelixSettings], object]) -> None:
        """As long as that part of the settings stays as it is; TaskEnded if one of the tasks ends meanwhile."""
        tasks.start("settings", self.changed(before, part))
        try:
            await tasks.forever()
        except TaskEnded:
            if part(self.settings) == part(before):
                raise

    def stepped(self, changes: Changes, report: Report, seconds: float, now: float) -> None:
        """A step of the dataplane is done, and took so long."""
        self.last_step = now
        if self.first_apply is None:
            self.first_apply = now - self.started
        self.programmed |= changes.endpoints.keys()
        self.programmed -= changes.endpoints_removed
        self.statuses.update(report.statuses)
        for gone in changes.endpoints_removed:
            self.statuses.pop(gone, None)
        for name, count in report.operations.items():
            self.totals[name] += count
        self.outputs += changes.count()
        self._note_failures()
        if changes or any(report.operations.values()):
            self.apply_time.observe(seconds)

    def _note_failures(self) -> None:
        """A try that failed has a date for the next one that was not there before."""
        ledgers = self.dataplane.ledgers() if self.dataplane is not None else {}
        tries = {(kind, key, failure.due) for kind, ledger in ledgers.items() for key, failure in ledger}
        self.failed_steps += bool(tries - self._tries)
        self._tries = tries

    def line(self, failures: int) -> str:
        """All in one line, for the health table."""
        operations = " ".join(f"{name}={count}" for name, count in self.totals.items())
        up = sum(self.statuses.values())
        obstacles = len(self.dataplane.surroundings.obstacles) if self.dataplane is not None else 0
        others = f" obstacles={obstacles}" if obstacles else ""
        return f"endpoints={len(self.programmed)} up={up} failures={failures}{others} operations: {operations}"
