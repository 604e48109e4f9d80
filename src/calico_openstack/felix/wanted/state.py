"""The meeting room: what this host should look like, and how that changes.

`calc` ends here and the targets (`ruleset`, routes, neighbours, sysctls, status) begin here; neither imports the
other. Selectors have become set ids; everything else is concrete. `Changes` lists one batch in dependency order,
which is the contract of this room: sets come before the policies that name them, policies and profiles before the
endpoints that use them, and removal goes the other way round. Applying the same changes twice, or a removal of
something unknown, is harmless.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, NewType

import msgspec

from calico_openstack.model.endpoint import EndpointKey, Nat, QosControls
from calico_openstack.model.net import Net
from calico_openstack.model.policy import Action, Icmp, PolicyKey, PortRange

SetId = NewType("SetId", str)


class PortMember(NamedTuple):
    """Member of a named-port set: this address has that port of that protocol."""

    net: Net
    protocol: int
    port: int


Member = Net | PortMember

Role = Literal["none", "source", "target"]
"""What an endpoint is in a live migration."""


class WantedMatch(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """As `model.policy.Match`, with selectors and named ports replaced by set ids.

    `sets`: the address must be in every one. `not_sets`: in none. `port_sets`: address, protocol and port must be in
    one of them OR the port must be in `ports` (a rule may mix names and numbers). `not_port_sets`: in none.
    """

    nets: tuple[Net, ...] = ()
    not_nets: tuple[Net, ...] = ()
    sets: tuple[SetId, ...] = ()
    not_sets: tuple[SetId, ...] = ()
    ports: tuple[PortRange, ...] = ()
    port_sets: tuple[SetId, ...] = ()
    not_ports: tuple[PortRange, ...] = ()
    not_port_sets: tuple[SetId, ...] = ()


ANYONE = WantedMatch()


class WantedRule(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    action: Action
    version: int | None = None
    protocol: int | None = None
    not_protocol: int | None = None
    icmp: Icmp | None = None
    not_icmp: Icmp | None = None
    source: WantedMatch = ANYONE
    destination: WantedMatch = ANYONE


class WantedPolicy(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The rules of one policy. `None`: this policy does not govern the direction. `ahead`: to be programmed although
    nobody here needs it yet."""

    key: PolicyKey
    ingress: tuple[WantedRule, ...] | None = None
    egress: tuple[WantedRule, ...] | None = None
    ahead: bool = False


