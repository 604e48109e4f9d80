"""Taking a host over from the upstream Felix: what it left is removed once ours is in place, read back.

    ours applied ─► what is there? ─► ours read back ─► nf_tables (one transaction) ─► old tables ─► limits ─► sets

Until then both filters are asked, so nothing passes that ours denies; afterwards ours alone. A chain of the host that
ends with a drop, and in which upstream's rules let guests pass, would cut all guests off without these rules: as long
as it is so, upstream's rules stay, as something that failed and is tried again, with the cure as its reason.

Done once per process: rules that come back are those of an upstream Felix that runs, which `surroundings` tells of.
Lives in the apply thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.retry import Retries
from calico_openstack.felix.kernel.others import Others
from calico_openstack.felix.kernel.upstream_remains import Limits
from calico_openstack.felix.obstacles import Obstacle
from calico_openstack.felix.surroundings import Surroundings
from calico_openstack.felix.upstream import Leftovers

log = get_logger("felix.switchover")

_SECONDS_OF_SETS = 0.1
"""So long one step removes sets; the rest is for the next steps."""

UPSTREAM = "upstream's rules"


class Found(NamedTuple):
    """What upstream left. `held`: chains of the host that would cut guests off without it."""

    rules: Leftovers
    limits: Limits
    sets: list[str]
    held: list[Obstacle]

    def __bool__(self) -> bool:
        return bool(self.rules or self.limits.filters or self.limits.devices or self.sets)

    def __str__(self) -> str:
        return f"{self.rules}, {len(self.sets)} ipsets, {len(self.limits.devices)} devices of limits"


def look(others: Others, surroundings: Surroundings, is_tap: Callable[[str], bool]) -> Found:
    """What there is to remove. OSError if it cannot be read."""
    surroundings.read(others)
    if surroundings.upstream_serves_others:
        return Found(Leftovers(), Limits(), [], [])
    rules = surroundings.upstream
    held = [one for one in surroundings.obstacles if one.place in rules.rules]
    return Found(rules, others.upstream_limits(is_tap), others.upstream_sets(), held)


class SwitchOver:
    """`in_place` reads back whether our firewall is as it should be; without `others` nothing is done."""

    def __init__(
        self,
        others: Others | None,
        surroundings: Surroundings,
        is_tap: Callable[[str], bool],
        in_place: Callable[[], bool],
    ) -> None:
        self._others = others
        self._surroundings = surroundings
        self._is_tap = is_tap
        self._in_place = in_place
        self._done = False
        self.failures = Retries[str]()

    def step(self, now: float) -> int:
        """Do what is due, with our own firewall applied; how many operations that were."""
        if self._done or self._others is None or (self.failures and not self.failures.due(now)):
            return 0
        try:
            operations, left, harmless = self._remove(self._others)
        except OSError as error:
            operations, left, harmless = 0, str(error), False
        if left:
            before = self.failures.get(UPSTREAM)
            failure = self.failures.failed(UPSTREAM, left, now)
            if not harmless and (before is None or before.reason != left):
                log.error("switchover.waits", reason=left, again_in=failure.pause)
            return operations
        self._done = self._surroundings.upstream_removed = True
        if operations:
            self._surroundings.drifted()  # the old tables that it remembers are others now
        if self.failures.succeeded(UPSTREAM) or operations:
            log.info("switchover.done")
        return operations

    def _remove(self, others: Others) -> tuple[int, str, bool]:
        """How many operations were done; what stays and why, empty if nothing does; whether that filters nothing.

        OSError from any part.
        """
        found = look(others, self._surroundings, self._is_tap)
        if not found:
            return 0, "", True
        if not self._in_place():
            return 0, "our own firewall is not in place", False
        if found.held:
            return 0, f"without them guests would be cut off by {found.held[0]}", False
        operations = others.remove_rules(found.rules) + others.remove_limits(found.limits)
        if operations:
            log.info("switchover.removed", what=str(found))
        # The kernel lets go of sets a moment after the rules that used them.
        left = others.remove_sets(found.sets, _SECONDS_OF_SETS)
        reason = next((f"ipset {name}: {why}" for name, why in left.items()), "")
        return operations + len(found.sets) - len(left), reason and f"{len(left)} ipsets are left, {reason}", True

    def wake_at(self) -> float | None:
        return self.failures.wake_at()
