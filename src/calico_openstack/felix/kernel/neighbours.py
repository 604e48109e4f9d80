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
from calico_openstack.netlink.wire import Request

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
        failed: dict[NeighbourKey, str] = {}
        requests: dict[NeighbourKey, Request] = {}
        for key, mac in changes.puts.items():
            try:
                requests[key] = replace_neighbour(Neighbour(key.address, key.ifindex, mac))
            except ValueError as error:
                failed[key] = str(error)
        for key in changes.deletes:
            requests[key] = delete_neighbour(Neighbour(key.address, key.ifindex, ""))
        keys = list(requests)
        for index, refused in self._connection.send_batch(list(requests.values())).items():
            if keys[index] in changes.puts or refused.errno not in _GONE:
                failed[keys[index]] = str(refused)
        return failed


def concerns(event: NeighbourEvent, wanted: Mapping[NeighbourKey, str]) -> bool:
    """Whether the event says that something wanted is not so any more; echoes of our own writes do not."""
    entry = event.neighbour
    mac = wanted.get(NeighbourKey(entry.ifindex, entry.address))
    return mac is not None and (event.deleted or entry.mac != mac or not entry.state & PERMANENT)
