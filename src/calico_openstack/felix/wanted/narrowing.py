"""Whose meaning may have become narrower by a batch of changes: whose established flows are to be asked again.

    rule removed, deny added, order changed  ─► every endpoint with that policy, all its flows
    member left a set that rules allow       ─► every endpoint with such a policy, flows with that member
    endpoint's own policies or profiles      ─► that endpoint, all its flows
    address joins an endpoint                ─► flows of that address: another may have had it, here or elsewhere
    floating IP removed                      ─► flows translated by it

What only widens is not listed: rules that allow more, members that join, denials that go. In doubt an endpoint is
listed; that costs a look at its flows and ends none that is still allowed. Released addresses are not this module's
business.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from calico_openstack.felix.wanted.state import Changes, Member, PortMember, SetId, Wanted, WantedEndpoint, WantedRule
from calico_openstack.model.endpoint import EndpointKey, Nat
from calico_openstack.model.net import Net
from calico_openstack.model.policy import PolicyKey

Owner = PolicyKey | str
"""Whose rules: a policy's, or those of the profile with this name."""

SHRINKS, GROWS = 1, 2
"""Which change of a set may make rules that name it narrower."""

MOST_PEERS = 64
"""With more changed members than that, all flows of the endpoint are looked at."""


@dataclass(slots=True)
class Narrowed:
    """`endpoints`: only flows with one of these peers; None for all flows. `nats`: floating IPs that were removed."""

    endpoints: dict[EndpointKey, set[Net] | None] = field(default_factory=dict)
    nats: set[Nat] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.endpoints or self.nats)

    def add(self, key: EndpointKey, peers: set[Net] | None) -> None:
        known = self.endpoints.get(key, set())
        both = None if peers is None or known is None else known | peers
        self.endpoints[key] = None if both is not None and len(both) > MOST_PEERS else both

    def merge(self, other: Narrowed) -> None:
        for key, peers in other.endpoints.items():
            self.add(key, peers)
        self.nats |= other.nats


