"""The chain that endpoints with the same ordered policies share.

A policy chain returns what it allows and drops (or rejects) everything else; `pass` goes to the chain of
the remaining tiers, and so does the end of a tier that passes by default; in a profile it goes to the chain of the
profiles behind it. It is entered by one jump from a
verdict map, and as it is left only by return, goto or a final verdict, one level of return is enough and no
packet mark is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import Literal, NamedTuple

from calico_openstack.felix.ruleset.idioms import deny
from calico_openstack.felix.ruleset.log_rule import Origin, log_action, policy_origin, profile_origin
from calico_openstack.felix.ruleset.match import AskedSets, Matcher
from calico_openstack.felix.ruleset.merge import merged_run
from calico_openstack.felix.ruleset.names import short_hash
from calico_openstack.felix.ruleset.objects import Chain, Key, Rule, SetSpec
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.ruleset.statements import ACCEPT, DROP, RETURN, Statement, Verdict, goto
from calico_openstack.felix.wanted.state import WantedEndpoint, WantedPolicy, WantedProfile, WantedRule, WantedTier
from calico_openstack.model.policy import PolicyKey

Direction = Literal["ingress", "egress"]


Place = Literal["filter", "forward", "early", "late"]
"""Where a list is asked. `filter`: what nothing allows is denied at the end. The others are for host endpoints.
`forward`: it goes on. `early` (before addresses are translated): it goes on, and what is allowed is told from it.
`late` (after that): as `filter`. Early and late packets can only be dropped, not refused (nft_reject_inet_validate)."""


class PolicyTier(NamedTuple):
    name: str
    policies: tuple[PolicyKey, ...]
    default_pass: bool


class PolicyList(NamedTuple):
    """What decides about one direction of an endpoint, in order. Endpoints with equal lists share a chain."""

    direction: Direction
    tiers: tuple[PolicyTier, ...]
    profiles: tuple[str, ...]
    place: Place = "filter"

    @property
    def name(self) -> str:
        content = tuple(self)[:3] if self.place == "filter" else tuple(self)
        return f"{self.direction}-{short_hash(repr(content))}"

    @property
    def rest(self) -> PolicyList:
        return self._replace(tiers=self.tiers[1:])


_UNDECIDED: dict[Place, Verdict] = {"forward": RETURN, "early": ACCEPT}
"""What becomes of a packet that no policy of the list has decided about."""


def policy_list(endpoint: WantedEndpoint, direction: Direction) -> PolicyList:
    return PolicyList(direction, policy_tiers(endpoint.tiers, direction), endpoint.profiles)


def lists_ahead(policy: WantedPolicy) -> list[PolicyList]:
    """What an endpoint with this policy alone, in the default tier, would have."""
    tier = (PolicyTier("default", (policy.key,), False),)
    governed: dict[Direction, object] = {"ingress": policy.ingress, "egress": policy.egress}
    return [PolicyList(direction, tier, ()) for direction, rules in governed.items() if rules is not None]


def policy_tiers(tiers: Iterable[WantedTier], direction: Direction) -> tuple[PolicyTier, ...]:
    """Those that have a policy for the direction."""
    return tuple(
        PolicyTier(tier.name, policies, tier.default_pass)
        for tier in tiers
        if (policies := tier.ingress if direction == "ingress" else tier.egress)
    )


@dataclass(slots=True)
class Rendered:
    """A chain with the sets of its own, and the list that it may go on to."""

    chain: Chain
    sets: dict[SetSpec, Mapping[Key, None]] = field(default_factory=dict)
    next: PolicyList | None = None


@dataclass(slots=True)
class PolicyWriter:
    """Writes policy chains. A policy that is missing denies; a profile that is missing says nothing."""

    settings: RulesetSettings
    policies: Mapping[PolicyKey, WantedPolicy]
    profiles: Mapping[str, WantedProfile]
    asked_sets: AskedSets

    def write(self, wanted: PolicyList) -> Rendered:
        rendered = Rendered(Chain(wanted.name))
        rules: list[Rule] = []
        for place, (run, origin) in enumerate(self._runs(wanted)):
            rules += self._run(run, origin, wanted, rendered, f"{wanted.name}-{place}")
        after = self._after(wanted)
        if after and (not wanted.tiers or wanted.tiers[0].default_pass):
            rendered.next = after
            rules.append(Rule((goto(after.name),)))
        elif not wanted.tiers and wanted.place in _UNDECIDED:
            rules.append(Rule((_UNDECIDED[wanted.place],)))
        else:
            rules.append(Rule((self._deny(wanted),), "nothing allowed it"))
        rendered.chain = Chain(wanted.name, tuple(rules))
        return rendered

    def _after(self, wanted: PolicyList) -> PolicyList | None:
        """Where `pass` leads: past the first tier or, after the tiers, past the profile that says so."""
        if wanted.tiers:
            return wanted.rest
        profiles = wanted.profiles[self._own_profiles(wanted) :]
        return wanted._replace(profiles=profiles) if profiles else None

    def _own_profiles(self, wanted: PolicyList) -> int:
        """How many profiles the list's own chain asks: up to the first that passes; the others have a chain."""
        for count, name in enumerate(wanted.profiles, 1):
            if any(rule.action == "pass" for rule in self._profile_rules(name, wanted.direction)):
                return count
        return len(wanted.profiles)

    def _profile_rules(self, name: str, direction: Direction) -> tuple[WantedRule, ...]:
        profile = self.profiles.get(name)
        if profile is None:
            return ()
        return profile.ingress if direction == "ingress" else profile.egress

    def _deny(self, wanted: PolicyList) -> Statement:
        return DROP if wanted.place in ("early", "late") else deny(self.settings)

    def _runs(self, wanted: PolicyList) -> Iterator[tuple[list[WantedRule], Origin]]:
        """Neighbouring rules of one action, whose order does not matter, across policies; a log rule is alone. The
        origin is the first rule's."""
        run: list[WantedRule] = []
        first: Origin | None = None
        for rule, origin in self._rules(wanted):
            if first and run and (rule.action != run[0].action or rule.action == "log"):
                yield run, first
                run = []
            if not run:
                first = origin
            run.append(rule)
        if first and run:
            yield run, first

    def _rules(self, wanted: PolicyList) -> Iterator[tuple[WantedRule, Origin]]:
        if not wanted.tiers:
            for name in wanted.profiles[: self._own_profiles(wanted)]:
                yield from zip(self._profile_rules(name, wanted.direction), repeat(profile_origin(name)), strict=False)
            return
        for key in wanted.tiers[0].policies:
            policy, origin = self.policies.get(key), policy_origin(wanted.tiers[0].name, key)
            if policy is None:
                yield WantedRule(action="deny"), origin
                return
            rules = (policy.ingress if wanted.direction == "ingress" else policy.egress) or ()
            yield from zip(rules, repeat(origin), strict=False)

    def _run(
        self, run: list[WantedRule], origin: Origin, wanted: PolicyList, rendered: Rendered, name: str
    ) -> Iterator[Rule]:
        action: tuple[Statement, ...]
        match run[0].action:
            case "allow":
                action = (RETURN,)
            case "deny":
                action = (self._deny(wanted),)
            case "pass":
                # Nothing comes after the last profile.
                rendered.next = self._after(wanted)
                action = (goto(rendered.next.name) if rendered.next else self._deny(wanted),)
            case "log":
                action = tuple(log_action(self.settings, origin))
        literal: dict[SetSpec, dict[Key, None]] = {}
        matcher = Matcher(self.asked_sets, literal)
        for conditions in merged_run(run, wanted.direction, name, matcher):
            yield Rule((*conditions, *action), run[0].action)
        rendered.sets.update(literal)
