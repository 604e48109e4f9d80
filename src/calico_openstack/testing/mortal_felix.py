"""Felix's decisions on a kernel in memory, from documents to operations; it may be killed after any of these.

The parts are the agent's own (intake, graph, dataplane), without its loop: a batch is taken in and one step made, as
the agent does. A new life knows the documents and the kernel, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from calico_openstack.etcd.values import Event
from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.dataplane import Dataplane, DataplaneSettings
from calico_openstack.felix.datastore import Datastore
from calico_openstack.felix.kernel.routes import GRACE
from calico_openstack.felix.wanted.state import Wanted
from calico_openstack.testing.fake_kernel import FakeKernel, Killed

PAUSE = 3.0
"""Seconds between two steps while nothing happens: longer than the firewall's pause between two readings."""


class Batch(NamedTuple):
    """What happens at once: documents by key (None: deleted), then interfaces that go and that come (a name may do
    both)."""

    documents: tuple[tuple[str, bytes | None], ...] = ()
    unplugged: tuple[str, ...] = ()
    plugged: tuple[str, ...] = ()


MOST_STEPS = 200
"""Many more than any batch needs."""


class MortalFelix:
    """`deaths` counts how often it was killed."""

    def __init__(self, hostname: str, kernel: FakeKernel, settings: DataplaneSettings | None = None) -> None:
        self.kernel = kernel
        self.deaths = 0
        self._hostname = hostname
        self._settings = settings or DataplaneSettings(remove_upstream_rules=False)
        self._documents: dict[str, bytes] = {}
        self._now = 1000.0
        self._live()

    def live_through(self, batch: Batch) -> None:
        """Take the batch in and come to rest, in as many lives as it takes."""
        for name in batch.unplugged:
            self.kernel.unplug(name)
        for name in batch.plugged:
            if self.kernel.index_of(name) is None:
                self.kernel.plug(name)
        for path, value in batch.documents:
            if value is None:
                self._documents.pop(path, None)
            else:
                self._documents[path] = value
        self._store.take(_events(batch.documents))
        while True:
            try:
                return self._rest()
            except Killed:
                self.deaths += 1
                self._live()

    def _live(self) -> None:
        self._store = Datastore(Graph(self._hostname))
        self._store.take(_events(self._documents.items()))
        self._dataplane = Dataplane(self._settings, lambda: self._now, self.kernel.access())

    def _rest(self) -> None:
        """Step until a stranger's grace is over and nothing happens any more. AssertionError if that never comes."""
        quiet, steps = 0.0, 0
        while quiet <= GRACE + PAUSE:
            report = self._dataplane.step(self._store.news(), self._now)
            steps += 1
            assert steps < MOST_STEPS, f"it never rests: {report}"
            quiet = 0.0 if any(report.operations.values()) else quiet + PAUSE
            self._now += PAUSE


def wanted_after(hostname: str, documents: Mapping[str, bytes]) -> Wanted:
    """What the host should have, given these documents."""
    store, wanted = Datastore(Graph(hostname)), Wanted()
    store.take(_events(documents.items()))
    wanted.apply(store.news())
    return wanted


def _events(documents: Iterable[tuple[str, bytes | None]]) -> list[Event]:
    return [Event(path, value, 1) for path, value in documents]