class Narrowing:
    """Knows who uses which rules, and which rules name which sets, so that a look costs what the change does."""

    def __init__(self) -> None:
        self._users: dict[Owner, set[EndpointKey]] = {}
        self._owners: dict[EndpointKey, frozenset[Owner]] = {}
        self._askers: dict[SetId, dict[Owner, int]] = {}
        self._asked: dict[Owner, dict[SetId, int]] = {}

    def update(self, before: Wanted, changes: Changes) -> Narrowed:
        """Take a batch in that is about to be applied to `before`."""
        found = Narrowed()
        self._endpoints(before, changes, found)
        self._rules(before, changes, found)
        for set_id, members in changes.sets.items():
            known = before.sets.get(set_id)
            if known is None:
                self._appeared(set_id, found)
            else:
                self._changed(set_id, known - members, members - known, found)
        for set_id, change in changes.members.items():
            self._changed(set_id, change.removed, change.added, found)
        for set_id in changes.sets_removed:
            for owner in self._askers.get(set_id, ()):
                self._suspect(owner, None, found)
        return found

    def _endpoints(self, before: Wanted, changes: Changes, found: Narrowed) -> None:
        for key in changes.endpoints_removed:
            self._use(key, frozenset())
            if key in before.endpoints:
                found.nats.update(before.endpoints[key].nats)
        for key, after in changes.endpoints.items():
            old = before.endpoints.get(key)
            self._use(key, _owners(after))
            if old is None:
                # At the start nobody knows what was allowed before; later, somebody may have had its addresses.
                found.add(key, None)
                continue
            joined = set(after.addresses) - set(old.addresses)
            if joined:
                found.add(key, joined)
            if (old.tiers, old.profiles) != (after.tiers, after.profiles):
                found.add(key, None)
            found.nats.update(set(old.nats) - set(after.nats))

    def _rules(self, before: Wanted, changes: Changes, found: Narrowed) -> None:
        for key, policy in changes.policies.items():
            known = before.policies.get(key)
            # A policy that is missing denies: whatever comes in its place is wider.
            if known is not None and not (
                widens(known.ingress or (), policy.ingress or ()) and widens(known.egress or (), policy.egress or ())
            ):
                self._suspect(key, None, found)
            self._ask(key, (*(policy.ingress or ()), *(policy.egress or ())))
        for name, profile in changes.profiles.items():
            old = before.profiles.get(name)
            ingress, egress = (old.ingress, old.egress) if old is not None else ((), ())
            if not (widens(ingress, profile.ingress) and widens(egress, profile.egress)):
                self._suspect(name, None, found)
            self._ask(name, (*profile.ingress, *profile.egress))
        gone: list[Owner] = [*changes.policies_removed, *changes.profiles_removed]
        for owner in gone:
            self._suspect(owner, None, found)
            self._ask(owner, ())

    def _changed(self, set_id: SetId, removed: Iterable[Member], added: Iterable[Member], found: Narrowed) -> None:
        left, joined = _nets(removed), _nets(added)
        for owner, sensitive in self._askers.get(set_id, {}).items():
            peers = (left if sensitive & SHRINKS else set()) | (joined if sensitive & GROWS else set())
            if peers:
                self._suspect(owner, peers, found)

    def _appeared(self, set_id: SetId, found: Narrowed) -> None:
        """Rules that name a missing set allow nothing and deny more; only "pass" may turn to the worse now."""
        for owner, sensitive in self._askers.get(set_id, {}).items():
            if sensitive == SHRINKS | GROWS:
                self._suspect(owner, None, found)

    def _suspect(self, owner: Owner, peers: set[Net] | None, found: Narrowed) -> None:
        for key in self._users.get(owner, ()):
            found.add(key, peers)

    def _use(self, key: EndpointKey, owners: frozenset[Owner]) -> None:
        known = self._owners.pop(key, frozenset())
        for owner in known - owners:
            self._users[owner].discard(key)
            if not self._users[owner]:
                del self._users[owner]
        for owner in owners - known:
            self._users.setdefault(owner, set()).add(key)
        if owners:
            self._owners[key] = owners

    def _ask(self, owner: Owner, rules: Iterable[WantedRule]) -> None:
        for set_id in self._asked.pop(owner, ()):
            del self._askers[set_id][owner]
            if not self._askers[set_id]:
                del self._askers[set_id]
        asked = sensitivity(rules)
        if asked:
            self._asked[owner] = asked
        for set_id, sensitive in asked.items():
            self._askers.setdefault(set_id, {})[owner] = sensitive


def widens(before: Sequence[WantedRule], after: Sequence[WantedRule]) -> bool:
    """Whether everything that `before` allows is allowed by `after` too, as far as the lists alone show.

    True if `after` comes about by inserting rules that allow and leaving out rules that deny; and for lists that only
    allow, whatever the order.
    """
    old = [rule for rule in before if rule.action != "log"]
    new = [rule for rule in after if rule.action != "log"]
    if all(rule.action == "allow" for rule in (*old, *new)):
        return set(old) <= set(new)
    place = 0
    for rule in new:
        match = place
        while match < len(old) and old[match] != rule and old[match].action == "deny":
            match += 1
        if match < len(old) and old[match] == rule:
            place = match + 1
        elif rule.action != "allow":
            return False
    return all(rule.action == "deny" for rule in old[place:])


def sensitivity(rules: Iterable[WantedRule]) -> dict[SetId, int]:
    """By set: which of its changes (SHRINKS, GROWS) may make these rules narrower."""
    found: dict[SetId, int] = {}
    for rule in rules:
        if rule.action == "log":
            continue
        positive, negative = {"allow": (SHRINKS, GROWS), "deny": (GROWS, SHRINKS)}.get(rule.action, (3, 3))
        for side in (rule.source, rule.destination):
            for set_id in (*side.sets, *side.port_sets):
                found[set_id] = found.get(set_id, 0) | positive
            for set_id in (*side.not_sets, *side.not_port_sets):
                found[set_id] = found.get(set_id, 0) | negative
    return found


def _owners(endpoint: WantedEndpoint) -> frozenset[Owner]:
    policies = (key for tier in endpoint.tiers for key in (*tier.ingress, *tier.egress))
    return frozenset((*policies, *endpoint.profiles))


def _nets(members: Iterable[Member]) -> set[Net]:
    return {member.net if isinstance(member, PortMember) else member for member in members}
