"""The firewall of this host: renders the wanted state and keeps nf_tables equal to it.

Each batch of changes is one transaction of exactly what differs from the last one. When that is refused, or when it
is time to check, or when somebody else committed something, everything is read back and compared, and one transaction
repairs the difference; on a correct host that is none. Until the first reading nothing is known about the kernel and
nothing is written blindly. Lives in the apply thread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.retry import Retries
from calico_openstack.felix.kernel.nft import NftRefused, NftTables
from calico_openstack.felix.ruleset.objects import NftChanges
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import Changes, Wanted
from calico_openstack.model.endpoint import EndpointKey

log = get_logger("felix.firewall")

MIN_PAUSE = 2.0
"""Seconds between two readings, however often others change nf_tables (perhaps only tables of their own)."""


class Firewall:
    """`operations` counts single operations of the transactions that were applied."""

    def __init__(self, settings: RulesetSettings) -> None:
        self._renderer = RulesetRenderer(settings)
        self._tables = NftTables()
        self._trouble = Retries[str]()
        self._unsure = True
        self._generation = 0
        self._read_at = -math.inf
        self._suspicious = False
        self.operations = 0

    @property
    def refused(self) -> Mapping[EndpointKey, str]:
        """Endpoints that cannot be rendered, and why. They pass nothing."""
        return self._renderer.refused

    @property
    def settings(self) -> RulesetSettings:
        return self._renderer.settings

    @property
    def trouble(self) -> str | None:
        """Why the kernel does not have what was rendered."""
        return next((failure.reason for _, failure in self._trouble), None)

    def drifted(self) -> None:
        """Somebody may have changed our tables: read them back at the next step."""
        self._unsure = True

    def somebody_committed(self) -> None:
        """There was a transaction, ours or another's: look whose at the next step."""
        self._suspicious = True

    def use(self, settings: RulesetSettings, wanted: Wanted) -> None:
        """Other settings: render everything anew; the next step applies the difference."""
        self._renderer = RulesetRenderer(settings)
        self._renderer.apply(everything(wanted))
        self._unsure = True

    def step(self, changes: Changes, now: float) -> bool:
        """Take the changes in and bring the kernel there; True if it is there. Never raises for what the kernel did."""
        operations = self._renderer.apply(changes)
        if self._trouble and not operations and not self._trouble.due(now):
            return False
        try:
            if self._suspicious and now >= self._read_at + MIN_PAUSE:
                self._suspicious = False
                self._unsure = self._unsure or self._tables.generation() != self._generation
            if not self._unsure:
                try:
                    self._commit(operations)
                    return True
                except NftRefused as refused:
                    # Nothing of it is in effect. Most likely somebody else changed our tables.
                    log.warning("firewall.refused", reason=str(refused), operations=len(operations))
            self._read_at = now
            self._generation = self._tables.generation()
            repaired = self._tables.synchronise(self._renderer.full())
            self._count(len(repaired))
        except (NftRefused, OSError) as error:
            failure = self._trouble.failed("nft", str(error), now)
            self._unsure = True
            log.error("firewall.failed", reason=failure.reason, again_in=failure.pause)
            return False
        self._unsure = False
        if self._trouble.succeeded("nft"):
            log.info("firewall.recovered")
        return True

    def _commit(self, operations: NftChanges) -> None:
        if operations:
            self._tables.apply(operations)
            self._count(len(operations))

    def _count(self, operations: int) -> None:
        """A transaction of ours is one generation. If it is more, another's came in between, and will be noticed."""
        self.operations += operations
        self._generation += bool(operations)

    def wake_at(self) -> float | None:
        later = self._read_at + MIN_PAUSE if self._suspicious else None
        return min((at for at in (later, self._trouble.wake_at()) if at is not None), default=None)

    def close(self) -> None:
        self._tables.close()


def everything(wanted: Wanted) -> Changes:
    """The changes that lead from nothing to `wanted`."""
    return Changes(
        sets={set_id: frozenset(members) for set_id, members in wanted.sets.items()},
        policies=dict(wanted.policies),
        profiles=dict(wanted.profiles),
        endpoints=dict(wanted.endpoints),
    )
