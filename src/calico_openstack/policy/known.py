"""Everything that is stored, taken in for questions about it: the state, and what an answer in people's words needs.

Where `State` knows only what counts, this also knows what does not and why: endpoints whose documents cannot be used,
policies of which only a stand-in is in force. Names of security groups come from the values of the endpoints' labels
(Neutron's driver writes them, cut to 27 characters), since etcd holds no other trace of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from calico_openstack.model.bgp import Node
from calico_openstack.model.cluster import FelixConfiguration
from calico_openstack.model.endpoint import Endpoint, EndpointKey, HostEndpoint
from calico_openstack.model.intake import Absent, read
from calico_openstack.model.keys import Key, ResourceKey
from calico_openstack.model.names import SG_LABEL_PREFIX, parse_endpoint_name
from calico_openstack.model.net import Net
from calico_openstack.model.policy import NetworkSet, Policy, PolicyKey, Profile, Tier
from calico_openstack.policy.state import State


@dataclass(slots=True)
class Known:
    """`broken`: endpoints that count as absent, with the reason; `stand_ins`: the same of policies and profiles.

    `groups` has a security group's name by its id, `hosts` a compute host's name by each address of its Node record.
    """

    state: State = field(default_factory=State)
    broken: dict[EndpointKey, str] = field(default_factory=dict)
    stand_ins: dict[PolicyKey | str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    hosts: dict[Net, str] = field(default_factory=dict)
    node_labels: dict[str, dict[str, str]] = field(default_factory=dict)
    configurations: list[FelixConfiguration] = field(default_factory=list)

    def endpoint_keys(self) -> Iterable[EndpointKey]:
        """All endpoints that are stored, understood or not."""
        yield from self.state.endpoints
        yield from self.broken


def known(documents: Iterable[tuple[str, bytes]]) -> Known:
    """Take in (path, content) pairs; paths that nobody here knows are skipped."""
    result = Known()
    for path, content in documents:
        found = read(path, content)
        if isinstance(found, Absent):
            _note_absence(result, found.key, found.reason)
            _take(result, found.stand_in)
        else:
            _take(result, found.value)
    return result


def _take(into: Known, value: object) -> None:
    state = into.state
    match value:
        case Endpoint():
            state.endpoints[value.key] = value
            for label, name in value.labels.items():
                if name and label.startswith(SG_LABEL_PREFIX):
                    into.groups[label[len(SG_LABEL_PREFIX) :]] = name
        case HostEndpoint():
            state.host_endpoints[value.name] = value
        case Policy():
            state.policies[value.key] = value
        case Profile():
            state.profiles[value.name] = value
        case Tier():
            state.tiers[value.name] = value
        case NetworkSet():
            state.network_sets[value.key] = value
        case Node():
            into.node_labels[value.name] = dict(value.labels)
            for address in (value.ipv4, value.ipv6):
                if address is not None:
                    into.hosts[address] = value.name
        case FelixConfiguration():
            into.configurations.append(value)


def _note_absence(into: Known, key: Key | None, reason: str) -> None:
    if not isinstance(key, ResourceKey):
        return
    if key.kind == "WorkloadEndpoint":
        try:
            into.broken[parse_endpoint_name(key.namespace, key.name)] = reason
        except ValueError:
            pass  # Its name names no port, so nobody can ask for it.
    elif key.kind == "Profile":
        into.stand_ins[key.name] = reason
    elif key.kind.endswith("NetworkPolicy"):
        into.stand_ins[PolicyKey(key.kind, key.namespace, key.name)] = reason
