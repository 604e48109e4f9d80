"""The chain that endpoints with the same ordered policies share.

A policy chain returns what it allows and drops (or rejects) everything else; `pass` goes to the chain of
the remaining tiers, and so does the end of a tier that passes by default. It is entered by one jump from a
verdict map, and as it is left only by return, goto or a final verdict, one level of return is enough and no
packet mark is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from calico_openstack.felix.ruleset.base import deny
from calico_openstack.felix.ruleset.match import AskedSets, Matcher
from calico_openstack.felix.ruleset.merge import merged_run
from calico_openstack.felix.ruleset.names import short_hash
from calico_openstack.felix.ruleset.objects import Chain, Key, Rule, SetSpec
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.ruleset.statements import RETURN, Log, Statement, goto
from calico_openstack.felix.wanted.state import WantedEndpoint, WantedPolicy, WantedProfile, WantedRule
from calico_openstack.model.policy import PolicyKey

Direction = Literal["ingress", "egress"]


class PolicyTier(NamedTuple):
    policies: tuple[PolicyKey, ...]
    default_pass: bool


class PolicyList(NamedTuple):
    """What decides about one direction of an endpoint, in order. Endpoints with equal lists share a chain."""

    direction: Direction
    tiers: tuple[PolicyTier, ...]
    profiles: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.direction}-{short_hash(repr(tuple(self)))}"

    @property
    def rest(self) -> PolicyList:
        return self._replace(tiers=self.tiers[1:])


def policy_list(endpoint: WantedEndpoint, direction: Direction) -> PolicyList:
    tiers = []
    for tier in endpoint.tiers:
        policies = tier.ingress if direction == "ingress" else tier.egress
        if policies:
            tiers.append(PolicyTier(policies, tier.default_pass))
    return PolicyList(direction, tuple(tiers), endpoint.profiles)


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
        for place, run in enumerate(self._runs(wanted)):
            rules += self._run(run, wanted, rendered, f"{wanted.name}-{place}")
        if wanted.tiers and wanted.tiers[0].default_pass:
            rendered.next = wanted.rest
            rules.append(Rule((goto(wanted.rest.name),)))
        else:
            rules.append(Rule((deny(self.settings),), "nothing allowed it"))
        rendered.chain = Chain(wanted.name, tuple(rules))
        return rendered

    def _runs(self, wanted: PolicyList) -> Iterator[list[WantedRule]]:
        """Neighbouring rules of one action, whose order does not matter, across policies."""
        run: list[WantedRule] = []
        for rule in self._rules(wanted):
            if run and (rule.action != run[0].action or rule.action == "log"):
                yield run
                run = []
            run.append(rule)
        if run:
            yield run

    def _rules(self, wanted: PolicyList) -> Iterator[WantedRule]:
        if not wanted.tiers:
            for name in wanted.profiles:
                if profile := self.profiles.get(name):
                    yield from profile.ingress if wanted.direction == "ingress" else profile.egress
            return
        for key in wanted.tiers[0].policies:
            policy = self.policies.get(key)
            if policy is None:
                yield WantedRule(action="deny")
                return
            yield from (policy.ingress if wanted.direction == "ingress" else policy.egress) or ()

    def _run(self, run: list[WantedRule], wanted: PolicyList, rendered: Rendered, name: str) -> Iterator[Rule]:
        action: tuple[Statement, ...]
        match run[0].action:
            case "allow":
                action = (RETURN,)
            case "deny":
                action = (deny(self.settings),)
            case "pass":
                if wanted.tiers:
                    rendered.next = wanted.rest
                    action = (goto(wanted.rest.name),)
                else:
                    # Nothing comes after the profiles.
                    action = (deny(self.settings),)
            case "log":
                # The kernel takes 127 characters; nft's text has no way to write a quote.
                prefix = self.settings.log_prefix.replace('"', "'")[:120]
                action = (Log(f"{prefix}: "),)
        literal: dict[SetSpec, dict[Key, None]] = {}
        matcher = Matcher(self.asked_sets, literal)
        for conditions in merged_run(run, wanted.direction, name, matcher):
            yield Rule((*conditions, *action), run[0].action)
        rendered.sets.update(literal)
