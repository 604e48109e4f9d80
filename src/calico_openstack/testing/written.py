"""A small cloud as documents, in the form in which the Neutron driver writes them, for tests by example.

(`clouds` generates clouds of any form for properties.)
"""

from __future__ import annotations

import json
from typing import Any

from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import ResourceKey
from calico_openstack.model.names import endpoint_name, sg_label, tap_name

Document = tuple[str, bytes]
WEB, ADMIN = "0a1b2c3d-0000-4000-8000-000000000001", "9f8e7d6c-0000-4000-8000-000000000002"
NAMES = {WEB: "web", ADMIN: "admin"}


def document(kind: str, name: str, namespace: str, spec: dict[str, Any], **metadata: Any) -> Document:
    meta = {"name": name, **({"namespace": namespace} if namespace else {}), **metadata}
    content = {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": meta, "spec": spec}
    return ResourceKey(kind, name, namespace).path, json.dumps(content).encode()


def port(
    port_id: str, *addresses: str, groups: tuple[str, ...] = (), host: str = "compute-01", **spec: Any
) -> Document:
    """A bound port; `spec` adds to its document or replaces parts."""
    key = EndpointKey("openstack", host, "openstack", f"vm-{port_id}", port_id)
    labels = {"projectcalico.org/namespace": "openstack", "projectcalico.org/orchestrator": "openstack"}
    labels.update({sg_label(group): NAMES[group] for group in groups})
    body = {
        "orchestrator": "openstack", "workload": key.workload, "node": host, "endpoint": port_id,
        "interfaceName": tap_name(port_id), "mac": "fa:16:3e:00:00:01", "ipNetworks": list(addresses), **spec,
    }  # fmt: skip
    return document("WorkloadEndpoint", endpoint_name(key), "openstack", body, labels=labels)


def group(group_id: str, *ingress: dict[str, Any], egress: tuple[dict[str, Any], ...] | None = None) -> Document:
    """A security group's policy; without `egress`, to anywhere."""
    anywhere = ({"action": "Allow", "ipVersion": 4}, {"action": "Allow", "ipVersion": 6})
    spec = {
        "ingress": list(ingress),
        "egress": list(anywhere if egress is None else egress),
        "selector": f"has({sg_label(group_id)})",
    }
    return document("NetworkPolicy", f"ossg.default.{group_id}", "openstack", spec)


def allow(protocol: Any = None, ports: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    """A rule of a security group."""
    rule: dict[str, Any] = {"action": "Allow", "ipVersion": 4, **more}
    if protocol is not None:
        rule["protocol"] = protocol
    if ports is not None:
        rule["destination"] = {"ports": ports}
    return rule
