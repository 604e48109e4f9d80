"""Labels and annotations of an endpoint: what operators' policies select by, and what DHCP agents read.

Names are sanitised and cut as upstream does it; two security groups whose sanitised names are equal share one
`sg-name.` label (the one with the greater id wins), so a name label is never used for enforcement, `sg.` labels are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from calico_openstack.model.names import sanitise, sg_label

NAME_LIMIT: Final = 63
GROUP_NAME_LIMIT: Final = 27
"""Upstream: 63 minus the length of the whole prefix `sg-name.projectcalico.org/openstack-`."""

_PROJECT_ID: Final = "projectcalico.org/openstack-project-id"
_PROJECT_NAME: Final = "projectcalico.org/openstack-project-name"
_PROJECT_PARENT: Final = "projectcalico.org/openstack-project-parent-id"
_NETWORK_NAME: Final = "projectcalico.org/openstack-network-name"
PROJECT_LABELS: Final = (_PROJECT_NAME, _PROJECT_PARENT)


class Project(NamedTuple):
    """What Keystone says about a project; empty texts for one that it does not know."""

    name: str
    parent_id: str


def endpoint_labels(
    namespace: str,
    port: Mapping[str, Any],
    group_names: Mapping[str, str],
    networks: Mapping[str, Mapping[str, Any]],
    project: Project | None,
) -> dict[str, str]:
    labels: dict[str, str] = {}
    for group in sorted(str(group) for group in port.get("security_groups") or ()):
        name = sanitise(group_names.get(group) or "", GROUP_NAME_LIMIT)
        labels[sg_label(group)] = name
        if name:
            labels[f"sg-name.projectcalico.org/openstack-{name}"] = group
    labels["projectcalico.org/namespace"] = namespace
    labels["projectcalico.org/orchestrator"] = "openstack"
    project_id = port.get("project_id") or port.get("tenant_id")
    if project_id:
        labels[_PROJECT_ID] = str(project_id)
    if project is not None and project.name:
        labels[_PROJECT_NAME] = sanitise(project.name, NAME_LIMIT)
        labels[_PROJECT_PARENT] = project.parent_id
    network = networks.get(str(port.get("network_id")))
    if network is not None:
        labels[_NETWORK_NAME] = sanitise(str(network.get("name") or ""), NAME_LIMIT)
    return labels


def endpoint_annotations(port: Mapping[str, Any]) -> dict[str, str]:
    annotations = {"openstack.projectcalico.org/network-id": str(port["network_id"])}
    for assignment in port.get("dns_assignment") or ():
        if assignment.get("fqdn"):
            annotations["openstack.projectcalico.org/fqdn"] = str(assignment["fqdn"])
        break
    return annotations
