"""From wanted state to nft objects, touching only what a batch touches.

    sets, members  -> asked_sets         -> elements                     (only sets that some chain asks)
    policies       -> policies           -> shared chains, their own sets (only lists that some endpoint has)
    endpoints      -> endpoints.claims   -> elements of the fixed sets, and the verdict maps' jumps
                   -> limits             -> chains of their own (only endpoints with limits)
    host endpoints -> host_endpoints     -> elements of the hosts' maps, and lists for each stage (if there are any)
    pools, hosts   -> pools              -> sets of addresses inside and to be translated (only if there are any)

The answer depends on the state alone and not on how it came about: `full()` after any sequence of `apply`
is what a fresh renderer would say of the same state. One batch is one transaction, so no packet ever meets
a half-way state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable

from calico_openstack.felix.ruleset import base, host_chains, host_endpoints, named_sets, senders
from calico_openstack.felix.ruleset.asked_sets import AskedSets
from calico_openstack.felix.ruleset.draft import Draft
from calico_openstack.felix.ruleset.endpoints import Claim, ClaimBook, claims
from calico_openstack.felix.ruleset.fields import ifname
from calico_openstack.felix.ruleset.limits import LimitChains, Limits, limits
from calico_openstack.felix.ruleset.objects import (
    AddTable,
    NftChanges,
    Operation,
    Ruleset,
    in_order,
)
from calico_openstack.felix.ruleset.policies import (
    Direction,
    PolicyList,
    PolicyWriter,
    Rendered,
    lists_ahead,
    policy_list,
)
from calico_openstack.felix.ruleset.pools import write_pools
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.ruleset.statements import jump
from calico_openstack.felix.wanted.state import Changes, Wanted, WantedEndpoint
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.policy import PolicyKey

_HOST = "the host's own interfaces"
_DIRECTIONS: tuple[Direction, ...] = ("ingress", "egress")
_MAPS = {"ingress": named_sets.INGRESS, "egress": named_sets.EGRESS}


class RulesetRenderer:
    """Keeps the rendered state. `refused` tells which endpoints are not programmed, and why; they pass
    nothing. `ahead`: policies that ask for it are rendered although nobody needs them yet."""

    def __init__(self, settings: RulesetSettings, *, ahead: bool = True) -> None:
        self.settings = settings
        self._ahead = ahead
        self.refused: dict[EndpointKey, str] = {}
        self._state = Wanted()
        self._inet, self._arp = Draft(named_sets.INET), Draft(named_sets.ARP)
        self._drafts = {named_sets.INET: self._inet, named_sets.ARP: self._arp}
        self._claims = ClaimBook(self._drafts)
        self._limits = LimitChains(self._inet, settings)
        self._in_use: named_sets.Used = frozenset()
        self._rendered: dict[PolicyList, Rendered] = {}
        self._users: dict[PolicyList, set[Hashable]] = defaultdict(set)
        self._parents: dict[PolicyList, set[PolicyList]] = defaultdict(set)
        self._lists_of: dict[Hashable, list[PolicyList]] = {}
        self._lists_with_policy: dict[PolicyKey | str, set[PolicyList]] = defaultdict(set)
        self._literal_users: dict[str, set[PolicyList]] = defaultdict(set)
        # What may have become unused in this batch; `_sweep` looks at nothing else.
        self._loose_lists: set[PolicyList] = set()
        self._loose_literals: set[str] = set()
        self._begun = False
        self._asked = AskedSets(self._inet, self._state.sets)
        self._writer = PolicyWriter(settings, self._state.policies, self._state.profiles, self._asked.ask)
        self._base()

    def apply(self, changes: Changes) -> NftChanges:
        """The transaction that brings the kernel from the state before `changes` to the state after it."""
        self._state.apply(changes)
        stale = self._asked.change(changes)
        for policy_key in (*changes.policies, *changes.policies_removed):
            stale |= self._lists_with_policy.get(policy_key, set())
        for profile in (*changes.profiles, *changes.profiles_removed):
            stale |= self._lists_with_policy.get(_profile(profile), set())
        for policy_key in (*changes.policies, *changes.policies_removed):
            self._place_ahead(policy_key)
        for key in sorted(changes.endpoints_removed):
            if key not in self._state.endpoints:
                self._place(key, None)
        for key in changes.endpoints:
            self._place(key, self._state.endpoints.get(key))
        if (
            changes.host_endpoints
            or changes.host_endpoints_removed
            or changes.host_interfaces
            or changes.host_interfaces_removed
        ):
            self._place_hosts()
        for wanted in sorted(stale):
            if wanted in self._rendered:
                self._write(wanted)
        if changes.pools or changes.pools_removed or changes.hosts or changes.hosts_removed:
            write_pools(self._inet, self._state, self.settings)
        self._sweep()
        self._settle()
        return self._take()

    def full(self) -> Ruleset:
        """Everything that should be in the kernel. Belongs to the renderer: read it, do not change it."""
        return {draft.table: draft.content for draft in (self._inet, self._arp)}

    def _base(self) -> None:
        for draft, specs, chains in (
            (self._inet, named_sets.INET_SETS, base.inet_chains(self.settings)),
            (self._arp, named_sets.ARP_SETS, senders.arp_chains(self.settings)),
        ):
            for spec in specs:
                draft.put_set(spec)
            for chain in chains:
                draft.put_chain(chain)
        for name, elements in named_sets.ELEMENTS.items():
            self._inet.put_elements(name, elements)

    def _settle(self) -> None:
        """Optional sets without elements go, and the rules that ask them."""
        sets = self._inet.content.sets
        for spec in named_sets.OPTIONAL_SETS:
            if spec.name in sets and not sets[spec.name].elements:
                self._inet.drop_set(spec.name)
        used = frozenset(spec.name for spec in named_sets.OPTIONAL_SETS if spec.name in sets)
        if used != self._in_use:
            before, after = (base.inet_chains(self.settings, some) for some in (self._in_use, used))
            for chain in after:
                self._inet.put_chain(chain)
            for gone in {chain.name for chain in before} - {chain.name for chain in after}:
                self._inet.drop_chain(gone)
            self._in_use = used
        self._limits.write_marks(used)

    def _take(self) -> NftChanges:
        operations: list[Operation] = []
        if not self._begun:
            operations += [AddTable(table) for table in self._drafts]
            self._begun = True
        for draft in self._drafts.values():
            operations += draft.take()
        return in_order(operations)

    def _place(self, key: EndpointKey, endpoint: WantedEndpoint | None) -> None:
        self.refused.pop(key, None)
        if endpoint is not None and not self.settings.is_tap(endpoint.interface):
            prefixes = ", ".join(self.settings.tap_prefixes)
            self.refused[key] = f"interface {endpoint.interface!r} begins with none of {prefixes}"
            endpoint = None
        new = list(claims(endpoint, floating_source=self.settings.floating_source)) if endpoint else []
        lists = [policy_list(endpoint, direction) for direction in _DIRECTIONS] if endpoint else []
        if endpoint:
            name = ifname(endpoint.interface)
            new += [Claim(named_sets.INET, _MAPS[wanted.direction], name, jump(wanted.name)) for wanted in lists]
        limited = limits(endpoint) if endpoint else Limits()
        self._limits.replace(key, limited)
        self._assign(key, lists, [*new, *limited.claims])

    def _place_ahead(self, key: PolicyKey) -> None:
        """Chains and sets of a policy that is assumed needed here, so that its first endpoint costs an element."""
        policy = self._state.policies.get(key)
        wanted = policy is not None and policy.ahead and self._ahead
        if wanted or key in self._lists_of:
            self._assign(key, lists_ahead(policy) if policy is not None and wanted else [], [])

    def _place_hosts(self) -> None:
        """All host endpoints of this host anew: they are few, and one without a name leaves it to the others."""
        state = self._state
        in_force = {
            interface: state.host_endpoints[name]
            for interface, name in sorted(state.host_interfaces.items())
            if name in state.host_endpoints
        }
        assigned = list(host_endpoints.assignments(named_sets.INET, in_force))
        lists = list(dict.fromkeys(wanted for _, wanted in assigned if wanted is not None))
        passing = host_chains.passing(self.settings) if assigned else ()
        elements = [Claim(named_sets.INET, spec, key) for spec, key in passing]
        self._assign(_HOST, lists, [*(claim for claim, _ in assigned), *elements])

    def _assign(self, owner: Hashable, lists: list[PolicyList], claims: list[Claim]) -> None:
        """The owner uses exactly these lists, and claims exactly these elements."""
        for wanted in self._lists_of.pop(owner, []):
            self._users[wanted].discard(owner)
            self._loose_lists.add(wanted)
        for wanted in lists:
            self._users[wanted].add(owner)
            if wanted not in self._rendered:
                self._write(wanted)
        if lists:
            self._lists_of[owner] = lists
        self._claims.replace(owner, claims)

    def _write(self, wanted: PolicyList) -> None:
        self._forget(wanted)
        self._asked.asker = wanted
        rendered = self._rendered[wanted] = self._writer.write(wanted)
        self._asked.asker = None
        for key in self._mentions(wanted):
            self._lists_with_policy[key].add(wanted)
        for spec, elements in rendered.sets.items():
            self._literal_users[spec.name].add(wanted)
            self._inet.put_set(spec)
            self._inet.put_elements(spec.name, elements)
        self._inet.put_chain(rendered.chain)
        if rendered.next is not None:
            self._parents[rendered.next].add(wanted)
            if rendered.next not in self._rendered:
                self._write(rendered.next)

    def _mentions(self, wanted: PolicyList) -> Iterable[PolicyKey | str]:
        yield from wanted.tiers[0].policies if wanted.tiers else map(_profile, wanted.profiles)

    def _forget(self, wanted: PolicyList) -> None:
        """Undo the book-keeping of a written list; its objects stay until `_sweep` or the next write."""
        rendered = self._rendered.pop(wanted, None)
        if rendered is None:
            return
        for key in self._mentions(wanted):
            lists = self._lists_with_policy[key]
            lists.discard(wanted)
            if not lists:
                del self._lists_with_policy[key]
        for spec in rendered.sets:
            self._literal_users[spec.name].discard(wanted)
            self._loose_literals.add(spec.name)
        self._asked.release(wanted)
        if rendered.next is not None:
            self._parents[rendered.next].discard(wanted)
            self._loose_lists.add(rendered.next)

    def _sweep(self) -> None:
        """Drop what nobody uses any more: chains first, then the sets that only they asked."""
        while self._loose_lists:
            wanted = min(self._loose_lists)
            self._loose_lists.remove(wanted)
            if wanted in self._rendered and not self._used(wanted):
                self._forget(wanted)
                self._inet.drop_chain(wanted.name)
                self._users.pop(wanted, None)
                self._parents.pop(wanted, None)
        for name in sorted(self._loose_literals):
            if not self._literal_users.get(name):
                self._literal_users.pop(name, None)
                self._inet.drop_set(name)
        self._loose_literals = set()
        self._asked.sweep()

    def _used(self, wanted: PolicyList) -> bool:
        return bool(self._users.get(wanted) or self._parents.get(wanted))


def _profile(name: str) -> str:
    return f"profile {name}"
