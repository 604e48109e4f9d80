"""Policies, profiles, tiers and network sets, from their documents to checked values; broken ones fail closed.

A policy whose selector, tier and order are readable but whose rules are not is replaced by a stand-in, never by
nothing: leaving out a policy that denies would open something. If every rule is readably an Allow, the stand-in has
no rules (it allows nothing and leaves the rest to its neighbours); otherwise it denies. A profile's stand-in allows
nothing.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from calico_openstack.model.documents import NetworkSetDoc, PolicyDoc, PolicySpec, ProfileDoc, TierDoc
from calico_openstack.model.policy import NetworkSet, NetworkSetKey, Policy, PolicyKey, Profile, Rule, Tier
from calico_openstack.model.read_rule import (
    NAMESPACE_LABEL,
    SERVICE_ACCOUNT_PREFIX,
    action_of,
    namespace_scope,
    read_rule,
)
from calico_openstack.model.reading import decode, labels, nets
from calico_openstack.model.selector import Equals, Selector, conjunction, parse
from calico_openstack.model.selector.rewrite import with_label_prefix

Direction = Literal["ingress", "egress"]

DEFAULT_ALLOW_PROFILE = Profile(
    name="projectcalico-default-allow", ingress=(Rule(action="allow"),), egress=(Rule(action="allow"),)
)
"""Upstream's client library injects this profile; it is never stored."""

_DENY_ALL = (Rule(action="deny"),)


class Broken(ValueError):
    """The document cannot be honoured; `stand_in` is what holds its place, failing closed."""

    def __init__(self, reason: str, stand_in: Policy | Profile) -> None:
        super().__init__(reason)
        self.stand_in = stand_in


def read_policy(kind: str, namespace: str, name: str, value: bytes) -> Policy:
    """The policy; Broken if only its rules are wrong, ValueError if even its scope cannot be read."""
    spec = decode(value, PolicyDoc).spec
    key = PolicyKey(kind, namespace, name)
    selector = _scope(spec, namespace)
    policy = Policy(
        key=key,
        tier=spec.tier or "default",
        order=_order(spec.order),
        selector=selector,
        do_not_track=spec.do_not_track,
        pre_dnat=spec.pre_dnat,
        apply_on_forward=spec.apply_on_forward,
        staged=kind.startswith("Staged"),
        always_programmed="AssumeNeededOnEveryNode" in (spec.performance_hints or ()),
    )
    try:
        governed = _governed(spec.types)
        rules = {d: _rules(getattr(spec, d), d, namespace) if d in governed else None for d in ("ingress", "egress")}
    except ValueError as error:
        raise Broken(str(error), _stand_in(policy, spec, str(error))) from error
    return msgspec.structs.replace(policy, **rules)


def _scope(spec: PolicySpec, namespace: str) -> Selector:
    """Which endpoints the policy is about."""
    selector = parse(spec.selector)
    if namespace:
        selector = conjunction(selector, Selector(Equals(NAMESPACE_LABEL, namespace)))
    elif spec.namespace_selector:
        selector = conjunction(selector, namespace_scope(spec.namespace_selector))
    if spec.service_account_selector:
        accounts = with_label_prefix(parse(spec.service_account_selector), SERVICE_ACCOUNT_PREFIX)
        selector = conjunction(selector, accounts)
    return selector


def _governed(types: list[str] | None) -> frozenset[str]:
    """Directions the policy governs; without `types` both, as Felix reads a stored document (policy_sorter.go)."""
    words = frozenset(word.lower() for word in types or ())
    if words - {"ingress", "egress"}:
        raise ValueError(f"types {sorted(words)}: Ingress and Egress are expected")
    return words or frozenset({"ingress", "egress"})


def _rules(raw: list[msgspec.Raw] | None, field: str, namespace: str) -> tuple[Rule, ...]:
    rules = []
    for index, item in enumerate(raw or ()):
        try:
            rules.append(read_rule(bytes(item), namespace))
        except ValueError as error:
            raise ValueError(f"{field}[{index}]: {error}") from error
    return tuple(rules)


def _stand_in(policy: Policy, spec: PolicySpec, reason: str) -> Policy:
    actions = {action_of(bytes(item)) for item in [*(spec.ingress or ()), *(spec.egress or ())]}
    rules = () if actions <= {"allow"} else _DENY_ALL
    try:
        governed = _governed(spec.types)
    except ValueError:
        governed = frozenset({"ingress", "egress"})
    return msgspec.structs.replace(
        policy,
        ingress=rules if "ingress" in governed else None,
        egress=rules if "egress" in governed else None,
        broken=reason,
    )


def _order(order: float | None) -> float:
    if order is None:
        return math.inf
    if math.isnan(order):
        raise ValueError("order is not a number")
    return order


def read_profile(name: str, value: bytes) -> Profile:
    spec = decode(value, ProfileDoc).spec
    applied = dict(spec.labels_to_apply or {})
    try:
        # Selectors in profile rules are not restricted to a namespace.
        return Profile(
            name=name,
            labels_to_apply=applied,
            ingress=_rules(spec.ingress, "ingress", ""),
            egress=_rules(spec.egress, "egress", ""),
        )
    except ValueError as error:
        raise Broken(str(error), Profile(name=name, labels_to_apply=applied, broken=str(error))) from error


def read_tier(name: str, value: bytes) -> Tier:
    spec = decode(value, TierDoc).spec
    return Tier(name=name, order=_order(spec.order), default_pass=(spec.default_action or "").lower() == "pass")


def read_network_set(namespace: str, name: str, value: bytes) -> NetworkSet:
    """A set with one unreadable network is refused whole: a part of it in a `notSelector` would open something."""
    document = decode(value, NetworkSetDoc)
    found = labels(document.metadata.labels)
    if namespace:
        found[NAMESPACE_LABEL] = namespace
    return NetworkSet(
        key=NetworkSetKey(namespace, name),
        nets=nets(document.spec.nets, "nets"),
        labels=found,
        profiles=(f"kns.{namespace}",) if namespace else (),
    )
