"""Ending the flows of an address that left this host or moved to another interface. Needs CAP_NET_ADMIN.

Happens in the apply thread, before the address gets a new route: a re-used address must not inherit flows.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_openstack.model.net import Net
from calico_openstack.netlink.conntrack import end_flows_of
from calico_openstack.netlink.socket import NETFILTER, NetlinkSocket


class Conntrack:
    """`ended` counts flows. Its socket is opened at the first use."""

    def __init__(self) -> None:
        self._connection: NetlinkSocket | None = None
        self.ended = 0

    def release(self, addresses: Iterable[Net]) -> None:
        """End all flows of these addresses. Raises OSError when the kernel refuses; calling it again is harmless."""
        wanted = list(addresses)
        if not wanted:
            return
        if self._connection is None:
            self._connection = NetlinkSocket(NETFILTER)
        self.ended += end_flows_of(self._connection, wanted)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
