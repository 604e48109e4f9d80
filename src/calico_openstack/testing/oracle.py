"""The naive oracle: a host's wanted state and a flow's verdict, recomputed from all documents, slowly and obviously.

Shares with the incremental graph only the names of sets (a set's name is its meaning) and the reading of rules into
sets; who is in a set, which policies apply and in which order is found here by loops over everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from calico_openstack.felix.calc.referenced_sets import Definitions, resolve
from calico_openstack.felix.wanted.state import (
    Member,
    PortMember,
    Role,
    Wanted,
    WantedEndpoint,
    WantedHostEndpoint,
    WantedPolicy,
    WantedProfile,
    WantedTier,
)
from calico_openstack.model.endpoint import Endpoint, EndpointKey, HostEndpoint, LiveMigration
from calico_openstack.model.intake import Absent, read
from calico_openstack.model.policy import NetworkSet, Policy, Profile, Rule, Tier
from calico_openstack.policy.host_verdict import Stage
from calico_openstack.policy.state import State
from calico_openstack.policy.verdict import on_workloads


def state_of(documents: Mapping[str, bytes]) -> State:
    """What the documents say, after intake; stand-ins of broken policies included."""
    state = State()
    for path, value in documents.items():
        found = read(path, value)
        match found.stand_in if isinstance(found, Absent) else found.value:
            case Endpoint() as endpoint:
                state.endpoints[endpoint.key] = endpoint
            case HostEndpoint() as host_endpoint:
                state.host_endpoints[host_endpoint.name] = host_endpoint
            case Policy() as policy:
                state.policies[policy.key] = policy
            case Profile() as profile:
                state.profiles[profile.name] = profile
            case Tier() as tier:
                state.tiers[tier.name] = tier
            case NetworkSet() as network_set:
                state.network_sets[network_set.key] = network_set
    return state


def without_spoofing(state: State) -> State:
    """The state as it is where WorkloadSourceSpoofing is off: endpoints that ask for it do not exist."""
    kept = {key: endpoint for key, endpoint in state.endpoints.items() if not endpoint.spoof}
    return State(kept, state.host_endpoints, state.policies, state.profiles, state.tiers, state.network_sets)


def migrations_of(documents: Mapping[str, bytes]) -> list[LiveMigration]:
    """The live migrations among the documents."""
    values = (getattr(read(path, value), "value", None) for path, value in documents.items())
    return [value for value in values if isinstance(value, LiveMigration)]


def wanted_of(state: State, hostname: str, migrations: Iterable[LiveMigration] = ()) -> Wanted:
    """What that host should have."""
    local = {key: endpoint for key, endpoint in state.endpoints.items() if key.host == hostname}
    owners: dict[str, Endpoint] = {}
    # Upstream's order of endpoints that claim one interface: orchestrator, `<namespace>/<workload>`, endpoint.
    for key in sorted(local, key=lambda k: (k.orchestrator, f"{k.namespace}/{k.workload}", k.endpoint), reverse=True):
        owners[local[key].interface] = local[key]
    wanted = Wanted()
    definitions: Definitions = {}
    listed = list(migrations)
    for endpoint in owners.values():
        wanted.endpoints[endpoint.key] = _endpoint(state, endpoint, _role(endpoint.key, listed))
    own_interfaces = [endpoint for endpoint in state.host_endpoints.values() if endpoint.host == hostname]
    for host_endpoint in own_interfaces:
        wanted.host_endpoints[host_endpoint.name] = _host_endpoint(state, host_endpoint)
    everything: list[Endpoint | HostEndpoint] = [*local.values(), *own_interfaces]
    for one in everything:
        labels = state.effective_labels(one.labels, one.profiles)
        for policy in state.policies.values():
            concerned = not policy.staged if isinstance(one, HostEndpoint) else on_workloads(policy)
            if concerned and policy.selector.matches(labels):
                wanted.policies[policy.key] = _policy(_enforced(state, policy), definitions)
        for name in one.profiles:
            profile = state.profile(name) or Profile(name=name)
            wanted.profiles[name] = WantedProfile(
                name=name,
                ingress=resolve(profile.ingress, definitions) or (),
                egress=resolve(profile.egress, definitions) or (),
            )
    for policy in state.policies.values():
        if policy.always_programmed and not policy.staged:
            wanted.policies[policy.key] = _policy(_enforced(state, policy), definitions)
    for set_id, definition in definitions.items():
        members: set[Member] = set()
        for who in state.everyone():
            if not definition.selector.matches(who.labels):
                continue
            if definition.port is None:
                members.update(who.addresses)
            else:
                ports = {port.port for port in who.ports if (port.protocol, port.name) == definition.port}
                members.update(PortMember(n, definition.port.protocol, p) for n in who.addresses for p in ports)
        wanted.sets[set_id] = members
    return wanted


def _policy(policy: Policy, definitions: Definitions) -> WantedPolicy:
    return WantedPolicy(
        key=policy.key,
        ingress=resolve(policy.ingress, definitions),
        egress=resolve(policy.egress, definitions),
        ahead=policy.always_programmed,
    )


def _role(key: EndpointKey, migrations: list[LiveMigration]) -> Role:
    if any(migration.target == key for migration in migrations):
        return "target"
    return "source" if any(migration.source == key for migration in migrations) else "none"


def _endpoint(state: State, endpoint: Endpoint, role: Role) -> WantedEndpoint:
    return WantedEndpoint(
        key=endpoint.key,
        interface=endpoint.interface,
        mac=endpoint.mac,
        addresses=endpoint.addresses,
        allowed_pairs=endpoint.allowed_pairs,
        nats=endpoint.nats,
        spoof=endpoint.spoof,
        tiers=_tiers(state, endpoint, on_workloads),
        profiles=endpoint.profiles,
        qos=endpoint.qos,
        role=role,
    )


def _host_endpoint(state: State, endpoint: HostEndpoint) -> WantedHostEndpoint:
    untracked = _tiers(state, endpoint, Stage.UNTRACKED.speaks)
    pre_dnat = _tiers(state, endpoint, Stage.PRE_DNAT.speaks)
    replace = msgspec.structs.replace
    return WantedHostEndpoint(
        name=endpoint.name,
        interface=endpoint.interface,
        addresses=endpoint.addresses,
        tiers=_tiers(state, endpoint, Stage.NORMAL.speaks),
        forward=_tiers(state, endpoint, Stage.FORWARD.speaks),
        untracked=tuple(replace(tier, default_pass=True) for tier in untracked),
        pre_dnat=tuple(replace(tier, default_pass=True, egress=()) for tier in pre_dnat if tier.ingress),
        profiles=endpoint.profiles,
    )


def _tiers(
    state: State, endpoint: Endpoint | HostEndpoint, of_kind: Callable[[Policy], bool]
) -> tuple[WantedTier, ...]:
    labels = state.effective_labels(endpoint.labels, endpoint.profiles)
    applied = [policy for policy in state.policies.values() if of_kind(policy) and policy.selector.matches(labels)]
    applied.sort(key=lambda policy: f"{policy.key.name}/{policy.key.namespace}/{policy.key.kind}")
    applied.sort(key=lambda policy: policy.order)
    found = []
    for name in _sequence(state):
        members = [policy for policy in applied if policy.tier == name]
        tier = WantedTier(
            name=name,
            ingress=tuple(policy.key for policy in members if policy.ingress is not None),
            egress=tuple(policy.key for policy in members if policy.egress is not None),
            default_pass=name in state.tiers and state.tiers[name].default_pass,
        )
        if tier.ingress or tier.egress:
            found.append(tier)
    return tuple(found)


def _sequence(state: State) -> list[str]:
    """The names of all tiers: those whose place nobody knows, those that are stored, and `default` if it is not."""
    stored = {name: tier for name, tier in state.tiers.items() if tier.broken is None}
    closed = {name for name in _named(state) if _is_closed(state, name)}
    by_order = sorted(stored, key=lambda name: (stored[name].order, name))
    return [*sorted(closed), *by_order, *(["default"] if "default" not in state.tiers else [])]


def _named(state: State) -> set[str]:
    return {policy.tier for policy in state.policies.values()}


def _is_closed(state: State, name: str) -> bool:
    return state.tiers[name].broken is not None if name in state.tiers else name != "default"


def _enforced(state: State, policy: Policy) -> Policy:
    """The policy, or in a closed tier one that allows nothing, and denies if it said anything but allow."""
    if not _is_closed(state, policy.tier):
        return policy

    def closed(rules: tuple[Rule, ...] | None) -> tuple[Rule, ...] | None:
        if rules is None:
            return None
        return () if {rule.action for rule in rules} <= {"allow"} else (Rule(action="deny"),)

    return msgspec.structs.replace(policy, ingress=closed(policy.ingress), egress=closed(policy.egress))
