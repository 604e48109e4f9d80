"""A dataplane on a stage: the real kernel of this network namespace, its taps, and a clock that moves by hand."""

from __future__ import annotations

from calico_openstack.felix.dataplane import Dataplane, DataplaneSettings, Report
from calico_openstack.felix.wanted.state import Changes
from calico_openstack.testing.compute_host import eventually, ip


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


def tap(name: str) -> None:
    """The interface `tap<name>` in this namespace, as libvirt makes it; its other end `peer<name>` stays here, too."""
    ip("link", "add", f"tap{name}", "type", "veth", "peer", "name", f"peer{name}")
    ip("link", "set", f"peer{name}", "up")
    ip("link", "set", f"tap{name}", "up")
    carries(f"tap{name}")


def carries(interface: str) -> None:
    """The kernel tells of a carrier a moment after it is there (linkwatch)."""
    eventually(lambda: "state UP" in ip("link", "show", interface), f"{interface} carries")
