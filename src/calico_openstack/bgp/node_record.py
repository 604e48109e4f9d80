"""This host's own Node record: what it should say, and how it gets into etcd.

The agent creates the record and keeps what the settings file says in it true; everything else in it belongs
to others (an operator's labels, Felix's tunnel fields) and is kept. An address that was found out rather than
set is written only when the record has none. The record is never deleted by the agent: an operator who
removes a host does that.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import msgspec

from calico_openstack.etcd.aio import AsyncClient
from calico_openstack.etcd.values import Put, Unchanged
from calico_openstack.model.keys import ResourceKey

ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class OwnNode:
    """What the settings file says of this host, and (`found*`) what was found out. Addresses as CIDR or IP text.

    `detect`: an address may be found out, also later.
    """

    name: str
    ipv4: str | None = None
    ipv6: str | None = None
    as_number: int | None = None
    cluster_id: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    found4: str | None = None
    found6: str | None = None
    detect: bool = False

    @property
    def nowhere(self) -> bool:
        """No address is known, and one may be looked for: the network was not up yet when the agent started."""
        return self.detect and not (self.ipv4 or self.ipv6 or self.found4 or self.found6)


def wanted(existing: bytes | None, own: OwnNode, uid: str, now: str) -> bytes | None:
    """The record as it should be, or None if it is so already. `uid` and `now` (RFC 3339) are for a new record."""
    before = _decode(existing)
    document: dict[str, Any] = copy.deepcopy(before) if before is not None else {}
    document["kind"] = "Node"
    document["apiVersion"] = "projectcalico.org/v3"
    metadata = _part(document, "metadata")
    metadata["name"] = own.name
    metadata.setdefault("uid", uid)
    metadata.setdefault("creationTimestamp", now)
    if own.labels:
        _part(metadata, "labels").update(own.labels)
    bgp = _part(_part(document, "spec"), "bgp")
    for name, value, found in (("ipv4Address", own.ipv4, own.found4), ("ipv6Address", own.ipv6, own.found6)):
        text = value or bgp.get(name) or found
        if text:
            bgp[name] = text
    if own.as_number is not None:
        bgp["asNumber"] = own.as_number
    if own.cluster_id is not None:
        bgp["routeReflectorClusterID"] = own.cluster_id
    _addresses(document["spec"], bgp)
    return None if document == before else msgspec.json.encode(document)


async def ensure(client: AsyncClient, own: OwnNode, uid: str, now: str) -> bool:
    """Bring the record about with compare-and-swap; whether anything was written. EtcdError as the client says."""
    key = ResourceKey("Node", own.name).path
    for _ in range(ATTEMPTS):
        stored = await client.get(key)
        value = wanted(stored.value if stored else None, own, uid, now)
        if value is None:
            return False
        result = await client.txn([Unchanged(key, stored.mod_revision if stored else 0)], [Put(key, value)])
        if result.succeeded:
            return True
    return False


def _decode(value: bytes | None) -> dict[str, Any] | None:
    """None for a record that no reader could use either: it is written anew."""
    try:
        return msgspec.json.decode(value, type=dict[str, Any]) if value else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _part(parent: dict[str, Any], name: str) -> dict[str, Any]:
    part = parent.get(name)
    if not isinstance(part, dict):
        part = parent[name] = {}
    return part


def _addresses(spec: dict[str, Any], bgp: dict[str, Any]) -> None:
    """`spec.addresses` repeats the BGP addresses as CalicoNodeIP, as upstream's own writer does; others are kept."""
    listed = spec.get("addresses")
    others = [item for item in listed if not _is_node_ip(item)] if isinstance(listed, list) else []
    ours = [{"address": bgp[name], "type": "CalicoNodeIP"} for name in ("ipv4Address", "ipv6Address") if bgp.get(name)]
    if ours or others:
        spec["addresses"] = [*others, *ours]


def _is_node_ip(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "CalicoNodeIP"
