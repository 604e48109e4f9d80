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

from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.retry import Retries
from calico_openstack.felix.kernel.others import Others
from calico_openstack.felix.surroundings import Surroundings

log = get_logger("felix.switchover")

_SECONDS_OF_SETS = 0.1
"""So long one step removes sets; the rest is for the next steps."""

UPSTREAM = "upstream's rules"


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
        if self.failures.succeeded(UPSTREAM) or operations:
            log.info("switchover.done")
        return operations

    def _remove(self, others: Others) -> tuple[int, str, bool]:
        """How many operations were done; what stays and why, empty if nothing does; whether that filters nothing.

        OSError from any part.
        """
        self._surroundings.read(others)
        rules = self._surroundings.upstream
        limits = others.upstream_limits(self._is_tap)
        sets = others.upstream_sets()
        if not (rules or limits.filters or limits.devices or sets):
            return 0, "", True
        if not self._in_place():
            return 0, "our own firewall is not in place", False
        held = [one for one in self._surroundings.obstacles if one.place in rules.rules]
        if held:
            return 0, f"without them guests would be cut off by {held[0]}", False
        operations = others.remove_rules(rules) + others.remove_limits(limits)
        if operations:
            log.info("switchover.removed", rules=str(rules), limits=len(limits.devices), sets=len(sets))
        # The kernel lets go of sets a moment after the rules that used them.
        left = others.remove_sets(sets, _SECONDS_OF_SETS)
        reason = next((f"ipset {name}: {why}" for name, why in left.items()), "")
        return operations + len(sets) - len(left), reason and f"{len(left)} ipsets are left, {reason}", True

    def wake_at(self) -> float | None:
        return self.failures.wake_at()
