"""A dataplane on a stage: the real kernel of this network namespace, and a clock that moves by hand."""

from __future__ import annotations

from calico_openstack.felix.dataplane import Dataplane, DataplaneSettings, Report
from calico_openstack.felix.wanted.state import Changes
from calico_openstack.testing.compute_host import eventually


class Stage:
    """Steps a dataplane. `now` is in seconds."""

    def __init__(self, settings: DataplaneSettings | None = None) -> None:
        self.now = 1000.0
        self.dataplane = Dataplane(settings or DataplaneSettings(), lambda: self.now)

    def step(self, changes: Changes | None = None, seconds: float = 0.0) -> Report:
        """Let so much time go by, then bring the kernel to what the changes ask."""
        self.now += seconds
        return self.dataplane.step(changes or Changes(), self.now)

    def settle(self) -> None:
        """Until the echoes of our own writes are taken in and nothing is left to do."""
        eventually(lambda: not any(self.step(seconds=3).operations.values()), "no operation left")
