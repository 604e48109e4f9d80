"""Where each kind of document enters the graph.

A deletion has a key only, so the identity of everything is taken from its key, also when it is put; intake has checked
that a document agrees with the key under which it is stored.
"""

from __future__ import annotations

from calico_openstack.felix.calc.graph import Graph
from calico_openstack.model.bgp import Node
from calico_openstack.model.cluster import IpPool
from calico_openstack.model.endpoint import Endpoint, EndpointKey, HostEndpoint, LiveMigration
from calico_openstack.model.keys import ResourceKey
from calico_openstack.model.names import parse_endpoint_name
from calico_openstack.model.policy import NetworkSet, NetworkSetKey, Policy, PolicyKey, Profile, Tier

POLICY_KINDS = frozenset({"NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy"})
_OTHER_KINDS = "WorkloadEndpoint HostEndpoint Profile Tier NetworkSet GlobalNetworkSet IPPool Node LiveMigration"
KINDS = POLICY_KINDS | frozenset(_OTHER_KINDS.split())
"""The kinds that the graph thinks about."""


def feed(graph: Graph, key: ResourceKey, value: object, endpoint: EndpointKey | None) -> None:
    """One event: what is stored under `key` now, None if nothing usable is. `endpoint`: what `workload_endpoint_key`
    says of the key, which the caller needs anyway. Kinds that do not matter are ignored."""
    match key.kind:
        case "WorkloadEndpoint":
            if endpoint is not None:
                graph.set_endpoint(endpoint, value if isinstance(value, Endpoint) else None)
        case "HostEndpoint":
            graph.set_host_endpoint(key.name, value if isinstance(value, HostEndpoint) else None)
        case "Profile":
            graph.set_profile(key.name, value if isinstance(value, Profile) else None)
        case "Tier":
            graph.set_tier(key.name, value if isinstance(value, Tier) else None)
        case "NetworkSet" | "GlobalNetworkSet":
            set_key = NetworkSetKey(key.namespace, key.name)
            graph.set_network_set(set_key, value if isinstance(value, NetworkSet) else None)
        case "LiveMigration":
            graph.set_migration(key.namespace, key.name, value if isinstance(value, LiveMigration) else None)
        case "IPPool":
            graph.set_pool(key.name, value if isinstance(value, IpPool) else None)
        case "Node":
            graph.set_host(key.name, value if isinstance(value, Node) else None)
        case kind if kind in POLICY_KINDS:
            policy_key = PolicyKey(key.kind, key.namespace, key.name)
            graph.set_policy(policy_key, value if isinstance(value, Policy) else None)


def workload_endpoint_key(key: ResourceKey) -> EndpointKey | None:
    """The endpoint that a key names; None if it is no endpoint's key, or its name cannot be taken apart."""
    if key.kind != "WorkloadEndpoint":
        return None
    try:
        return parse_endpoint_name(key.namespace, key.name)
    except ValueError:
        return None
