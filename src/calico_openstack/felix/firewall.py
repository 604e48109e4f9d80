"""The firewall of this host: renders the wanted state and keeps nf_tables equal to it.

Each batch of changes is one transaction of exactly what differs from the last one. When that is refused, or when it
is time to check, everything is read back and compared, and one transaction repairs the difference; on a correct host
that is none. Until the first reading nothing is known about the kernel and nothing is written blindly. Lives in the
apply thread.
"""

from __future__ import annotations

from collections.abc import Mapping

from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.retry import Retries
from calico_openstack.felix.kernel.nft import NftRefused, NftTables
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import Changes, Wanted
from calico_openstack.model.endpoint import EndpointKey

log = get_logger("felix.firewall")


class Firewall:
    """`operations` counts single operations of the transactions that were applied."""

    def __init__(self, settings: RulesetSettings) -> None:
        self._renderer = RulesetRenderer(settings)
        self._tables = NftTables()
        self._trouble = Retries[str]()
        self._unsure = True
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
            if not self._unsure:
                try:
                    self._tables.apply(operations)
                    self.operations += len(operations)
                    return True
                except NftRefused as refused:
                    # Nothing of it is in effect. Most likely somebody else changed our tables.
                    log.warning("firewall.refused", reason=str(refused), operations=len(operations))
                    self._unsure = True
            self.operations += len(self._tables.synchronise(self._renderer.full()))
        except (NftRefused, OSError) as error:
            failure = self._trouble.failed("nft", str(error), now)
            log.error("firewall.failed", reason=failure.reason, again_in=failure.pause)
            return False
        self._unsure = False
        if self._trouble.succeeded("nft"):
            log.info("firewall.recovered")
        return True

    def wake_at(self) -> float | None:
        return self._trouble.wake_at()

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
