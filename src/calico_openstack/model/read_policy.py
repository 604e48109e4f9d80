"""Policies, profiles, tiers and network sets, from their documents to checked values; broken ones fail closed.

A policy whose selector, tier and order are readable but whose rules are not is replaced by a stand-in, never by
nothing: leaving out a policy that denies would open something. If every rule is readably an Allow, the stand-in has
no rules (it allows nothing and leaves the rest to its neighbours); otherwise it denies. The same goes for profiles. A
network set keeps what is readable of it, since an empty set would let pass whatever a rule denies to its members.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import msgspec

from calico_openstack.model.documents import (
    LoosePolicyScope,
    NetworkSetDoc,
    PolicyDoc,
    PolicyScope,
    PolicyScopeDoc,
    PolicySpec,
    ProfileDoc,
    TierDoc,
)
from calico_openstack.model.endpoint import HostEndpoint
from calico_openstack.model.net import Net, parse_net
from calico_openstack.model.policy import NetworkSet, NetworkSetKey, Policy, PolicyKey, Profile, Rule, Tier
from calico_openstack.model.read_rule import (
    NAMESPACE_LABEL,
    SERVICE_ACCOUNT_PREFIX,
    action_of,
    namespace_scope,
    read_rule,
)
from calico_openstack.model.reading import decode, labels, texts
from calico_openstack.model.selector import Equals, Selector, conjunction, parse
from calico_openstack.model.selector.rewrite import with_label_prefix

Direction = Literal["ingress", "egress"]
DIRECTIONS: Final[tuple[Direction, ...]] = ("ingress", "egress")

DEFAULT_ALLOW_PROFILE = Profile(
    name="projectcalico-default-allow", ingress=(Rule(action="allow"),), egress=(Rule(action="allow"),)
)
"""Upstream's client library injects this profile; it is never stored."""

UNREADABLE_TIER: Final = "?"
"""Not a name that a tier can have (DNS-1123), so this one is closed (`policy.closed_tiers`)."""

DENY_ALL = (Rule(action="deny"),)


class Broken(ValueError):
    """The document cannot be honoured as it is; `stand_in` is what holds its place, failing closed."""

    def __init__(self, reason: str, stand_in: Policy | Profile | Tier | NetworkSet | HostEndpoint) -> None:
        super().__init__(reason)
        self.stand_in = stand_in


def read_policy(kind: str, namespace: str, name: str, value: bytes) -> Policy:
    """The policy; Broken if only its rules are wrong, ValueError if even its scope cannot be read."""
    key = PolicyKey(kind, namespace, name)
    try:
        spec = decode(value, PolicyDoc).spec
    except ValueError as error:
        # Perhaps only what is not the scope has a wrong form, such as rules that are no list.
        scoped = _scoped(key, _strictest(decode(value, PolicyScopeDoc).spec))
        denying = msgspec.structs.replace(scoped, ingress=DENY_ALL, egress=DENY_ALL, broken=str(error))
        raise Broken(str(error), denying) from error
    policy = msgspec.structs.replace(
        _scoped(key, spec),
        always_programmed="AssumeNeededOnEveryNode" in (spec.performance_hints or ()),
    )
    try:
        _check_kind(policy, spec)
        governed = _governed(spec.types)
        if policy.pre_dnat:
            governed -= {"egress"}
        rules = {d: _rules(getattr(spec, d), d, namespace) if d in governed else None for d in DIRECTIONS}
    except ValueError as error:
        raise Broken(str(error), _stand_in(policy, spec, str(error))) from error
    return msgspec.structs.replace(policy, **rules)


def _scoped(key: PolicyKey, spec: PolicyScope) -> Policy:
    """The policy but for its rules."""
    return Policy(
        key=key,
        tier=spec.tier or "default",
        order=_order(spec.order),
        selector=_selected(spec, key.namespace),
        # Namespaced policies are about workloads alone, and their documents have no such fields.
        do_not_track=spec.do_not_track and not key.namespace,
        pre_dnat=spec.pre_dnat and not key.namespace,
        # What is there and no boolean may have meant yes: the stand-in denies there, too.
        apply_on_forward=bool(spec.apply_on_forward or spec.do_not_track or spec.pre_dnat) and not key.namespace,
        staged=key.kind.startswith("Staged"),
    )


def _strictest(spec: LoosePolicyScope) -> PolicyScope:
    """The place where a deny stops whatever the policy may have stopped: an order that is no number may have been the
    first, a kind that is no boolean may have been the normal one, a tier that is no name may have been before all.
    """
    order, is_number = spec.order, isinstance(spec.order, int | float) and not isinstance(spec.order, bool)
    readable = isinstance(spec.do_not_track, bool) and isinstance(spec.pre_dnat, bool)
    return msgspec.structs.replace(
        spec,
        tier=spec.tier if isinstance(spec.tier, str | None) else UNREADABLE_TIER,
        order=order if is_number or order is None else -math.inf,
        do_not_track=readable and spec.do_not_track,
        pre_dnat=readable and spec.pre_dnat,
        apply_on_forward=spec.apply_on_forward or not readable,
    )


