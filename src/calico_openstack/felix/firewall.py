"""The firewall of this host: renders the wanted state and keeps nf_tables equal to it.

Each batch of changes is one transaction of exactly what differs from the last one. When that is refused, or when it
is time to check, or when somebody else committed something, everything is read back and compared, and one transaction
repairs the difference; on a correct host that is none. Until the first reading nothing is known about the kernel and
nothing is written blindly. Lives in the apply thread.

If the kernel refuses even that, and names the object at fault, the endpoints that need this object are held back; if it
does not, those are suspected that the batch is about, and held back if they are few. Without them the others go on.
They are tried again together, with a growing pause, and at once when one of their policies changes; meanwhile they pass
nothing, because no map lists their taps.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Mapping
from typing import Any

from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.retry import Retries
from calico_openstack.felix.former import Former, former
from calico_openstack.felix.kernel.nft import NftRefused, NftTables
from calico_openstack.felix.ruleset.blame import blamed, culprit
from calico_openstack.felix.ruleset.difference import Actual, difference
from calico_openstack.felix.ruleset.named_sets import INET
from calico_openstack.felix.ruleset.objects import AddTable, NftChanges, Ruleset
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.ruleset.stages import stages
from calico_openstack.felix.wanted.state import Changes, Wanted, WantedEndpoint
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.policy import PolicyKey

log = get_logger("felix.firewall")

MIN_PAUSE = 2.0
"""Seconds between two readings, however often others change nf_tables (perhaps only tables of their own)."""

MOST_HELD = 16
"""So many endpoints are held back at most on suspicion alone."""

LONGEST_PAUSE = 10.0
"""Seconds between two tries when nothing is taken: the whole host waits for it."""

_MOST_CULPRITS = 8
"""So many objects may be at fault in one step; with more the fault is a common one."""


class Firewall:
    """`operations` counts single operations of the transactions that were applied. `former`: what the first reading
    found, for whoever takes it up and sets it to None."""

    def __init__(self, settings: RulesetSettings, wanted: Wanted, tables: NftTables | None = None) -> None:
        self._wanted = wanted
        self._renderer = RulesetRenderer(settings)
        # Whether policies that ask for it are programmed although nobody needs them yet.
        self._ahead = True
        self.tables = self._tables = tables or NftTables()
        self._trouble = Retries[str](longest=LONGEST_PAUSE)
        self._held = Retries[EndpointKey]()
        self._causes: dict[EndpointKey, str] = {}
        self._hurried = False
        # Who is missing in what is rendered: all that are held back, except while they are tried again.
        self._left_out: set[EndpointKey] = set()
        self._suspects: set[EndpointKey] = set()
        self._suspect_rules: set[PolicyKey | str] = set()
        self._unsure = True
        self._once_right = False
        self._generation = 0
        self._read_at = -math.inf
        self._suspicious = False
        self.operations = 0
        self.former: Former | None = None
        self._looked = False

    @property
    def refused(self) -> Mapping[EndpointKey, str]:
        """Endpoints that cannot be rendered, or that the kernel refused, and why. They pass nothing."""
        return {**self._renderer.refused, **{key: failure.reason for key, failure in self._held}}

    @property
    def settings(self) -> RulesetSettings:
        return self._renderer.settings

    @property
    def trouble(self) -> str | None:
        """Why the kernel does not have what was rendered."""
        return next((failure.reason for _, failure in self._trouble), None)

    @property
    def whole(self) -> Retries[str]:
        """The same, as a ledger."""
        return self._trouble

    @property
    def rendered(self) -> Ruleset:
        """What the kernel should have. Not to be changed; the apply thread goes on changing it."""
        return self._renderer.full()

    def ledgers(self) -> dict[str, Retries[Any]]:
        """What waits for its next try: the firewall as a whole, and endpoints held back."""
        return {"nft": self._trouble, "nft endpoint": self._held}

    def drifted(self) -> None:
        """Somebody may have changed our tables: read them back at the next step."""
        self._unsure = True

    def somebody_committed(self) -> None:
        """There was a transaction, ours or another's: look whose at the next step."""
        self._suspicious = True

    def others_committed(self, transactions: int) -> None:
        """Other parts of Felix committed so many, in tables of their own: no reason to look."""
        self._generation += transactions

    def in_place(self) -> bool:
        """Whether the kernel, read back now, has what was rendered. OSError if it cannot be read."""
        return not difference(self._renderer.full(), self._tables.read())

    def use(self, settings: RulesetSettings) -> None:
        """Other settings: render everything anew; the next step applies the difference."""
        self._ahead = True
        self._renderer = self._rendered(settings)
        self._unsure = True

    def step(self, changes: Changes, now: float) -> bool:
        """Take the changes in and bring the kernel there; True if it is there. Never raises for what the kernel did."""
        operations = self._renderer.apply(self._with_a_second_chance(changes, now))
        if self._trouble and not operations and not self._trouble.due(now):
            return False
        try:
            if self._suspicious and now >= self._read_at + MIN_PAUSE:
                self._suspicious = False
                self._unsure = self._unsure or self._tables.generation() != self._generation
            if self._unsure or not self._committed(operations):
                self._synchronise(now)
        except (NftRefused, OSError) as error:
            failure = self._trouble.failed("nft", str(error), now)
            self._unsure = True
            log.error("firewall.failed", reason=failure.reason, again_in=failure.pause)
            return False
        self._suspects.clear()
        self._suspect_rules.clear()
        self._unsure = False
        self._once_right = True
        if self._trouble.succeeded("nft"):
            log.info("firewall.recovered")
        return True

    def _with_a_second_chance(self, changes: Changes, now: float) -> Changes:
        """The changes; or, without any, the endpoints that one object held back and whose pause is over."""
        for key in changes.endpoints_removed | changes.endpoints.keys():
            self._release(key)
            self._left_out.discard(key)
        self._suspects = (self._suspects | changes.endpoints.keys()) - changes.endpoints_removed
        self._suspect_rules |= {*changes.policies, *changes.profiles}
        if self._held and self._suspect_rules:
            held = {key: endpoint for key, _ in self._held if (endpoint := self._wanted.endpoints.get(key)) is not None}
            self._hurried |= any(not self._suspect_rules.isdisjoint(_rules_of(endpoint)) for endpoint in held.values())
        due = [key for key, _ in self._held] if self._hurried else self._held.due(now)
        if not due or changes:
            self._hurried = self._hurried and bool(due)
            return changes
        self._hurried = False
        cause = self._causes.get(due[0])
        again = {key for key in due if cause is not None and self._causes.get(key) == cause} | {due[0]}
        self._suspects |= again
        self._left_out -= again
        return Changes(endpoints={key: self._wanted.endpoints[key] for key in again if key in self._wanted.endpoints})

    def _release(self, key: EndpointKey) -> None:
        self._held.succeeded(key)
        self._causes.pop(key, None)

    def _committed(self, operations: NftChanges) -> bool:
        """True if they were taken; False if the transaction, or one of two, was refused, and so has no effect."""
        try:
            self._commit(operations)
        except NftRefused as refused:
            # Most likely somebody else changed our tables.
            log.warning("firewall.refused", reason=str(refused), operations=len(operations))
            return False
        for key in self._suspects:
            self._release(key)
        return True

    def _synchronise(self, now: float) -> None:
        """Read back and repair; hold suspected endpoints back if that is what it takes."""
        self._read_at = now
        for _ in range(_MOST_CULPRITS):
            self._generation = self._tables.generation()
            try:
                self._count(len(self._tables.synchronise(self._renderer.full(), self._look)))
            except NftRefused as refused:
                self._hold_back(refused, now)
            else:
                for key in self._suspects:
                    self._release(key)
                return
        raise OSError(errno.ELOOP, f"more than {_MOST_CULPRITS} objects are refused")

    def _hold_back(self, refused: NftRefused, now: float) -> None:
        """Render without those whose fault it is; raises what was refused if it is nobody's."""
        operation = refused.operation
        cause = culprit(operation) if operation is not None else ""
        interfaces = blamed(self._renderer.full(), operation) if operation is not None else set()
        wanted = self._wanted.endpoints
        held = {key for key, one in wanted.items() if one.interface in interfaces} - self._left_out
        if not held and self._ahead and any(policy.ahead for policy in self._wanted.policies.values()):
            # Perhaps it is something that nobody needs yet. What endpoints need comes before a hint.
            self._ahead = False
            self._renderer = self._rendered(self._renderer.settings)
            log.warning("firewall.nothing_ahead", reason=str(refused))
            return
        if not held:
            cause, held = "", self._suspected()
            # Holding many back, or all that a former process had programmed, would cut off guests that work.
            if not held or not self._once_right or len(held) > MOST_HELD:
                raise refused
            # If even this is refused, which changes nothing, it is not theirs.
            self._tables.apply(NftChanges((AddTable(INET),)))
        for key in held:
            self._held.failed(key, str(refused), now)
            self._causes[key] = cause or str(key)
        self._suspects -= held
        self._renderer = self._rendered(self._renderer.settings)
        log.error("firewall.held_back", endpoints=len(held), culprit=cause or "unknown", reason=str(refused))

    def _suspected(self) -> set[EndpointKey]:
        """Those that the batch is about, by themselves or by their policies."""
        rules = self._suspect_rules
        users = (key for key, one in self._wanted.endpoints.items() if not rules.isdisjoint(_rules_of(one)))
        return (self._suspects | set(users if rules else ())) - self._left_out

    def _look(self, actual: Actual) -> None:
        if not self._looked:
            self._looked, self.former = True, former(actual)

    def _rendered(self, settings: RulesetSettings) -> RulesetRenderer:
        """A renderer of everything but what is held back."""
        changes = everything(self._wanted)
        self._left_out = {key for key, _ in self._held}
        changes.endpoints = {key: one for key, one in changes.endpoints.items() if key not in self._left_out}
        renderer = RulesetRenderer(settings, ahead=self._ahead)
        renderer.apply(changes)
        return renderer

    def _commit(self, operations: NftChanges) -> None:
        for stage in stages(operations):
            self._tables.apply(stage)
            self._count(len(stage))

    def _count(self, operations: int) -> None:
        """A transaction of ours is one generation. If it is more, another's came in between, and will be noticed."""
        self.operations += operations
        self._generation += bool(operations)

    def wake_at(self) -> float | None:
        later = self._read_at + MIN_PAUSE if self._suspicious else None
        times = (later, self._trouble.wake_at(), 0.0 if self._hurried else self._held.wake_at())
        return min((at for at in times if at is not None), default=None)

    def close(self) -> None:
        self._tables.close()


def _rules_of(endpoint: WantedEndpoint) -> set[PolicyKey | str]:
    """The policies and profiles that apply to it."""
    return {*endpoint.profiles, *(key for tier in endpoint.tiers for key in (*tier.ingress, *tier.egress))}


def everything(wanted: Wanted) -> Changes:
    """The changes that lead from nothing to `wanted`."""
    return Changes(
        sets={set_id: frozenset(members) for set_id, members in wanted.sets.items()},
        policies=dict(wanted.policies),
        profiles=dict(wanted.profiles),
        endpoints=dict(wanted.endpoints),
        host_endpoints=dict(wanted.host_endpoints),
        host_interfaces=dict(wanted.host_interfaces),
        pools=dict(wanted.pools),
        hosts=dict(wanted.hosts),
    )
