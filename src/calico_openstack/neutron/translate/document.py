"""One document that should be in etcd, and what has to be written for it.

`Wanted` is what translation produces: a key and the parts of the document that are ours to say. `compose` lays it over
what is stored and answers the new bytes, or None when nothing has to be written. What is not ours survives: uid and
creationTimestamp of the stored document, and metadata fields that we do not know. Labels and annotations of a
WorkloadEndpoint are exactly ours, also when they become empty; where upstream's driver writes none (security-group
policies, live migrations) the stored ones are left alone, because calicoctl puts its own there.

Lists whose order has no meaning (all rules of a security group allow) are compared without it, so that a database that
returns rows in another order, or the other driver on a shared etcd, causes no write that every Felix would have to
read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

JsonObject: TypeAlias = dict[str, Any]

UNORDERED = frozenset({"ingress", "egress", "ipNetworks", "allowedIps", "ipNATs", "nets", "profiles"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """A document that should exist.

    `kind` is the v3 kind, empty for a plain JSON object that is its own body (DHCP subnets). `labels` and `annotations`
    are exact when given and untouched when None. `kept_labels` names labels whose value is not known just now (a
    project name that Keystone has not told yet): the stored value stays. `only_if_stored` brings a stored document up
    to date but creates none.
    """

    key: str
    body: JsonObject
    kind: str = ""
    name: str = ""
    namespace: str = ""
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    kept_labels: tuple[str, ...] = ()
    only_if_stored: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something Neutron accepted that cannot be expressed and is therefore left out; never widened."""

    subject: str
    reason: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}" + (f"; {self.cure}" if self.cure else "")


@dataclass(frozen=True, slots=True)
class Documents:
    """What one Neutron object comes to: documents to have, keys that must be absent, and what was left out.

    `present` is in the order in which a reader should meet them (policy before endpoint).
    """

    present: tuple[Wanted, ...] = ()
    absent: frozenset[str] = frozenset()
    refusals: tuple[Refusal, ...] = ()

    @property
    def keys(self) -> frozenset[str]:
        return self.absent | {wanted.key for wanted in self.present}


def merged(parts: Iterable[Documents]) -> Documents:
    """All parts as one; a key that one part wants and another one calls absent is wanted."""
    present: dict[str, Wanted] = {}
    absent: set[str] = set()
    refusals: list[Refusal] = []
    for part in parts:
        for wanted in part.present:
            present.setdefault(wanted.key, wanted)
        absent |= part.absent
        refusals.extend(part.refusals)
    return Documents(tuple(present.values()), frozenset(absent - present.keys()), tuple(refusals))


def compose(stored: bytes | None, wanted: Wanted, now: str, uid: str) -> bytes | None:
    """The bytes to write, or None when the stored document already says it.

    `now` (RFC 3339, whole seconds, UTC) and `uid` are used only if the stored document has none.
    """
    if stored is None and wanted.only_if_stored:
        return None
    if not wanted.kind:
        return _compose_plain(stored, wanted)
    return _compose_resource(stored, wanted, now, uid)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values mean the same, order of `UNORDERED` lists aside."""
    return bool(_normal(one) == _normal(other))


def _compose_plain(stored: bytes | None, wanted: Wanted) -> bytes | None:
    # Upstream's resync compares the text of these, so key order and separators are Python's defaults.
    text = json.dumps(wanted.body).encode()
    return None if stored == text else text


def _compose_resource(stored: bytes | None, wanted: Wanted, now: str, uid: str) -> bytes | None:
    old = _object(stored)
    document: JsonObject = dict(old) if old is not None else {}
    document["kind"] = wanted.kind
    document["apiVersion"] = "projectcalico.org/v3"
    old_metadata = document.get("metadata")
    metadata: JsonObject = dict(old_metadata) if isinstance(old_metadata, dict) else {}
    metadata["name"] = wanted.name
    if wanted.namespace:
        metadata["namespace"] = wanted.namespace
    metadata["creationTimestamp"] = metadata.get("creationTimestamp") or now
    metadata["uid"] = metadata.get("uid") or uid
    if wanted.labels is not None:
        metadata["labels"] = _labels(metadata.get("labels"), wanted)
    if wanted.annotations is not None:
        metadata["annotations"] = dict(wanted.annotations)
    document["metadata"] = metadata
    document["spec"] = wanted.body
    if old is not None and same(old, document):
        return None
    return json.dumps(document).encode()


def _labels(stored: object, wanted: Wanted) -> dict[str, str]:
    labels = dict(wanted.labels or {})
    if isinstance(stored, dict):
        for key in wanted.kept_labels:
            value = stored.get(key)
            if isinstance(value, str):
                labels[key] = value
    return labels


def _object(stored: bytes | None) -> JsonObject | None:
    """The stored JSON object, or None for absent, not JSON, or not an object (then it is written anew)."""
    if stored is None:
        return None
    try:
        value = json.loads(stored)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _normal(value: Any, unordered: bool = False) -> Any:
    if isinstance(value, dict):
        return {key: _normal(item, key in UNORDERED) for key, item in value.items()}
    if isinstance(value, list):
        items = [_normal(item) for item in value]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) if unordered else items
    return value


__all__ = ["Documents", "JsonObject", "Refusal", "Wanted", "compose", "merged", "same"]
