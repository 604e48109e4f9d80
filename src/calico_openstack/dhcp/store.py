"""What etcd says about this host, as documents come and go: the endpoints here, and every subnet of the region.

A document that cannot be understood counts as absent and leaves a problem behind; it never touches another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from calico_openstack.dhcp.ports import fixed_addresses
from calico_openstack.dhcp.problems import Problem
from calico_openstack.dhcp.subnets import SubnetIndex
from calico_openstack.etcd.values import Event
from calico_openstack.model.endpoint import Endpoint
from calico_openstack.model.intake import Absent, read
from calico_openstack.model.keys import resource_prefix, subnet_prefix
from calico_openstack.model.names import endpoint_name_prefix, namespace_for
from calico_openstack.model.subnet import Subnet


def prefixes(host: str, region: str | None) -> tuple[str, str]:
    """What a host's DHCP agent follows: its own endpoints, and the subnets of its region."""
    endpoints = resource_prefix("WorkloadEndpoint", namespace_for(region)) + endpoint_name_prefix(host)
    return endpoints, subnet_prefix(region)


@dataclass(slots=True)
class Store:
    subnets: SubnetIndex = field(default_factory=SubnetIndex)
    _endpoints: dict[str, Endpoint] = field(default_factory=dict)
    _refused: dict[str, Problem] = field(default_factory=dict)
    _raw: dict[str, bytes] = field(default_factory=dict)
    _subnet_paths: dict[str, str] = field(default_factory=dict)

    def handle(self, events: Iterable[Event]) -> None:
        for event in events:
            self._remove(event.key)
            if event.value is not None:
                self._put(event.key, event.value)

    @property
    def endpoints(self) -> Iterable[Endpoint]:
        return self._endpoints.values()

    @property
    def problems(self) -> list[Problem]:
        return list(self._refused.values())

    def documents(self) -> Mapping[str, bytes]:
        """The stored documents that this host's service rests on: its endpoints, and the subnets of their addresses."""
        paths = set(self._endpoints)
        for endpoint in self._endpoints.values():
            for address in fixed_addresses(endpoint):
                subnet = self.subnets.find(address, endpoint.network_id)
                if subnet is not None:
                    paths.add(self._subnet_paths[subnet.id])
        return {path: self._raw[path] for path in sorted(paths)}

    def _put(self, path: str, value: bytes) -> None:
        found = read(path, value)
        if isinstance(found, Absent):
            if found.key is not None:
                self._refused[path] = Problem(path, found.reason, "it counts as absent until it is written anew")
            return
        match found.value:
            case Endpoint():
                self._endpoints[path] = found.value
            case Subnet():
                self.subnets.put(found.value)
                self._subnet_paths[found.value.id] = path
            case _:
                return
        self._raw[path] = value

    def _remove(self, path: str) -> None:
        self._endpoints.pop(path, None)
        self._refused.pop(path, None)
        if self._raw.pop(path, None) is not None:
            subnet_id = path.rpartition("/")[2]
            if self._subnet_paths.get(subnet_id) == path:
                self.subnets.remove(subnet_id)
                del self._subnet_paths[subnet_id]
