"""Live migration: what an endpoint's routes should be while its guest moves. Pure; `now` is an argument.

| phase \\ input | role target | role source | role none | guest seen | moved in | time is up |
|---|---|---|---|---|---|---|
| BASE | TARGET | - | - | - | TIME_WAIT | - |
| TARGET | - | BASE | TARGET for a second, then TIME_WAIT | LIVE | TIME_WAIT without a role | TIME_WAIT |
| LIVE | - | BASE | TIME_WAIT | - | - | - |
| TIME_WAIT | LIVE, or TARGET if the guest was never seen | BASE | - | - | - | BASE |

    BASE       routes with the normal metric
    TARGET     the guest is not here yet: no routes; everything else is programmed, so the endpoint is up
    LIVE       the guest is here, and another host still announces it: routes with the elevated metric
    TIME_WAIT  the migration is over, or there was none; elevated until everybody has forgotten the other host's routes

The table is upstream's (felix/dataplane/linux/live_migration.go) with two differences. A target whose migration goes
waits a second for its own end, because a cancelled migration goes a moment before its endpoint, and routes of a guest
that never came would swallow its packets; a guest that speaks is believed at once. And a LiveMigration that is written
anew finds the phase in which its predecessor ended.

What the process knows is lost when it ends; `begin` finds the phase again by the routes that it left in the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from calico_openstack.felix.wanted.state import Changes, Role, WantedEndpoint
from calico_openstack.model.endpoint import EndpointKey

HESITATION = 1.0
"""Seconds that a target which has not seen its guest waits when its migration goes."""

FAREWELL = 10.0
"""Seconds within which the endpoint of a source goes after its migration."""


class Phase(Enum):
    BASE = "base"
    TARGET = "target"
    LIVE = "live"
    TIME_WAIT = "time-wait"

    @property
    def elevated(self) -> bool:
        """Whether the routes have the elevated metric."""
        return self in (Phase.LIVE, Phase.TIME_WAIT)


@dataclass(frozen=True, slots=True)
class Progress:
    """`until`: when the phase ends by itself. `seen`: the guest has shown that it is here."""

    phase: Phase
    role: Role
    until: float | None = None
    seen: bool = False


def begin(role: Role, elevated: bool, now: float, convergence: float) -> Progress:
    """The phase of an endpoint that this process has not known. `elevated`: it has routes with the elevated metric."""
    if role == "target":
        return Progress(Phase.LIVE if elevated else Phase.TARGET, role, seen=elevated)
    if role == "none" and elevated:
        return Progress(Phase.TIME_WAIT, role, now + convergence, seen=True)
    return Progress(Phase.BASE, role)


def turn(progress: Progress, role: Role, now: float, convergence: float) -> Progress:
    """Another role."""
    phase, until = progress.phase, progress.until
    match phase, role:
        case _, "source":
            return Progress(Phase.BASE, role)
        case Phase.TARGET, "none":
            until = now + HESITATION
        case Phase.LIVE, "none":
            phase, until = Phase.TIME_WAIT, now + convergence
        case Phase.TIME_WAIT, "target":
            phase, until = Phase.LIVE if progress.seen else Phase.TARGET, None
        case ((Phase.BASE | Phase.TARGET), "target"):
            phase, until = Phase.TARGET, None
    return Progress(phase, role, until, progress.seen)


def arrive(progress: Progress, now: float, convergence: float) -> Progress:
    """The guest was seen."""
    if progress.phase is not Phase.TARGET:
        return progress
    if progress.role == "none":
        return Progress(Phase.TIME_WAIT, progress.role, now + convergence, seen=True)
    return Progress(Phase.LIVE, progress.role, seen=True)


def expire(progress: Progress, now: float, convergence: float) -> Progress:
    """Time goes by."""
    if progress.until is None or now < progress.until:
        return progress
    if progress.phase is Phase.TARGET:
        return Progress(Phase.TIME_WAIT, progress.role, now + convergence)
    return Progress(Phase.BASE, progress.role)


def move_in(progress: Progress, now: float, convergence: float, afterglow: float) -> Progress:
    """The endpoint was another host's until now. Without a live migration that host may be dead, and others may
    remember its routes for so many seconds of `afterglow`; with one, the guest has come, seen or not."""
    if progress.role != "none" or progress.phase.elevated:
        return progress
    arrived = progress.phase is Phase.TARGET
    return Progress(Phase.TIME_WAIT, "none", now + (convergence if arrived else afterglow), seen=True)


class Migrations:
    """The progress of all local endpoints that are not simply at home. `convergence` in seconds
    [LiveMigrationRouteConvergenceTime], `afterglow` too [MovedRouteConvergenceTime]."""

    def __init__(self, convergence: float = 30.0, afterglow: float = 120.0) -> None:
        self.convergence = convergence
        self.afterglow = afterglow
        self._known: set[EndpointKey] = set()
        self._moving: dict[EndpointKey, Progress] = {}
        self._was_source: dict[EndpointKey, float] = {}
        self._departed: frozenset[EndpointKey] = frozenset()

    def use(self, convergence: float, afterglow: float) -> None:
        """Other settings, for phases that begin from now on."""
        self.convergence, self.afterglow = convergence, afterglow

    def has_departed(self, key: EndpointKey) -> bool:
        """Whether the endpoint went with the last update because its guest lives on elsewhere, under its addresses."""
        return key in self._departed

    def phase(self, key: EndpointKey) -> Phase:
        progress = self._moving.get(key)
        return progress.phase if progress is not None else Phase.BASE

    def moving(self) -> dict[EndpointKey, Progress]:
        """A copy of the progress of those that are not simply at home, in one step of the interpreter."""
        return self._moving.copy()

    def update(
        self, changes: Changes, now: float, elevated: Callable[[WantedEndpoint], bool] = lambda endpoint: False
    ) -> set[EndpointKey]:
        """Take in changed roles; whose phase is another now. `elevated` is asked for endpoints that are new."""
        self._was_source = {key: until for key, until in self._was_source.items() if now < until}
        self._departed = frozenset(key for key in changes.endpoints_removed if self._is_source(key))
        for key in changes.endpoints_removed:
            self._known.discard(key)
            self._moving.pop(key, None)
        turned = set()
        for key, endpoint in changes.endpoints.items():
            before = self._moving.get(key, Progress(Phase.BASE, "none"))
            if key not in self._known:
                self._known.add(key)
                self._was_source.pop(key, None)
                after = begin(endpoint.role, elevated(endpoint), now, self.convergence)
            elif endpoint.role != before.role:
                if before.role == "source":
                    self._was_source[key] = now + FAREWELL
                after = turn(before, endpoint.role, now, self.convergence)
            else:
                continue
            if self._put(key, before, after):
                turned.add(key)
        for key in changes.came & self._known if self.afterglow else ():
            before = self._moving.get(key, Progress(Phase.BASE, "none"))
            # A source whose target has gone stays where it is: its migration was called off.
            if key not in self._was_source and self._put(
                key, before, move_in(before, now, self.convergence, self.afterglow)
            ):
                turned.add(key)
        return turned

    def arrive(self, key: EndpointKey, now: float) -> bool:
        """The guest of this endpoint was seen here; whether that changes its phase."""
        before = self._moving.get(key)
        return before is not None and self._put(key, before, arrive(before, now, self.convergence))

    def expire(self, now: float) -> set[EndpointKey]:
        """Time goes by: whose phase is another now."""
        over = [(key, before) for key, before in self._moving.items() if before.until is not None]
        return {key for key, before in over if self._put(key, before, expire(before, now, self.convergence))}

    def wake_at(self) -> float | None:
        return min((one.until for one in self._moving.values() if one.until is not None), default=None)

    def _is_source(self, key: EndpointKey) -> bool:
        progress = self._moving.get(key)
        return key in self._was_source or (progress is not None and progress.role == "source")

    def _put(self, key: EndpointKey, before: Progress, after: Progress) -> bool:
        if after.phase is Phase.BASE and after.role == "none":
            self._moving.pop(key, None)
        else:
            self._moving[key] = after
        return before.phase is not after.phase
