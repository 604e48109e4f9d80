"""A generated cloud as etcd would hold it: keys and JSON documents, in the shape in which the driver writes them.

Everything follows from numbers, so the same call gives the same bytes in every process. Hosts are named `host-<n>`;
the one that is measured is `here`.
"""

from __future__ import annotations

import json
import random
from typing import Any, NamedTuple

from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import EndpointStatusKey, ResourceKey
from calico_openstack.model.names import endpoint_name, security_group_policy_name, sg_label

HERE = "here"
HOSTS = 500
PORT = 5001
"""UDP and TCP to this port are what every group's rules let in."""


Rule = dict[str, Any]


class Document(NamedTuple):
    key: str
    value: bytes


def group_id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def endpoint_key(number: int, host: str) -> EndpointKey:
    return EndpointKey("openstack", host, "openstack", f"vm-{number}", f"{number:08x}-1111-4000-8000-000000000000")


def tap(number: int) -> str:
    return f"tap{number:08x}-11"


def mac(number: int) -> str:
    return f"fa:16:3e:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def address(number: int) -> str:
    """Of the 2**24 that there are; each is a host route, so none is special."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def endpoint(number: int, host: str, groups: list[int]) -> Document:
    """A port's endpoint, a member of these security groups."""
    key = endpoint_key(number, host)
    labels = {sg_label(group_id(group)): "name" for group in groups}
    labels |= {"projectcalico.org/namespace": "openstack", "projectcalico.org/orchestrator": "openstack"}
    spec = {
        "orchestrator": "openstack",
        "workload": key.workload,
        "node": host,
        "endpoint": key.endpoint,
        "interfaceName": tap(number),
        "mac": mac(number),
        "ipNetworks": [f"{address(number)}/32"],
    }
    return _document("WorkloadEndpoint", endpoint_name(key), "openstack", spec, labels)


def status_key(number: int, host: str) -> str:
    return EndpointStatusKey(None, endpoint_key(number, host)).path


def policy(group: int, ports: int = 2, own: bool = True) -> Document:
    """A security group: ping, so many protocols to PORT from anywhere, perhaps its own members, all egress."""
    ingress: list[Rule] = [{"action": "Allow", "ipVersion": 4, "protocol": "ICMP", "icmp": {"type": 8}}]
    ingress += [allow(protocol, PORT) for protocol in (6, 17)[:ports]]
    if own:
        ingress.append({"action": "Allow", "ipVersion": 4, "source": {"selector": _members(group)}})
    return policy_of(group, ingress)


def policy_of(group: int, ingress: list[Rule]) -> Document:
    """A security group with these ingress rules, and all egress."""
    selector = _members(group)
    spec = {"selector": selector, "ingress": ingress, "egress": [{"action": "Allow", "ipVersion": 4}]}
    return _document("NetworkPolicy", security_group_policy_name(group_id(group)), "openstack", spec)


def set_policy(number: int, selector: str, label: str) -> Document:
    """A policy for the endpoints of a selector that lets in whoever is in the network sets with this label."""
    rule = {"action": "Allow", "ipVersion": 4, "source": {"selector": f"has({label})"}}
    spec = {"selector": selector, "ingress": [rule], "egress": [{"action": "Allow", "ipVersion": 4}]}
    return _document("NetworkPolicy", f"set-policy-{number}", "openstack", spec)


def network_set(number: int, label: str, nets: list[str]) -> Document:
    return _document("NetworkSet", f"set-{number}", "openstack", {"nets": nets}, {label: ""})


def preface(**felix: Any) -> list[Document]:
    """What the driver writes at its first resync."""
    spec = {"endpointReportingEnabled": True, "interfacePrefix": "tap", **felix}
    return [
        _document(
            "ClusterInformation",
            "default",
            "",
            {"clusterGUID": "9f0c", "clusterType": "openstack", "datastoreReady": True},
        ),
        _document("FelixConfiguration", "default", "", spec),
    ]


def cloud(endpoints: int, groups: int, local: int, seed: int = 7) -> list[Document]:
    """Every endpoint is in two groups; the first `local` endpoints are here. Shuffled."""
    chance = random.Random(seed)
    documents = [policy(group) for group in range(groups)]
    documents += [
        endpoint(
            number,
            HERE if number < local else f"host-{number % HOSTS}",
            chance.sample(range(groups), min(2, groups)),
        )
        for number in range(endpoints)
    ]
    chance.shuffle(documents)
    return documents


def allow(protocol: int, port: int | str) -> Rule:
    """From anywhere to a port, or a range of them ("a:b")."""
    return {"action": "Allow", "ipVersion": 4, "protocol": protocol, "destination": {"ports": [port]}}


def _members(group: int) -> str:
    return f"has({sg_label(group_id(group))})"


def _document(kind: str, name: str, namespace: str, spec: Any, labels: dict[str, str] | None = None) -> Document:
    metadata: dict[str, Any] = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = labels
    document = {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec}
    return Document(ResourceKey(kind, name, namespace).path, json.dumps(document).encode())
