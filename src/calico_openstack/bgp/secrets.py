"""BGP passwords from the host's own files: `<directory>/<secret name>/<key>`.

There is no Kubernetes here to keep a secret, and etcd is read by every host; so the operator's configuration
management puts the file where the agent (root) alone can read it. What cannot be read is missing, and the
session says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from calico_openstack.bgp.sessions import Cluster
from calico_openstack.model.bgp import SecretRef


def references(cluster: Cluster) -> set[SecretRef]:
    """All secrets that any document names."""
    found = {peer.password for peer in cluster.peers.values()}
    found |= {configuration.mesh_password for configuration in cluster.configurations.values()}
    return {reference for reference in found if reference is not None}


def read(directory: Path, wanted: Iterable[SecretRef]) -> dict[SecretRef, str]:
    """The passwords that are there, without the newline at the end. Names were checked: no part leads elsewhere."""
    passwords = {}
    for reference in sorted(wanted):
        try:
            text = (directory / reference.name / reference.key).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        passwords[reference] = text.rstrip("\r\n")
    return passwords
