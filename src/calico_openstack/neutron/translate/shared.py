"""What the whole deployment needs in etcd: ClusterInformation and FelixConfiguration, both named `default`.

Others write these too (calicoctl, the operator), so only what is missing is added. Felix does nothing until
`datastoreReady` is true; an operator's explicit false stays.
"""

from __future__ import annotations

import json
from typing import Any, Final

from calico_openstack.model.keys import ResourceKey
from calico_openstack.neutron.translate.document import JsonObject, Wanted, compose

CLUSTER_KEY: Final = ResourceKey("ClusterInformation", "default").path
FELIX_KEY: Final = ResourceKey("FelixConfiguration", "default").path


def cluster_information(stored: bytes | None, guid: str, now: str, uid: str) -> bytes | None:
    """The bytes to write, or None if nothing is missing. `guid`: 32 hex digits, used if there is none yet."""
    spec = _spec(stored)
    if not spec.get("clusterGUID"):
        spec["clusterGUID"] = guid
    kind = str(spec.get("clusterType") or "")
    if "openstack" not in kind:
        spec["clusterType"] = f"{kind},openstack" if kind else "openstack"
    spec.setdefault("datastoreReady", True)
    return compose(stored, Wanted(CLUSTER_KEY, spec, "ClusterInformation", "default"), now, uid)


def felix_configuration(stored: bytes | None, now: str, uid: str) -> bytes | None:
    """Felix must report endpoint status, and must know that our interfaces begin with `tap`."""
    spec = _spec(stored)
    spec["endpointReportingEnabled"] = True
    prefixes = [prefix.strip() for prefix in str(spec.get("interfacePrefix") or "").split(",") if prefix.strip()]
    if "tap" not in prefixes:
        spec["interfacePrefix"] = ",".join([*prefixes, "tap"])
    return compose(stored, Wanted(FELIX_KEY, spec, "FelixConfiguration", "default"), now, uid)


def _spec(stored: bytes | None) -> JsonObject:
    try:
        document: Any = json.loads(stored) if stored is not None else None
    except ValueError:
        document = None
    spec = document.get("spec") if isinstance(document, dict) else None
    return dict(spec) if isinstance(spec, dict) else {}