class WantedProfile(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A profile that a local endpoint lists. A listed but missing profile has no rules, and so allows nothing."""

    name: str
    ingress: tuple[WantedRule, ...] = ()
    egress: tuple[WantedRule, ...] = ()


class WantedTier(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The policies of one tier that apply to an endpoint, in order, per direction.

    A direction without policies skips the tier. At the end of a direction with policies: deny, or go on if
    `default_pass`.
    """

    name: str
    ingress: tuple[PolicyKey, ...] = ()
    egress: tuple[PolicyKey, ...] = ()
    default_pass: bool = False


class WantedEndpoint(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One local workload endpoint, ready to be programmed. `role`: its part in a live migration."""

    key: EndpointKey
    interface: str
    mac: str | None = None
    addresses: tuple[Net, ...] = ()
    allowed_pairs: tuple[Net, ...] = ()
    nats: tuple[Nat, ...] = ()
    spoof: tuple[Net, ...] = ()
    tiers: tuple[WantedTier, ...] = ()
    profiles: tuple[str, ...] = ()
    qos: QosControls | None = None
    role: Role = "none"


class WantedHostEndpoint(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One host endpoint of this host, with the policies of each kind that apply to it.

    `interface`: a name, `*` (every interface that no other host endpoint claims), or empty: then it is the interface
    that has one of `addresses`, which `host_interfaces` finds. `tiers`: for what the host itself sends and receives.
    `forward`: those of them with applyOnForward, for what it forwards. `untracked`: doNotTrack. `pre_dnat`: preDNAT,
    ingress only.
    """

    name: str
    interface: str = ""
    addresses: tuple[Net, ...] = ()
    tiers: tuple[WantedTier, ...] = ()
    forward: tuple[WantedTier, ...] = ()
    untracked: tuple[WantedTier, ...] = ()
    pre_dnat: tuple[WantedTier, ...] = ()
    profiles: tuple[str, ...] = ()


class WantedPool(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A network that belongs to the cloud. `nat_outgoing`: its guests' packets to the outside get another source."""

    cidr: Net
    nat_outgoing: bool = False


class MemberChange(NamedTuple):
    added: frozenset[Member]
    removed: frozenset[Member]


@dataclass(slots=True)
class Changes:
    """One batch, to be applied in the order of the fields. `hosts`: the addresses of the cluster's hosts, by name.

    `host_interfaces`: the name of the host endpoint that is in force, by interface, or `*` (`wanted.host_interfaces`);
    who knows the interfaces adds it to what the calculation says. `came`: endpoints that were another host's until
    now; that is news, and no part of what is wanted.
    """

    sets: dict[SetId, frozenset[Member]] = field(default_factory=dict)
    members: dict[SetId, MemberChange] = field(default_factory=dict)
    policies: dict[PolicyKey, WantedPolicy] = field(default_factory=dict)
    profiles: dict[str, WantedProfile] = field(default_factory=dict)
    endpoints: dict[EndpointKey, WantedEndpoint] = field(default_factory=dict)
    host_endpoints: dict[str, WantedHostEndpoint] = field(default_factory=dict)
    host_endpoints_removed: set[str] = field(default_factory=set)
    host_interfaces: dict[str, str] = field(default_factory=dict)
    host_interfaces_removed: set[str] = field(default_factory=set)
    endpoints_removed: set[EndpointKey] = field(default_factory=set)
    profiles_removed: set[str] = field(default_factory=set)
    policies_removed: set[PolicyKey] = field(default_factory=set)
    sets_removed: set[SetId] = field(default_factory=set)
    pools: dict[str, WantedPool] = field(default_factory=dict)
    pools_removed: set[str] = field(default_factory=set)
    hosts: dict[str, tuple[Net, ...]] = field(default_factory=dict)
    hosts_removed: set[str] = field(default_factory=set)
    came: set[EndpointKey] = field(default_factory=set)

    def __bool__(self) -> bool:
        return any(self._parts())

    def count(self) -> int:
        """How many objects change."""
        return sum(map(len, self._parts()))

    def _parts(self) -> Iterator[Sized]:
        yield from (self.sets, self.members, self.policies, self.profiles, self.endpoints)
        yield from (self.host_endpoints, self.host_endpoints_removed)
        yield from (self.host_interfaces, self.host_interfaces_removed)
        yield from (self.endpoints_removed, self.profiles_removed, self.policies_removed, self.sets_removed)
        yield from (self.pools, self.pools_removed, self.hosts, self.hosts_removed)


class Holders:
    """Which endpoints list an address, and which floating IPs there are; kept as endpoints come and go."""

    def __init__(self, endpoints: Iterable[WantedEndpoint]) -> None:
        self.nats: Counter[Nat] = Counter()
        self._single: dict[Net, dict[EndpointKey, WantedEndpoint]] = {}
        self._wide: dict[tuple[Net, EndpointKey], WantedEndpoint] = {}
        for endpoint in endpoints:
            self.put(endpoint)

    def of(self, address: Net) -> list[WantedEndpoint]:
        wide = (endpoint for (net, _), endpoint in self._wide.items() if net.contains(address))
        return [*self._single.get(address, {}).values(), *wide]

    def put(self, endpoint: WantedEndpoint) -> None:
        self.nats.update(endpoint.nats)
        for net in endpoint.addresses:
            if net.is_host:
                self._single.setdefault(net, {})[endpoint.key] = endpoint
            else:
                self._wide[net, endpoint.key] = endpoint

    def remove(self, endpoint: WantedEndpoint) -> None:
        for nat in endpoint.nats:
            self.nats[nat] -= 1
            if not self.nats[nat]:
                del self.nats[nat]
        for net in endpoint.addresses:
            self._wide.pop((net, endpoint.key), None)
            holders = self._single.get(net, {})
            holders.pop(endpoint.key, None)
            if not holders:
                self._single.pop(net, None)


@dataclass(slots=True)
class Wanted:
    """Everything that this host should have. At most one endpoint is active per interface name."""

    sets: dict[SetId, set[Member]] = field(default_factory=dict)
    policies: dict[PolicyKey, WantedPolicy] = field(default_factory=dict)
    profiles: dict[str, WantedProfile] = field(default_factory=dict)
    endpoints: dict[EndpointKey, WantedEndpoint] = field(default_factory=dict)
    host_endpoints: dict[str, WantedHostEndpoint] = field(default_factory=dict)
    host_interfaces: dict[str, str] = field(default_factory=dict)
    pools: dict[str, WantedPool] = field(default_factory=dict)
    hosts: dict[str, tuple[Net, ...]] = field(default_factory=dict)
    _holders: Holders | None = field(default=None, compare=False, repr=False)

    @property
    def holders(self) -> Holders:
        """Of these endpoints; made when it is first asked for, and kept up by `apply`."""
        if self._holders is None:
            self._holders = Holders(self.endpoints.values())
        return self._holders

    def apply(self, changes: Changes) -> None:
        for set_id, members in changes.sets.items():
            self.sets[set_id] = set(members)
        for set_id, change in changes.members.items():
            current = self.sets.setdefault(set_id, set())
            current -= change.removed
            current |= change.added
        self.policies.update(changes.policies)
        self.profiles.update(changes.profiles)
        if self._holders is not None:
            for key in {*changes.endpoints, *changes.endpoints_removed}:
                if key in self.endpoints:
                    self._holders.remove(self.endpoints[key])
            for key in changes.endpoints.keys() - changes.endpoints_removed:
                self._holders.put(changes.endpoints[key])
        self.endpoints.update(changes.endpoints)
        self.host_endpoints.update(changes.host_endpoints)
        for host_endpoint in changes.host_endpoints_removed:
            self.host_endpoints.pop(host_endpoint, None)
        self.host_interfaces.update(changes.host_interfaces)
        for interface in changes.host_interfaces_removed:
            self.host_interfaces.pop(interface, None)
        for endpoint in changes.endpoints_removed:
            self.endpoints.pop(endpoint, None)
        for profile in changes.profiles_removed:
            self.profiles.pop(profile, None)
        for policy in changes.policies_removed:
            self.policies.pop(policy, None)
        for set_id in changes.sets_removed:
            self.sets.pop(set_id, None)
        self.pools.update(changes.pools)
        self.hosts.update(changes.hosts)
        for pool in changes.pools_removed:
            self.pools.pop(pool, None)
        for host in changes.hosts_removed:
            self.hosts.pop(host, None)
