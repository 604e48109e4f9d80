"""The flows that this host tracks: list those of some addresses, end some. Needs CAP_NET_ADMIN.

An address that leaves this host, or moves to another interface, must not hand its flows to the next owner: `release`
ends them, before the address gets a new route.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from calico_openstack.model.net import Net
from calico_openstack.netlink.conntrack import (
    DIRECTIONS,
    all_flows,
    concerns,
    end_flows,
    end_flows_of,
    find_flows,
    read_flow,
)
from calico_openstack.netlink.socket import NETFILTER, NetlinkSocket
from calico_openstack.netlink.wire import Message

MOST_SEARCHES = 16
"""For more addresses than that, one listing of all flows is cheaper than two passes over the table for each."""


class Conntrack:
    """`ended` counts flows. Its socket is opened at the first use. All raise OSError when the kernel refuses."""

    def __init__(self) -> None:
        self._connection: NetlinkSocket | None = None
        self.ended = 0

    def release(self, addresses: Iterable[Net]) -> None:
        """End all flows of these addresses. Calling it again is harmless."""
        wanted = set(addresses)
        if 0 < len(wanted) <= MOST_SEARCHES:
            self.ended += end_flows_of(self._open(), wanted)
        elif wanted:
            for part in self.parts(wanted):
                self.end([message for message in part if (flow := read_flow(message)) and concerns(flow, wanted)])

    def parts(self, addresses: Collection[Net]) -> Iterator[list[Message]]:
        """Flows of these addresses or networks, perhaps with others and perhaps twice, for `read_flow`; some at a
        time, on a connection of its own, so that flows may be ended and other things done between two parts."""
        if len(addresses) <= MOST_SEARCHES and all(net.is_host for net in addresses):
            requests = [find_flows(address, direction) for address in addresses for direction in DIRECTIONS]
        else:
            requests = [all_flows(version) for version in sorted({net.version for net in addresses})]
        for request in requests:
            with NetlinkSocket(NETFILTER, buffer=1 << 20) as connection:
                yield from connection.dump_in_parts(request)

    def end(self, flows: Sequence[Message]) -> None:
        """End these flows, as listed; one that is gone already is no error."""
        self.ended += end_flows(self._open(), flows)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> NetlinkSocket:
        if self._connection is None:
            self._connection = NetlinkSocket(NETFILTER)
        return self._connection