def _selected(spec: PolicyScope, namespace: str) -> Selector:
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


def _check_kind(policy: Policy, spec: PolicySpec) -> None:
    """What the API refuses, too (libcalico-go validator): such a policy would mean two things, or only half of it."""
    if policy.do_not_track and policy.pre_dnat:
        raise ValueError("doNotTrack and preDNAT exclude each other")
    if policy.pre_dnat and (spec.egress or "egress" in (word.lower() for word in spec.types or ())):
        raise ValueError("a preDNAT policy governs ingress only; leave its egress rules out")


def _governed(types: list[str] | None) -> frozenset[str]:
    """Directions the policy governs; without `types` both, as Felix reads a stored document (policy_sorter.go)."""
    words = frozenset(word.lower() for word in types or ())
    if words - frozenset(DIRECTIONS):
        raise ValueError(f"types {sorted(words)}: Ingress and Egress are expected")
    return words or frozenset(DIRECTIONS)


def _rules(raw: list[msgspec.Raw] | None, field: str, namespace: str) -> tuple[Rule, ...]:
    rules = []
    for index, item in enumerate(raw or ()):
        try:
            rules.append(read_rule(bytes(item), namespace))
        except ValueError as error:
            raise ValueError(f"{field}[{index}]: {error}") from error
    return tuple(rules)


def _stand_in(policy: Policy, spec: PolicySpec, reason: str) -> Policy:
    try:
        governed = _governed(spec.types)
    except ValueError:
        governed = frozenset(DIRECTIONS)
    rules = _closed(*(getattr(spec, direction) for direction in governed))
    return msgspec.structs.replace(
        policy,
        ingress=rules if "ingress" in governed else None,
        egress=rules if "egress" in governed else None,
        broken=reason,
    )


def _closed(*lists: list[msgspec.Raw] | None) -> tuple[Rule, ...]:
    """What holds the place of rules that cannot all be honoured: nothing if all of them allow, else a deny."""
    actions = {action_of(bytes(item)) for stored in lists for item in stored or ()}
    return () if actions <= {"allow"} else DENY_ALL


def _order(order: float | None) -> float:
    if order is None:
        return math.inf
    if math.isnan(order):
        raise ValueError("order is not a number")
    return order


def read_profile(name: str, value: bytes) -> Profile:
    spec = decode(value, ProfileDoc).spec
    applied = texts(spec.labels_to_apply)
    try:
        # Selectors in profile rules are not restricted to a namespace.
        return Profile(
            name=name,
            labels_to_apply=applied,
            ingress=_rules(spec.ingress, "ingress", ""),
            egress=_rules(spec.egress, "egress", ""),
        )
    except ValueError as error:
        stand_in = Profile(
            name=name,
            labels_to_apply=applied,
            ingress=_closed(spec.ingress),
            egress=_closed(spec.egress),
            broken=str(error),
        )
        raise Broken(str(error), stand_in) from error


def read_tier(name: str, value: bytes) -> Tier:
    """The tier; Broken, with a closed one as a stand-in, if nobody can tell its place (`policy.closed_tiers`)."""
    try:
        spec = decode(value, TierDoc).spec
        return Tier(name=name, order=_order(spec.order), default_pass=_is_pass(spec.default_action))
    except ValueError as error:
        raise Broken(str(error), Tier(name=name, broken=str(error))) from error


def _is_pass(action: Any) -> bool:
    return isinstance(action, str) and action.lower() == "pass"


def read_network_set(namespace: str, name: str, value: bytes) -> NetworkSet:
    """The set; Broken, with the readable networks as a stand-in, if one of them is not readable.

    In rules that allow members, and in those that deny all others, a part of the set is stricter than the whole; in the
    other two kinds it is at least stricter than no set.
    """
    document = decode(value, NetworkSetDoc)
    own = labels(document.metadata.labels)
    found, wrong = _readable_nets(document.spec.nets)
    read = NetworkSet(
        key=NetworkSetKey(namespace, name),
        nets=found,
        labels={**own, NAMESPACE_LABEL: namespace} if namespace else own,
        profiles=(f"kns.{namespace}",) if namespace else (),
    )
    if wrong:
        raise Broken(f"nets: {'; '.join(wrong)}; the others are kept", read)
    return read


def _readable_nets(stored: Any) -> tuple[tuple[Net, ...], list[str]]:
    if not isinstance(stored, list | None):
        return (), ["they are no list"]
    found: dict[Net, None] = {}
    wrong = []
    for text in stored or ():
        try:
            if not isinstance(text, str):
                raise ValueError(f"{text!r} is no text")
            found[parse_net(text)] = None
        except ValueError as error:
            wrong.append(str(error))
    return tuple(found), wrong
