"""From a stored key and its bytes to a checked value, or to "absent, because ...".

Nothing in etcd may stop an agent: whatever is not understood counts as absent, with a reason an operator can read,
and never touches another document. Policies, profiles, network sets and host endpoints of which only a part is broken
are absent with a stand-in that fails closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from calico_openstack.model import bgp, bgp_filter, cluster, read_endpoint, read_policy
from calico_openstack.model.endpoint import Endpoint, HostEndpoint, LiveMigration
from calico_openstack.model.keys import (
    BgpStatusKey,
    DhcpStatusKey,
    EndpointStatusKey,
    HostStatusKey,
    Key,
    LastHostStatusKey,
    ResourceKey,
    SubnetKey,
    parse_key,
)
from calico_openstack.model.policy import NetworkSet, Policy, Profile, Tier
from calico_openstack.model.status import EndpointStatus, HostStatus, read_endpoint_status, read_host_status
from calico_openstack.model.subnet import Subnet, read_subnet

Value: TypeAlias = (
    Endpoint
    | HostEndpoint
    | LiveMigration
    | Policy
    | Profile
    | Tier
    | NetworkSet
    | cluster.ClusterInformation
    | cluster.FelixConfiguration
    | cluster.IpPool
    | bgp.Node
    | bgp.BgpConfiguration
    | bgp.BgpPeer
    | bgp_filter.BgpFilter
    | Subnet
    | HostStatus
    | EndpointStatus
)


class Accepted(NamedTuple):
    """The document is understood."""

    key: Key
    value: Value


class Absent(NamedTuple):
    """The document counts as not there. `key` is None for a path that nobody here knows; `stand_in` fails closed."""

    key: Key | None
    reason: str
    stand_in: Policy | Profile | Tier | NetworkSet | HostEndpoint | None = None


_RESOURCES: dict[str, Callable[[ResourceKey, bytes], Any]] = {
    "WorkloadEndpoint": lambda key, value: read_endpoint.read_endpoint(key.namespace, key.name, value),
    "HostEndpoint": lambda key, value: read_endpoint.read_host_endpoint(key.name, value),
    "LiveMigration": lambda key, value: read_endpoint.read_live_migration(key.namespace, key.name, value),
    **{
        kind: lambda key, value: read_policy.read_policy(key.kind, key.namespace, key.name, value)
        for kind in ("NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy")
    },
    "Profile": lambda key, value: read_policy.read_profile(key.name, value),
    "Tier": lambda key, value: read_policy.read_tier(key.name, value),
    "NetworkSet": lambda key, value: read_policy.read_network_set(key.namespace, key.name, value),
    "GlobalNetworkSet": lambda key, value: read_policy.read_network_set("", key.name, value),
    "ClusterInformation": lambda key, value: cluster.read_cluster_information(key.name, value),
    "FelixConfiguration": lambda key, value: cluster.read_felix_configuration(key.name, value),
    "IPPool": lambda key, value: cluster.read_ip_pool(key.name, value),
    "Node": lambda key, value: bgp.read_node(key.name, value),
    "BGPConfiguration": lambda key, value: bgp.read_configuration(key.name, value),
    "BGPPeer": lambda key, value: bgp.read_peer(key.name, value),
    "BGPFilter": lambda key, value: bgp_filter.read_filter(key.name, value),
}


def read(path: str, value: bytes) -> Accepted | Absent:
    """What is stored at `path`. Never raises for anything that etcd may hold."""
    key = parse_key(path)
    if key is None:
        return Absent(None, f"{path}: not a key that is known here")
    try:
        return Accepted(key, _value(key, value))
    except read_policy.Broken as error:
        return Absent(key, f"{path}: {error}", error.stand_in)
    except ValueError as error:
        return Absent(key, f"{path}: {error}")


def _value(key: Key, value: bytes) -> Any:
    match key:
        case ResourceKey():
            reader = _RESOURCES.get(key.kind)
            if reader is None:
                raise ValueError(f"{key.kind} is not used here")
            return reader(key, value)
        case SubnetKey():
            return read_subnet(key.subnet_id, value)
        case EndpointStatusKey():
            return read_endpoint_status(value)
        case HostStatusKey() | LastHostStatusKey() | DhcpStatusKey() | BgpStatusKey():
            return read_host_status(value)
    raise ValueError("this key holds no document")
