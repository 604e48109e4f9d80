"""What the datastore says, taken in: documents become values, for the graph, the settings or the list of the living.

A document that is not understood counts as absent, or has a stand-in, with a reason that is logged once and kept for
`complaints`; so has a policy whose tier is closed. An endpoint of this host is *living* as long as its key is there,
understood or not: Neutron takes a missing status key of a port for an error, so it gets "down" and never nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from calico_openstack.daemon import garbage
from calico_openstack.daemon.logs import get_logger
from calico_openstack.etcd.values import Event
from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.calc.homes import Homes
from calico_openstack.felix.calc.inputs import KINDS, POLICY_KINDS, feed, workload_endpoint_key
from calico_openstack.felix.census import Census
from calico_openstack.felix.timing import Timing
from calico_openstack.felix.wanted.state import Changes
from calico_openstack.model.bgp import Node
from calico_openstack.model.cluster import ClusterInformation, FelixConfiguration
from calico_openstack.model.endpoint import Endpoint, EndpointKey
from calico_openstack.model.intake import Absent, read
from calico_openstack.model.keys import ResourceKey, parse_key
from calico_openstack.model.policy import PolicyKey

log = get_logger("felix.datastore")

_SLICE = 500
_MANY = 1000
"""Events; a batch of more is a state that is built up."""


class Datastore:
    """The present state of everything under the resources' prefix that concerns Felix of one host."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.living: set[EndpointKey] = set()
        self._refused: dict[str, str] = {}
        self._closed: dict[PolicyKey, str] = {}
        self._tiers_stirred = False
        self.configurations: dict[str, FelixConfiguration] = {}
        self.node_labels: dict[str, str] = {}
        self.census = Census()
        self.taken: Counter[str] = Counter()
        self.take_time = Timing()
        self._homes = Homes(graph.hostname)
        self._cluster: ClusterInformation | None = None
        self._taking = False

    @property
    def complaints(self) -> dict[str, str]:
        """Why what is stored is not in force as it is, by path: documents, and policies in closed tiers."""
        closed = {_path(key): f"{_path(key)}: {reason}" for key, reason in self._closed.items()}
        return closed | self._refused

    @property
    def not_ready(self) -> str | None:
        """Why nothing may be written to the kernel yet; None if it may."""
        if self._cluster is None:
            return "there is no ClusterInformation 'default'; the Neutron driver makes it at its first resync"
        if not self._cluster.ready:
            return "ClusterInformation 'default' says datastoreReady: false"
        return None

    async def take_batch(self, events: Sequence[Event]) -> bool:
        """Take in a batch in slices, so that the loop stays responsive; True if settings may be others by it.

        Meanwhile `news` has nothing to say: half a batch is a state that never was in etcd, and could let pass what
        neither the old policy nor the new one allows.
        """
        settings = False
        self._taking = True
        try:
            with garbage.paused() if len(events) > _MANY else contextlib.nullcontext():
                for start in range(0, len(events), _SLICE):
                    begun = time.monotonic()
                    settings |= self.take(events[start : start + _SLICE])
                    self.take_time.observe(time.monotonic() - begun)
                    await asyncio.sleep(0)
        finally:
            self._taking = False
        return settings

    def news(self) -> Changes:
        """What the host should have otherwise than when this was asked last; nothing in the middle of a batch."""
        if self._taking:
            return Changes()
        self._note_closed()
        changes = self.graph.flush()
        changes.came = self._homes.take()
        return changes

    def take(self, events: Iterable[Event]) -> bool:
        """Take in changes at once; True if settings may be others by it."""
        settings = False
        for event in events:
            key = parse_key(event.key)
            if not isinstance(key, ResourceKey):
                continue
            self.taken[key.kind] += 1
            if key.kind in KINDS:
                value = self._value(event)
                endpoint = value.key if isinstance(value, Endpoint) else workload_endpoint_key(key)
                feed(self.graph, key, value, endpoint)
                self._tiers_stirred |= key.kind == "Tier" or key.kind in POLICY_KINDS
                self._note_life(key, event, value, endpoint)
                if key.kind == "Node":
                    settings |= self._take_other(key, value)
            elif key.kind in ("FelixConfiguration", "ClusterInformation"):
                settings |= self._take_other(key, self._value(event))
        return settings

    def _value(self, event: Event) -> object:
        if event.value is None:
            self._refused.pop(event.key, None)
            return None
        found = read(event.key, event.value)
        if isinstance(found, Absent):
            if self._refused.get(event.key) != found.reason:
                log.warning("document.ignored", key=event.key, reason=found.reason, stand_in=found.stand_in is not None)
            self._refused[event.key] = found.reason
            return found.stand_in
        if self._refused.pop(event.key, None) is not None:
            log.info("document.understood", key=event.key)
        return found.value

    def _note_closed(self) -> None:
        """Say once which policies a stand-in is in force for because of their tier."""
        if not self._tiers_stirred:
            return
        self._tiers_stirred = False
        before, self._closed = self._closed, self.graph.closed_policies()
        for key, reason in self._closed.items():
            if before.get(key) != reason:
                log.warning("policy.closed", key=_path(key), reason=reason, cure="store the tier, or name another")
        for key in before.keys() - self._closed.keys():
            log.info("policy.in_force", key=_path(key))

    def _note_life(self, key: ResourceKey, event: Event, value: object, endpoint: EndpointKey | None) -> None:
        if endpoint is not None:
            self._homes.note(endpoint, event.value is not None)
        if endpoint is not None and endpoint.host == self.graph.hostname:
            (self.living.discard if event.value is None else self.living.add)(endpoint)
        self.census.note(key.kind, event.key, value is not None, endpoint.host if endpoint else None)

    def _take_other(self, key: ResourceKey, value: object) -> bool:
        if key.kind == "ClusterInformation" and key.name == "default":
            self._cluster = value if isinstance(value, ClusterInformation) else None
            return False
        if key.kind == "Node":
            if key.name != self.graph.hostname:
                return False
            labels = dict(value.labels) if isinstance(value, Node) else {}
            changed = labels != self.node_labels
            self.node_labels = labels
            return changed
        if key.kind == "FelixConfiguration":
            if isinstance(value, FelixConfiguration):
                self.configurations[key.name] = value
            else:
                self.configurations.pop(key.name, None)
            return True
        return False


def _path(key: PolicyKey) -> str:
    return ResourceKey(key.kind, key.name, key.namespace).path
