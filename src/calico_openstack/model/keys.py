"""Every etcd key, built and parsed in one place.

Each shape is a value of its own type with a `path`; `parse_key` is the inverse. A path that nobody here knows parses to
None, which readers treat as "not ours" and leave alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.names import NO_REGION, region_string

RESOURCES = "/calico/resources/v3/projectcalico.org/"
DHCP = "/calico/dhcp/v2/"
FELIX_STATUS = "/calico/felix/v2/"
BGP_STATUS = "/calico/bgp/v2/"
OPENSTACK = "/calico/openstack/v2/"


class Kind(NamedTuple):
    """How a v3 kind appears in keys."""

    plural: str
    namespaced: bool


KINDS: dict[str, Kind] = {
    "WorkloadEndpoint": Kind("workloadendpoints", True),
    "NetworkPolicy": Kind("networkpolicies", True),
    "LiveMigration": Kind("livemigrations", True),
    "StagedNetworkPolicy": Kind("stagednetworkpolicies", True),
    "StagedKubernetesNetworkPolicy": Kind("stagedkubernetesnetworkpolicies", True),
    "NetworkSet": Kind("networksets", True),
    "ClusterInformation": Kind("clusterinformations", False),
    "FelixConfiguration": Kind("felixconfigurations", False),
    "GlobalNetworkPolicy": Kind("globalnetworkpolicies", False),
    "StagedGlobalNetworkPolicy": Kind("stagedglobalnetworkpolicies", False),
    "GlobalNetworkSet": Kind("globalnetworksets", False),
    "HostEndpoint": Kind("hostendpoints", False),
    "Tier": Kind("tiers", False),
    "Profile": Kind("profiles", False),
    "IPPool": Kind("ippools", False),
    "IPReservation": Kind("ipreservations", False),
    "IPAMConfiguration": Kind("ipamconfigurations", False),
    "Node": Kind("nodes", False),
    "BGPConfiguration": Kind("bgpconfigurations", False),
    "BGPPeer": Kind("bgppeers", False),
    "BGPFilter": Kind("bgpfilters", False),
    "KubeControllersConfiguration": Kind("kubecontrollersconfigurations", False),
    "CalicoNodeStatus": Kind("caliconodestatuses", False),
}
_BY_PLURAL = {kind.plural: name for name, kind in KINDS.items()}


class ResourceKey(msgspec.Struct, frozen=True, gc=False):
    """A v3 resource. `namespace` is empty for global kinds."""

    kind: str
    name: str
    namespace: str = ""

    @property
    def path(self) -> str:
        """The etcd key; ValueError for an unknown kind, or a namespace that does not fit the kind."""
        kind = KINDS.get(self.kind)
        if kind is None:
            raise ValueError(f"{self.kind!r} is not a kind of the v3 model")
        if kind.namespaced != bool(self.namespace):
            raise ValueError(f"{self.kind} {self.name!r}: namespace {self.namespace!r} does not fit this kind")
        middle = f"{kind.plural}/{self.namespace}" if kind.namespaced else kind.plural
        return f"{RESOURCES}{middle}/{self.name}"


class SubnetKey(msgspec.Struct, frozen=True, gc=False):
    """A DHCP subnet."""

    region: str | None
    subnet_id: str

    @property
    def path(self) -> str:
        return f"{subnet_prefix(self.region)}{self.subnet_id}"


class HostStatusKey(msgspec.Struct, frozen=True, gc=False):
    """Felix's sign of life; expires with its lease."""

    region: str | None
    host: str

    @property
    def path(self) -> str:
        return f"{status_prefix(self.region)}{self.host}/status"


class LastHostStatusKey(msgspec.Struct, frozen=True, gc=False):
    """The same report, kept for people."""

    region: str | None
    host: str

    @property
    def path(self) -> str:
        return f"{status_prefix(self.region)}{self.host}/last_reported_status"


class EndpointStatusKey(msgspec.Struct, frozen=True, gc=False):
    """What a host's Felix says of one endpoint."""

    region: str | None
    endpoint: EndpointKey

    @property
    def path(self) -> str:
        key = self.endpoint
        workload = _escape(f"{key.namespace}/{key.workload}")
        middle = f"{status_prefix(self.region)}{key.host}/workload/{key.orchestrator}/{workload}"
        return f"{middle}/endpoint/{_escape(key.endpoint)}"


class DhcpStatusKey(msgspec.Struct, frozen=True, gc=False):
    """Our DHCP agent's sign of life, in the form of Felix's (upstream's agent has none)."""

    region: str | None
    host: str

    @property
    def path(self) -> str:
        return f"{dhcp_status_prefix(self.region)}{self.host}/status"


class BgpStatusKey(msgspec.Struct, frozen=True, gc=False):
    """Our BGP agent's sign of life and its sessions (ours; upstream has no such agent)."""

    region: str | None
    host: str

    @property
    def path(self) -> str:
        return f"{bgp_status_prefix(self.region)}{self.host}/status"


