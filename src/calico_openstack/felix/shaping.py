"""Bandwidth limits of this host's endpoints: wishes from endpoints and interfaces, kept by a reconciler.

A limit belongs to an interface that is there, whether it carries or not, and is wished for anew when the interface
comes back with another index (rebuild, hard reboot). An endpoint is up without its limit: a failure is logged, listed,
and tried again with a growing pause. Lives in the apply thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from calico_openstack.daemon.reconcile import Reconciler
from calico_openstack.daemon.retry import Retries
from calico_openstack.felix.kernel.shapers import PREFIX, ShaperKey, Shapers, ifb_name
from calico_openstack.felix.wanted.shaping import Shape, egress_shape, ingress_shape
from calico_openstack.model.endpoint import QosControls
from calico_openstack.netlink.rtnl_links import Link
from calico_openstack.netlink.socket import NetlinkSocket


def wished(link: Link | None, qos: QosControls | None) -> dict[ShaperKey, Shape]:
    """The limits of one tap: nothing if it is not there or nobody limits it."""
    if link is None or qos is None:
        return {}
    shapes = {
        ShaperKey(link.name, link.ifindex, "ingress"): ingress_shape(qos, link.mtu),
        ShaperKey(link.name, link.ifindex, "egress"): egress_shape(qos, link.mtu),
    }
    return {key: shape for key, shape in shapes.items() if shape is not None}


class Shaping:
    """`link(name)` is the interface as last seen, if it is a guest's."""

    def __init__(self, connection: NetlinkSocket, is_tap: Callable[[str], bool]) -> None:
        self._keeper = Reconciler[ShaperKey, Shape](Shapers(connection, is_tap))
        self._wishes: dict[str, dict[ShaperKey, Shape]] = {}

    def update(self, interface: str, link: Link | None, qos: QosControls | None) -> None:
        """What the interface should have now."""
        wishes = wished(link, qos)
        known = self._wishes.pop(interface, {})
        for key in known.keys() - wishes.keys():
            self._keeper.want(key, None)
        for key, shape in wishes.items():
            if known.get(key) != shape:
                self._keeper.want(key, shape)
        if wishes:
            self._wishes[interface] = wishes

    def happened(self, ifindexes: Iterable[int], names: Callable[[int], str | None], links: Iterable[str]) -> None:
        """Traffic control changed on these interfaces, and these links changed; most are none of ours."""
        if not self._wishes:
            return
        ours = {key.ifindex for wishes in self._wishes.values() for key in wishes}
        concerned = any(index in ours or (names(index) or "").startswith(PREFIX) for index in ifindexes)
        if concerned or not {ifb_name(name) for name in self._wishes}.isdisjoint(links):
            self.drifted()

    def drifted(self) -> None:
        """Read back at the next step."""
        self._keeper.drifted()

    def step(self, now: float) -> int:
        """Do what is due; how many operations that were."""
        return self._keeper.step(now).operations

    @property
    def failures(self) -> dict[str, str]:
        """What could not be done, and why, by interface and direction."""
        found = {f"{key} bandwidth": failure.reason for key, failure in self._keeper.failures}
        for _, failure in self._keeper.trouble:
            found["bandwidth"] = failure.reason
        return found

    def ledgers(self) -> dict[str, Retries[Any]]:
        """What waits for its next try: shapers, and the target as a whole."""
        return {"shaper": self._keeper.failures, "all shapers": self._keeper.trouble}

    def wake_at(self) -> float | None:
        return self._keeper.wake_at()
