"""Permanent neighbours on workload interfaces: a target for the reconciler. Needs CAP_NET_ADMIN.

Ours is every permanent entry on a workload interface. An ordinary entry (dnsmasq injects one when it answers a DHCP
request) counts as absent, and is replaced when the address is wanted.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import NamedTuple

from calico_openstack.daemon.reconcile import Changes
from calico_openstack.model.net import Net
from calico_openstack.netlink.rtnl_neighbours import (
    PERMANENT,
    Neighbour,
    NeighbourEvent,
    delete_neighbour,
    dump_neighbours,
    read_neighbour,
    replace_neighbour,
)
from calico_openstack.netlink.socket import NetlinkSocket

_GONE = {errno.ENOENT, errno.ENODEV, errno.ENXIO}


class NeighbourKey(NamedTuple):
    ifindex: int
    address: Net


class Neighbours:
    """Key: interface index and address; value: MAC in lower case. `is_ours` tells a workload interface by its index."""

    name = "neighbours"

    def __init__(self, connection: NetlinkSocket, is_ours: Callable[[int], bool]) -> None:
        self._connection = connection
        self._is_ours = is_ours

    def read(self) -> Mapping[NeighbourKey, str]:
        found: dict[NeighbourKey, str] = {}
        for version in (4, 6):
            for message in self._connection.dump(dump_neighbours(version)):
                event = read_neighbour(message)
                if event is not None and event.neighbour.state & PERMANENT and self._is_ours(event.neighbour.ifindex):
                    entry = event.neighbour
                    found[NeighbourKey(entry.ifindex, entry.address)] = entry.mac
        return found

    def apply(self, changes: Changes[NeighbourKey, str]) -> Mapping[NeighbourKey, str]:
        puts, deletes = list(changes.puts), list(changes.deletes)
        requests = [replace_neighbour(Neighbour(key.address, key.ifindex, changes.puts[key])) for key in puts]
        requests += [delete_neighbour(Neighbour(key.address, key.ifindex, "")) for key in deletes]
        keys = puts + deletes
        return {
            keys[index]: str(error)
            for index, error in self._connection.send_batch(requests).items()
            if index < len(puts) or error.errno not in _GONE
        }


def concerns(event: NeighbourEvent, wanted: Mapping[NeighbourKey, str]) -> bool:
    """Whether the event says that something wanted is not so any more; echoes of our own writes do not."""
    entry = event.neighbour
    mac = wanted.get(NeighbourKey(entry.ifindex, entry.address))
    return mac is not None and (event.deleted or entry.mac != mac or not entry.state & PERMANENT)
