"""The BGP resources in etcd as a `Cluster`, kept up to date event by event.

PURE. A document that cannot be read is absent, with a reason that ends up in the status; the others stay. A key of another
kind is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from calico_openstack.bgp.sessions import Cluster
from calico_openstack.etcd.values import Event
from calico_openstack.model import bgp
from calico_openstack.model.bgp_filter import read_filter
from calico_openstack.model.keys import ResourceKey, parse_key, resource_prefix

READERS: dict[str, Callable[[str, bytes], Any]] = {
    "Node": bgp.read_node,
    "BGPPeer": bgp.read_peer,
    "BGPConfiguration": bgp.read_configuration,
    "BGPFilter": read_filter,
}
PREFIXES = tuple(resource_prefix(kind) for kind in READERS)


@dataclass(slots=True)
class View:
    _values: dict[str, dict[str, Any]] = field(default_factory=lambda: {kind: {} for kind in READERS})
    _absent: dict[str, str] = field(default_factory=dict)

    def apply(self, events: Iterable[Event]) -> set[ResourceKey]:
        """Take in changes; the keys whose meaning changed."""
        changed = set()
        for event in events:
            key = parse_key(event.key)
            if isinstance(key, ResourceKey) and key.kind in READERS and self._take(key, event.value):
                changed.add(key)
        return changed

    def cluster(self) -> Cluster:
        """A snapshot that later events do not touch."""
        return Cluster(
            nodes=dict(self._values["Node"]),
            peers=dict(self._values["BGPPeer"]),
            configurations=dict(self._values["BGPConfiguration"]),
            filters=dict(self._values["BGPFilter"]),
            absent=dict(self._absent),
        )

    def _take(self, key: ResourceKey, value: bytes | None) -> bool:
        subject = f"{key.kind}/{key.name}"
        values = self._values[key.kind]
        before = (values.get(key.name), self._absent.get(subject))
        values.pop(key.name, None)
        self._absent.pop(subject, None)
        if value is not None:
            try:
                values[key.name] = READERS[key.kind](key.name, value)
            except (ValueError, TypeError, KeyError) as error:
                self._absent[subject] = str(error)
        return before != (values.get(key.name), self._absent.get(subject))