class ElectionKey(msgspec.Struct, frozen=True, gc=False):
    """Who leads the Neutron drivers of a region."""

    region: str | None

    @property
    def path(self) -> str:
        return f"{OPENSTACK}{region_string(self.region)}/neutron_election"


class CompactionTriggerKey(msgspec.Struct, frozen=True, gc=False):
    @property
    def path(self) -> str:
        return "/calico/compaction/v1/trigger"


class CompactionLastKey(msgspec.Struct, frozen=True, gc=False):
    @property
    def path(self) -> str:
        return "/calico/compaction/v1/last"


Key = (
    ResourceKey
    | SubnetKey
    | HostStatusKey
    | LastHostStatusKey
    | EndpointStatusKey
    | DhcpStatusKey
    | BgpStatusKey
    | ElectionKey
    | CompactionTriggerKey
    | CompactionLastKey
)


def resource_prefix(kind: str, namespace: str = "") -> str:
    """What the keys of a kind start with; of one namespace only, if given."""
    return f"{RESOURCES}{KINDS[kind].plural}/" + (f"{namespace}/" if namespace else "")


def subnet_prefix(region: str | None) -> str:
    return f"{DHCP}{region_string(region)}/subnet/"


def status_prefix(region: str | None) -> str:
    """Felix's status keys of all hosts. Other keys live below it too (upstream's round-trip-check): ignore them."""
    return f"{FELIX_STATUS}{region_string(region)}/host/"


def dhcp_status_prefix(region: str | None) -> str:
    return f"{DHCP}{region_string(region)}/host/"


def bgp_status_prefix(region: str | None) -> str:
    return f"{BGP_STATUS}{region_string(region)}/host/"


def parse_key(path: str) -> Key | None:
    """The key that has this path, or None."""
    if path.startswith(RESOURCES):
        return _parse_resource(path[len(RESOURCES) :])
    found = _STATUS.match(path)
    if found is not None:
        return _parse_status(found)
    found = _SUBNET.match(path)
    if found is not None:
        return SubnetKey(_region(found["region"]), found["id"])
    found = _ELECTION.match(path)
    if found is not None:
        return ElectionKey(_region(found["region"]))
    singles: tuple[Key, ...] = (CompactionTriggerKey(), CompactionLastKey())
    return next((key for key in singles if key.path == path), None)


_AGENTS: dict[str, type[HostStatusKey] | type[DhcpStatusKey] | type[BgpStatusKey]] = {
    "felix": HostStatusKey,
    "dhcp": DhcpStatusKey,
    "bgp": BgpStatusKey,
}
_REGION_SEGMENT = r"(?P<region>no-region|region-[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)"
_STATUS = re.compile(rf"/calico/(?P<piece>felix|dhcp|bgp)/v2/{_REGION_SEGMENT}/host/(?P<host>[^/]+)/(?P<rest>.+)\Z")
_SUBNET = re.compile(rf"{DHCP}{_REGION_SEGMENT}/subnet/(?P<id>[^/]+)\Z")
_ELECTION = re.compile(rf"{OPENSTACK}{_REGION_SEGMENT}/neutron_election\Z")
_ENDPOINT = re.compile(r"workload/(?P<orchestrator>[^/]+)/(?P<workload>[^/]+)/endpoint/(?P<endpoint>[^/]+)\Z")


def _parse_resource(rest: str) -> ResourceKey | None:
    segments = rest.split("/")
    kind = _BY_PLURAL.get(segments[0])
    if kind is None or not all(segments) or len(segments) != (3 if KINDS[kind].namespaced else 2):
        return None
    # Upstream's parser turns these two escapes back, although its builder never writes them (libcalico model/resource).
    name = segments[-1].replace("%2f", "/").replace("%25", "%")
    return ResourceKey(kind, name, segments[1] if KINDS[kind].namespaced else "")


def _parse_status(found: re.Match[str]) -> Key | None:
    region, host, rest = _region(found["region"]), found["host"], found["rest"]
    if rest == "status":
        return _AGENTS[found["piece"]](region, host)
    if found["piece"] != "felix":
        return None
    if rest == "last_reported_status":
        return LastHostStatusKey(region, host)
    endpoint = _ENDPOINT.match(rest)
    if endpoint is None:
        return None
    namespace, slash, workload = _unescape(endpoint["workload"]).partition("/")
    if not slash or not namespace or not workload:
        return None
    parts = (namespace, host, endpoint["orchestrator"], workload, _unescape(endpoint["endpoint"]))
    return EndpointStatusKey(region, EndpointKey(*parts))


def _region(segment: str) -> str | None:
    return None if segment == NO_REGION else segment.removeprefix("region-")


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("/", "%2f")


def _unescape(text: str) -> str:
    return text.replace("%2f", "/").replace("%25", "%")
