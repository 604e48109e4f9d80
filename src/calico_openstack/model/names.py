"""Names that Neutron, Nova, Felix and etcd must agree on, built and parsed in this one place.

Every function here is a wire format: a change breaks compatibility with upstream's driver and agents.
"""

from __future__ import annotations

import re
import sys

from calico_openstack.model.endpoint import EndpointKey

ORCHESTRATOR = "openstack"
NO_REGION = "no-region"
SG_POLICY_PREFIX = "ossg.default."
SG_LABEL_PREFIX = "sg.projectcalico.org/openstack-"
SG_NAME_LABEL_PREFIX = "sg-name.projectcalico.org/openstack-"
LABEL_VALUE_LIMIT = 63
SG_NAME_LIMIT = LABEL_VALUE_LIMIT - len(SG_NAME_LABEL_PREFIX)
"""27: upstream counts the whole label prefix against the limit of 63 (networking-calico, datamodel_v3)."""

_REGION = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_REGION_LIMIT = 63 - len("openstack-region-")
_MAC = re.compile(r"([0-9a-f]{2})((:[0-9a-f]{2}){5})\Z", re.IGNORECASE)
UNPARSED_TAP_MAC = "00:61:fe:ed:ca:fe"


def check_region(region: str) -> str:
    """The region name itself, or ValueError: it becomes part of a namespace, which is a DNS label."""
    if not _REGION.match(region) or len(region) > _REGION_LIMIT:
        raise ValueError(
            f"region {region!r} is not usable: lower-case letters, digits and inner dashes,"
            f" at most {_REGION_LIMIT} characters"
        )
    return region


def region_string(region: str | None) -> str:
    """The region as a path segment: `no-region` or `region-<name>`."""
    return NO_REGION if not region else f"region-{check_region(region)}"


def namespace_for(region: str | None) -> str:
    """The namespace of a region's namespaced resources: `openstack` or `openstack-region-<name>`."""
    return ORCHESTRATOR if not region else f"{ORCHESTRATOR}-{region_string(region)}"


def escape_part(part: str) -> str:
    """One part of an endpoint name: each dash is doubled, since a single dash separates parts."""
    return part.replace("-", "--")


def endpoint_name(key: EndpointKey) -> str:
    """`<host>-<orchestrator>-<workload>-<endpoint>`, inner dashes doubled (libcalico names/workloadendpoint)."""
    return "-".join(escape_part(part) for part in (key.host, key.orchestrator, key.workload, key.endpoint))


def endpoint_name_prefix(host: str, orchestrator: str = ORCHESTRATOR) -> str:
    """What the names of all endpoints of one host start with."""
    return f"{escape_part(host)}-{escape_part(orchestrator)}-"


def parse_endpoint_name(namespace: str, name: str) -> EndpointKey:
    """The inverse of `endpoint_name`; ValueError if there are not exactly four parts."""
    # A doubled dash is a literal one. "\0" cannot occur in an etcd key of ours.
    parts = [part.replace("\0", "-") for part in name.replace("--", "\0").split("-")]
    if len(parts) != 4 or not all(parts):
        raise ValueError(f"{name!r} is not a workload endpoint name: host-orchestrator-workload-endpoint is expected")
    host, orchestrator, workload, endpoint = parts
    return EndpointKey(sys.intern(namespace), sys.intern(host), sys.intern(orchestrator), workload, endpoint)


def tap_name(port_id: str) -> str:
    """The name of the interface that Nova makes for a port (nova network/model, 14 characters)."""
    return f"tap{port_id[:11]}"


def tap_mac(mac: str) -> str:
    """The host side's MAC of a port: `fe` and the last five octets of the guest's.

    The same on every host, so that a guest's ARP entry for its gateway outlives a live migration. libvirt before 9.5
    made the same substitution by itself.
    """
    found = _MAC.match(mac)
    return f"fe{found.group(2).lower()}" if found else UNPARSED_TAP_MAC


def sanitise(text: str, limit: int = LABEL_VALUE_LIMIT) -> str:
    """Free text as a label value: cut, other characters replaced by `_`, starting and ending alphanumeric."""
    replaced = re.sub(r"[^-_.A-Za-z0-9]", "_", text[:limit])
    return re.sub(r"[^A-Za-z0-9]+\Z", "", re.sub(r"\A[^A-Za-z0-9]+", "", replaced))


def security_group_policy_name(security_group_id: str) -> str:
    return f"{SG_POLICY_PREFIX}{security_group_id}"


def sg_label(security_group_id: str) -> str:
    """The label whose presence says that an endpoint is in the group; selectors use `has(...)` on it."""
    return f"{SG_LABEL_PREFIX}{security_group_id}"


def sg_name_label(security_group_name: str) -> str | None:
    """The convenience label by group name, or None if nothing of the name is left. Never use it to enforce."""
    name = sanitise(security_group_name, SG_NAME_LIMIT)
    return f"{SG_NAME_LABEL_PREFIX}{name}" if name else None
