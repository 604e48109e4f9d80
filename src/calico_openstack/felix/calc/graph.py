"""From the cluster's state to what this host should look like, incrementally.

    endpoints, network sets ──► InheritedLabels ◄── profiles (labels to apply)
                                   │ effective labels
                     ┌─────────────┴──────────────┐
                     ▼ local endpoints            ▼ everyone
    policies ──► ActivePolicies                SetMembers ◄──────────────┐ set definitions
                     │ active policies            │ members              │
                     ├────────────► ReferencedSets│(rules -> set ids) ───┘
                     │ policies of an endpoint    │
    tiers ─────► EndpointTiers                    │
                     │                            │
    local endpoints ─► InterfaceOwners            │      pools, hosts (as they are)
    live migrations ─► MigrationRoles             │
                     ▼                            ▼
                  Sequencer: compares with what was told before ──► Changes

Values come from `model.intake`: (key, value), None for absent. Any order, repetition or gap gives the same end, which
a law checks against a naive recomputation. Nothing here knows the kernel, a clock, or etcd. Work is proportional to
the change.

An endpoint that may send from foreign prefixes (`spoof`) is treated as absent unless the host's setting
WorkloadSourceSpoofing allows that: upstream rejects the whole endpoint, and so do we, everywhere, because half of it
would be a surprise.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from calico_openstack.felix.calc.active_policies import ActivePolicies, ListedProfiles
from calico_openstack.felix.calc.endpoint_tiers import EndpointTiers
from calico_openstack.felix.calc.host_endpoints import wanted_host_endpoint
from calico_openstack.felix.calc.inherited_labels import InheritedLabels
from calico_openstack.felix.calc.interface_owners import InterfaceOwners
from calico_openstack.felix.calc.label_index import IndexFigures, Labels
from calico_openstack.felix.calc.local import HostItem, Local
from calico_openstack.felix.calc.migration_roles import MigrationRoles
from calico_openstack.felix.calc.referenced_sets import Definitions, ReferencedSets, resolve
from calico_openstack.felix.calc.sequencer import Sequencer, Told
from calico_openstack.felix.calc.set_members import Contribution, SetMembers
from calico_openstack.felix.wanted.state import (
    Changes,
    WantedEndpoint,
    WantedHostEndpoint,
    WantedPolicy,
    WantedPool,
    WantedProfile,
)
from calico_openstack.model.bgp import Node
from calico_openstack.model.cluster import IpPool
from calico_openstack.model.endpoint import Endpoint, EndpointKey, HostEndpoint, LiveMigration
from calico_openstack.model.net import Net
from calico_openstack.model.policy import NetworkSet, NetworkSetKey, Policy, PolicyKey, Profile, Tier
from calico_openstack.model.read_policy import DEFAULT_ALLOW_PROFILE


class ProfileOwner(NamedTuple):
    """A profile as one that refers to sets."""

    profile: str


class Graph:
    """The calculation for one host. `hostname` must be spelled as in the endpoints' keys."""

    def __init__(self, hostname: str, *, allow_spoofing: bool = False) -> None:
        self.hostname = hostname
        self._allow_spoofing = allow_spoofing
        self._local: dict[EndpointKey, Endpoint] = {}
        self._local_hosts: dict[str, HostEndpoint] = {}
        self._profiles: dict[str, Profile] = {}
        self._spoofing: dict[EndpointKey, Endpoint] = {}
        self._pools: dict[str, WantedPool] = {}
        self._hosts: dict[str, tuple[Net, ...]] = {}

        self._policies_told = Told[PolicyKey, WantedPolicy](self._wanted_policy)
        self._profiles_told = Told[str, WantedProfile](self._wanted_profile)
        self._endpoints_told = Told[EndpointKey, WantedEndpoint](self._wanted_endpoint)
        self._host_endpoints_told = Told[str, WantedHostEndpoint](self._wanted_host_endpoint)

        self._pools_told = Told[str, WantedPool](self._pools.get)
        self._hosts_told = Told[str, tuple[Net, ...]](self._hosts.get)

        self._members = SetMembers()
        self._referenced = ReferencedSets(self._members)
        self._owners = InterfaceOwners()
        self._roles = MigrationRoles()
        self._tiers = EndpointTiers()
        self._active = ActivePolicies(self._policies_told.mark, self._mark)
        self._listed = ListedProfiles(self._profiles_told.mark)
        self._labels = InheritedLabels[Hashable](self._labels_changed)
        self._sequencer = Sequencer(
            self._policies_told, self._profiles_told, self._endpoints_told, self._referenced, self._members
        )

    def flush(self) -> Changes:
        """Everything that is different from the last flush."""
        changes = self._sequencer.flush()
        self._host_endpoints_told.collect(changes.host_endpoints, changes.host_endpoints_removed)
        self._pools_told.collect(changes.pools, changes.pools_removed)
        self._hosts_told.collect(changes.hosts, changes.hosts_removed)
        return changes

    def index_figures(self) -> IndexFigures:
        """How much work the sets' members were."""
        return self._members.index.figures()

    def reasons(self) -> dict[EndpointKey, str]:
        """Why local endpoints that the datastore has are not programmed."""
        why = {
            key: "it may send from foreign prefixes (allowSpoofedSourcePrefixes), but WorkloadSourceSpoofing is off"
            for key in self._spoofing
            if key.host == self.hostname and not self._allow_spoofing
        }
        for key, interface in self._owners.shadowed():
            why[key] = f"another endpoint owns interface {interface}"
        return why

    def closed_policies(self) -> dict[PolicyKey, str]:
        """The policies for which a stand-in is in force because of their tier, with the reason."""
        return self._tiers.closed()

    def set_endpoint(self, key: EndpointKey, endpoint: Endpoint | None) -> None:
        if endpoint is not None and endpoint.spoof:
            self._spoofing[key] = endpoint
            if not self._allow_spoofing:
                endpoint = None
        else:
            self._spoofing.pop(key, None)
        if key.host == self.hostname:
            self._set_local(key, endpoint)
        if endpoint is None:
            self._set_item(key, None)
        else:
            self._set_item(key, Contribution(endpoint.addresses, endpoint.ports), endpoint.labels, endpoint.profiles)

    def set_network_set(self, key: NetworkSetKey, value: NetworkSet | None) -> None:
        if value is None:
            self._set_item(key, None)
        else:
            self._set_item(key, Contribution(value.nets), value.labels, value.profiles)

    def set_host_endpoint(self, name: str, value: HostEndpoint | None) -> None:
        """Rules of any host may select its addresses and named ports; its policies matter on its own host."""
        item, before = HostItem(name), self._local_hosts.get(name)
        local = value if value is not None and value.host == self.hostname else None
        if value is None or (before is None) is not (local is None):
            # Told anew, also if only its host is another: that decides who must hear of its labels.
            self._set_item(item, None)
        if local is not None:
            self._local_hosts[name] = local
        elif before is not None:
            del self._local_hosts[name]
        if before != local:
            self._listed.set_endpoint(item, local.profiles if local else ())
            self._mark(item)
        if value is not None:
            self._set_item(item, Contribution(value.addresses, value.ports), value.labels, value.profiles)

    def set_migration(self, namespace: str, name: str, value: LiveMigration | None) -> None:
        for key in self._roles.set_migration((namespace, name), value):
            if key in self._local:
                self._endpoints_told.mark(key)

    def set_policy(self, key: PolicyKey, policy: Policy | None) -> None:
        self._tiers.set_policy(key, policy)
        self._active.set_policy(key, policy)

    def set_profile(self, name: str, profile: Profile | None) -> None:
        if profile is None:
            self._profiles.pop(name, None)
        else:
            self._profiles[name] = profile
        self._labels.set_profile(name, profile.labels_to_apply if profile else {})
        self._profiles_told.mark(name)

    def set_tier(self, name: str, tier: Tier | None) -> None:
        if self._tiers.set_tier(name, tier):
            for policy in self._tiers.policies_in(name):
                self._policies_told.mark(policy)
            for key in self._local:
                self._endpoints_told.mark(key)
            for host_endpoint in self._local_hosts:
                self._host_endpoints_told.mark(host_endpoint)

    def set_pool(self, name: str, pool: IpPool | None) -> None:
        """Disabled pools count: they are closed to address management, and inside the cloud all the same."""
        if pool is None:
            self._pools.pop(name, None)
        else:
            self._pools[name] = WantedPool(cidr=pool.cidr, nat_outgoing=pool.nat_outgoing)
        self._pools_told.mark(name)

    def set_host(self, name: str, node: Node | None) -> None:
        """The addresses of a host of the cluster."""
        nets = tuple(net for net in (node.ipv4, node.ipv6) if net is not None) if node else ()
        if nets:
            self._hosts[name] = nets
        else:
            self._hosts.pop(name, None)
        self._hosts_told.mark(name)

    def set_allow_spoofing(self, allow: bool) -> None:
        """A changed setting, at run time."""
        if allow == self._allow_spoofing:
            return
        self._allow_spoofing = allow
        for key, endpoint in list(self._spoofing.items()):
            self.set_endpoint(key, endpoint)

    def _set_local(self, key: EndpointKey, endpoint: Endpoint | None) -> None:
        before = self._local.get(key)
        if before == endpoint:
            return
        if endpoint is None:
            del self._local[key]
        else:
            self._local[key] = endpoint
        self._listed.set_endpoint(key, endpoint.profiles if endpoint else ())
        for touched in self._owners.claim(key, endpoint.interface if endpoint else None) | {key}:
            self._endpoints_told.mark(touched)

    def _set_item(
        self,
        item: Hashable,
        contribution: Contribution | None,
        labels: Labels | None = None,
        profiles: tuple[str, ...] = (),
    ) -> None:
        if contribution is None:
            self._labels.remove_item(item)
            self._members.set_contribution(item, None)
        else:
            self._members.set_contribution(item, contribution)
            self._labels.set_item(item, labels or {}, profiles)

    def _labels_changed(self, item: Hashable, labels: Labels | None) -> None:
        self._members.set_labels(item, labels)
        if (isinstance(item, EndpointKey) and item.host == self.hostname) or (
            isinstance(item, HostItem) and item.host_endpoint in self._local_hosts
        ):
            self._active.set_endpoint(item, labels)

    def _mark(self, local: Local) -> None:
        if isinstance(local, HostItem):
            self._host_endpoints_told.mark(local.host_endpoint)
        else:
            self._endpoints_told.mark(local)

    def _wanted_policy(self, key: PolicyKey) -> WantedPolicy | None:
        policy = self._active.get(key)
        definitions: Definitions = {}
        wanted = None
        if policy is not None:
            policy = self._tiers.in_force(policy)
            ingress, egress = resolve(policy.ingress, definitions), resolve(policy.egress, definitions)
            wanted = WantedPolicy(key=key, ingress=ingress, egress=egress, ahead=policy.always_programmed)
        self._referenced.refer(key, definitions)
        return wanted

    def _wanted_profile(self, name: str) -> WantedProfile | None:
        listed = self._listed.is_listed(name)
        stored = self._profiles.get(name)
        profile = (DEFAULT_ALLOW_PROFILE if name == DEFAULT_ALLOW_PROFILE.name else stored) if listed else None
        definitions: Definitions = {}
        wanted = WantedProfile(name=name) if listed else None
        if profile is not None:
            ingress, egress = resolve(profile.ingress, definitions), resolve(profile.egress, definitions)
            wanted = WantedProfile(name=name, ingress=ingress or (), egress=egress or ())
        self._referenced.refer(ProfileOwner(name), definitions)
        return wanted

    def _wanted_endpoint(self, key: EndpointKey) -> WantedEndpoint | None:
        endpoint = self._local.get(key)
        if endpoint is None or not self._owners.is_active(key):
            return None
        return WantedEndpoint(
            key=key,
            interface=endpoint.interface,
            mac=endpoint.mac,
            addresses=endpoint.addresses,
            allowed_pairs=endpoint.allowed_pairs,
            nats=endpoint.nats,
            spoof=endpoint.spoof,
            tiers=self._tiers.tiers_of(self._active.policies_of(key)),
            profiles=endpoint.profiles,
            qos=endpoint.qos,
            role=self._roles.role(key),
        )

    def _wanted_host_endpoint(self, name: str) -> WantedHostEndpoint | None:
        endpoint = self._local_hosts.get(name)
        if endpoint is None:
            return None
        return wanted_host_endpoint(endpoint, self._active.policies_of(HostItem(name)), self._tiers)
