"""The flows that this host tracks: list those of some addresses, end some. Needs CAP_NET_ADMIN.

An address that leaves this host, or moves to another interface, must not hand its flows to the next owner: `release`
ends them, before the address gets a new route.

Each listing, whatever it looks for, walks through the kernel's whole table of flows: 262,144 buckets on a host with
more than 4 GB of memory, 8 ms also when they are empty. The kernel can look for the source of one direction only, so an
address takes two walks. If few flows are tracked, one walk for all of them is cheaper; if none is, there is none.

IPv6 addresses are never looked for in the kernel: it gives every flow but those of the address (the comparison in
`ctnetlink_filter_match_tuple` is the wrong way round; Linux 5.8 to 6.18 at least).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from calico_openstack.model.net import Net
from calico_openstack.netlink.conntrack import (
    DIRECTIONS,
    all_flows,
    concerns,
    end_flows,
    find_flows,
    read_flow,
)
from calico_openstack.netlink.socket import NETFILTER, NetlinkSocket
from calico_openstack.netlink.wire import Message, Request

_TRACKED = Path("/proc/sys/net/netfilter/nf_conntrack_count")

MOST_SEARCHES = 16
"""For more addresses than that, one listing of all flows is cheaper than two passes over the table for each."""

WORTH = 500
"""Reading so many flows costs about as much as one walk through the table."""


class Conntrack:
    """`ended` counts flows. Its socket is opened at the first use. All raise OSError when the kernel refuses."""

    def __init__(self) -> None:
        self._connection: NetlinkSocket | None = None
        # Never more than there were listings at the same time: two.
        self._spare: list[NetlinkSocket] = []
        self.ended = 0

    def release(self, addresses: Iterable[Net]) -> None:
        """End all flows of these addresses. Calling it again is harmless."""
        wanted = set(addresses)
        for part in self.parts(wanted):
            self.end([message for message in part if (flow := read_flow(message)) and concerns(flow, wanted)])

    def parts(self, addresses: Collection[Net]) -> Iterator[list[Message]]:
        """Flows of these addresses or networks, perhaps with others and perhaps twice, for `read_flow`; some at a
        time, on a connection of its own, so that flows may be ended and other things done between two parts."""
        for request in listings(addresses, _tracked()):
            # Closing one takes 3 ms; one that is not read to the end is good for nothing else.
            connection = self._spare.pop() if self._spare else NetlinkSocket(NETFILTER, buffer=1 << 20)
            try:
                yield from connection.dump_in_parts(request)
            except BaseException:
                connection.close()
                raise
            self._spare.append(connection)

    def end(self, flows: Sequence[Message]) -> None:
        """End these flows, as listed; one that is gone already is no error."""
        self.ended += end_flows(self._open(), flows)

    def close(self) -> None:
        for connection in (self._connection, *self._spare):
            if connection is not None:
                connection.close()

    def _open(self) -> NetlinkSocket:
        if self._connection is None:
            self._connection = NetlinkSocket(NETFILTER)
        return self._connection


def listings(addresses: Collection[Net], tracked: int | None) -> list[Request]:
    """The cheapest dumps with all flows of these addresses, when so many flows are tracked (None: not known)."""
    if not addresses or tracked == 0:
        return []
    versions = {net.version for net in addresses}
    if 4 in versions and len(addresses) <= MOST_SEARCHES and all(net.is_host for net in addresses):
        searches = [find_flows(net, direction) for net in addresses if net.version == 4 for direction in DIRECTIONS]
        if tracked is None or tracked > WORTH * (len(searches) - 1):
            return [*searches, *([all_flows(6)] if 6 in versions else [])]
    return [all_flows(versions.pop() if len(versions) == 1 else None)]


def _tracked() -> int | None:
    """How many flows the kernel tracks in the network namespace of this thread; None if it does not say."""
    try:
        return int(_TRACKED.read_text())
    except (OSError, ValueError):
        return None
