"""Everything that a verdict depends on, as plain collections of checked values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from calico_openstack.model.endpoint import Endpoint, EndpointKey, HostEndpoint, NamedPort
from calico_openstack.model.net import Net
from calico_openstack.model.policy import NetworkSet, NetworkSetKey, Policy, PolicyKey, Profile, Tier
from calico_openstack.model.read_policy import DEFAULT_ALLOW_PROFILE


class Packet(NamedTuple):
    """The first packet of a flow. Ports are 0 where the protocol has none; `icmp` is (type, code) for ICMP, ICMPv6."""

    source: Net
    destination: Net
    protocol: int
    source_port: int = 0
    destination_port: int = 0
    icmp: tuple[int, int] | None = None

    @property
    def version(self) -> int:
        return self.source.version


class Labelled(NamedTuple):
    """Whoever a selector can match: labels in effect, addresses, named ports."""

    labels: Mapping[str, str]
    addresses: tuple[Net, ...]
    ports: tuple[NamedPort, ...]


@dataclass(slots=True)
class State:
    """The cluster as the documents describe it. Only enforced policies count; staged ones change nothing."""

    endpoints: dict[EndpointKey, Endpoint] = field(default_factory=dict)
    host_endpoints: dict[str, HostEndpoint] = field(default_factory=dict)
    policies: dict[PolicyKey, Policy] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    tiers: dict[str, Tier] = field(default_factory=dict)
    network_sets: dict[NetworkSetKey, NetworkSet] = field(default_factory=dict)

    def profile(self, name: str) -> Profile | None:
        return DEFAULT_ALLOW_PROFILE if name == DEFAULT_ALLOW_PROFILE.name else self.profiles.get(name)

    def effective_labels(self, own: Mapping[str, str], profiles: tuple[str, ...]) -> dict[str, str]:
        """Own labels, and for keys that are not own the first listed profile's that applies one (felix/labelindex)."""
        labels = dict(own)
        for name in profiles:
            profile = self.profiles.get(name)
            for key, value in (profile.labels_to_apply if profile else {}).items():
                labels.setdefault(key, value)
        return labels

    def everyone(self) -> Iterator[Labelled]:
        """All that a rule's selector can match: endpoints, host endpoints, network sets."""
        for endpoint in self.endpoints.values():
            labels = self.effective_labels(endpoint.labels, endpoint.profiles)
            yield Labelled(labels, endpoint.addresses, endpoint.ports)
        for host in self.host_endpoints.values():
            yield Labelled(self.effective_labels(host.labels, host.profiles), host.addresses, host.ports)
        for network_set in self.network_sets.values():
            yield Labelled(self.effective_labels(network_set.labels, network_set.profiles), network_set.nets, ())
