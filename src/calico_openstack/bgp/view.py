"""The BGP resources in etcd as a `Cluster`, kept up to date event by event.

PURE. A document that cannot be read is absent, with a reason that ends up in the status; the others stay. A
key of another kind is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from calico_openstack.bgp.sessions import Cluster
from calico_openstack.etcd.values import Event
from calico_openstack.model import intake
from calico_openstack.model.bgp import BgpConfiguration, BgpPeer, Node
from calico_openstack.model.bgp_filter import BgpFilter
from calico_openstack.model.keys import ResourceKey, parse_key, resource_prefix

KINDS = ("Node", "BGPPeer", "BGPConfiguration", "BGPFilter")
PREFIXES = tuple(resource_prefix(kind) for kind in KINDS)

Resource = Node | BgpPeer | BgpConfiguration | BgpFilter


@dataclass(slots=True)
class View:
    _values: dict[ResourceKey, Resource] = field(default_factory=dict)
    _absent: dict[ResourceKey, str] = field(default_factory=dict)

    def apply(self, events: Iterable[Event]) -> set[ResourceKey]:
        """Take in changes; the keys whose meaning changed."""
        changed = set()
        for event in events:
            key = parse_key(event.key)
            if isinstance(key, ResourceKey) and key.kind in KINDS and self._take(key, event):
                changed.add(key)
        return changed

    def cluster(self) -> Cluster:
        """A snapshot that later events do not touch."""
        values = self._values.values()
        return Cluster(
            nodes={value.name: value for value in values if isinstance(value, Node)},
            peers={value.name: value for value in values if isinstance(value, BgpPeer)},
            configurations={value.name: value for value in values if isinstance(value, BgpConfiguration)},
            filters={value.name: value for value in values if isinstance(value, BgpFilter)},
            absent={f"{key.kind}/{key.name}": reason for key, reason in self._absent.items()},
        )

    def _take(self, key: ResourceKey, event: Event) -> bool:
        before = (self._values.pop(key, None), self._absent.pop(key, None))
        if event.value is not None:
            answer = intake.read(event.key, event.value)
            if isinstance(answer, intake.Absent):
                self._absent[key] = answer.reason
            elif isinstance(answer.value, Node | BgpPeer | BgpConfiguration | BgpFilter):
                self._values[key] = answer.value
        return before != (self._values.get(key), self._absent.get(key))
