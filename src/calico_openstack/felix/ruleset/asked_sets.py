"""Which IP sets the rendered chains ask, and the nft sets behind them.

A set is programmed while some chain asks it and no longer. Its shape (is there an interval set to ask, too?) is part of
the chain's rules, so a change of shape, or of being known at all, names the chains that must be written anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from calico_openstack.felix.ruleset.draft import Draft
from calico_openstack.felix.ruleset.members import MemberSet, Use
from calico_openstack.felix.ruleset.objects import Key, SetSpec
from calico_openstack.felix.ruleset.policies import PolicyList
from calico_openstack.felix.wanted.state import Changes, Member, SetId

Ident = tuple[SetId, Use]


class AskedSets:
    """`known`: the members of every set of the wanted state. `asker`: the list that is being written."""

    def __init__(self, draft: Draft, known: Mapping[SetId, AbstractSet[Member]]) -> None:
        self.asker: PolicyList | None = None
        self._draft = draft
        self._known = known
        self._members: dict[Ident, MemberSet] = {}
        self._askers: dict[Ident, set[PolicyList]] = {}
        self._asks: dict[PolicyList, set[Ident]] = {}
        self._loose: set[Ident] = set()

    def ask(self, set_id: SetId, use: Use, version: int) -> Sequence[SetSpec] | None:
        """The nft sets that a rule of the asker must look into; None when nobody told us of the set."""
        ident = (set_id, use)
        if self.asker is not None:
            self._asks.setdefault(self.asker, set()).add(ident)
            self._askers.setdefault(ident, set()).add(self.asker)
        if ident not in self._members:
            self._fill(ident)
        members = self._members.get(ident)
        return None if members is None else members.specs(version)

    def change(self, changes: Changes) -> set[PolicyList]:
        """Bring the elements of asked sets up to date; the lists whose rules must now ask other sets."""
        stale: set[PolicyList] = set()
        for set_id in sorted({*changes.sets, *changes.members, *changes.sets_removed}):
            for use in _USES:
                ident = (set_id, use)
                if ident not in self._askers:
                    continue
                self._loose.add(ident)
                before = self._shape(ident)
                members = self._members.get(ident)
                if members is None or set_id not in self._known or set_id in changes.sets:
                    self._fill(ident)
                else:
                    self._apply(members, members.change(*changes.members[set_id]))
                if self._shape(ident) != before:
                    stale |= self._askers[ident]
        return stale

    def release(self, asker: PolicyList) -> None:
        """The list asks nothing any more, or is about to ask anew."""
        for ident in self._asks.pop(asker, set()):
            self._askers[ident].discard(asker)
            self._loose.add(ident)

    def sweep(self) -> None:
        """Drop the nft sets that no chain asks."""
        for ident in sorted(self._loose):
            if not self._askers.get(ident):
                self._askers.pop(ident, None)
                self._members.pop(ident, None)
            members = self._members.get(ident)
            kept = [spec.name for version in (4, 6) for spec in members.specs(version)] if members else []
            for version in (4, 6):
                exact = MemberSet(*ident).exact(version)
                for name in (exact.name, MemberSet(*ident).wide(version).name):
                    if name not in kept:
                        self._draft.drop_set(name)
        self._loose = set()

    def _shape(self, ident: Ident) -> tuple[bool, ...] | None:
        members = self._members.get(ident)
        return None if members is None else tuple(members.has_networks(version) for version in (4, 6))

    def _fill(self, ident: Ident) -> None:
        """Begin a set anew from the state; forget it if the state does not have it."""
        set_id, use = ident
        self._members.pop(ident, None)
        if set_id not in self._known:
            return
        members = self._members[ident] = MemberSet(set_id, use)
        effects = members.change(self._known[set_id], ())
        for version in (4, 6):
            for spec in members.specs(version):
                self._draft.put_set(spec)
                present: dict[Key, None] = {key: None for key, there in effects.get(spec.name, {}).items() if there}
                self._draft.put_elements(spec.name, present)

    def _apply(self, members: MemberSet, effects: dict[str, dict[Key, bool]]) -> None:
        for version in (4, 6):
            for spec in members.specs(version):
                self._draft.put_set(spec)
        for name, elements in effects.items():
            if name not in self._draft.content.sets:
                continue
            for key, present in elements.items():
                if present:
                    self._draft.put_element(name, key)
                else:
                    self._draft.drop_element(name, key)


_USES: tuple[Use, ...] = ("addresses", "ports")
