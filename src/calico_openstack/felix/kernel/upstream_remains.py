"""Removing from the kernel what the upstream Felix left: nf_tables, traffic control. Needs CAP_NET_ADMIN.

Everything in nf_tables goes in one transaction: first the rules of others' chains that lead to its chains, then those
chains, then its own tables. Of limits first the redirection goes, then the device behind it: a packet that is sent to a
device that is gone is lost (net/sched/act_mirred.c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from calico_openstack.felix.kernel.shapers import HANDLE, PRIORITY
from calico_openstack.felix.upstream import Leftovers, is_shaping_device
from calico_openstack.netlink import nftables as nft
from calico_openstack.netlink.rtnl_links import delete_link, dump_links, kind_of, read_link
from calico_openstack.netlink.socket import NetlinkSocket
from calico_openstack.netlink.traffic_control import (
    INGRESS_HANDLE,
    ROOT,
    delete_ingress,
    delete_redirect,
    delete_root,
    dump_ingress_filters,
    dump_qdiscs,
    read_qdisc,
    read_redirect,
)
from calico_openstack.netlink.wire import Request, be64, text


def remove_from_nft(connection: NetlinkSocket, leftovers: Leftovers) -> int:
    """One transaction; how many operations it had. NetlinkError if the kernel refuses; then nothing is changed."""
    requests = list(_removals(leftovers))
    if requests:
        connection.send_transaction(nft.BEGIN, requests, nft.END)
    return len(requests)


def _removals(leftovers: Leftovers) -> Iterator[Request]:
    for place, handles in leftovers.rules.items():
        if place.layer == "nft":
            chain = text(1, place.table) + text(2, place.chain)
            for handle in handles:
                yield nft.message(nft.DELETE_RULE, place.family, chain + be64(3, int(handle)))
    chains = sorted(place for place in leftovers.chains if place.layer == "nft")
    for place in chains:
        yield nft.message(nft.DELETE_RULE, place.family, text(1, place.table) + text(2, place.chain))
    for place in chains:
        yield nft.message(nft.DELETE_CHAIN, place.family, text(1, place.table) + text(3, place.chain))
    for table in leftovers.tables:
        yield nft.message(nft.DELETE_TABLE, table.family, text(1, table.name))


class Limits(NamedTuple):
    """Upstream's bandwidth limits: filters (interface, priority), devices, and (interface, handle) of root buckets."""

    filters: tuple[tuple[int, int], ...] = ()
    devices: tuple[int, ...] = ()
    roots: tuple[tuple[int, int], ...] = ()


def find_limits(connection: NetlinkSocket, is_tap: Callable[[str], bool]) -> Limits:
    """What is there. A root bucket on a tap may be somebody else's, too: ask who was here before removing those."""
    taps, devices = set(), []
    for message in connection.dump(dump_links()):
        event = read_link(message)
        if event is not None and is_tap(event.link.name):
            taps.add(event.link.ifindex)
        elif event is not None and kind_of(message) == "ifb" and is_shaping_device(event.link.name):
            devices.append(event.link.ifindex)
    qdiscs = [found for message in connection.dump(dump_qdiscs()) if (found := read_qdisc(message)) is not None]
    hooked = {one.ifindex for one in qdiscs if one.handle == INGRESS_HANDLE and one.ifindex in taps}
    roots = tuple(
        (one.ifindex, one.handle)
        for one in qdiscs
        if one.ifindex in taps and one.parent == ROOT and one.kind == "tbf" and one.handle != HANDLE
    )
    filters = [
        (tap, priority) for tap in sorted(hooked if devices else ()) for priority in _to(connection, tap, devices)
    ]
    return Limits(tuple(filters), tuple(devices), roots)


def _to(connection: NetlinkSocket, tap: int, devices: list[int]) -> list[int]:
    """The priorities of the filters that send what comes from a tap to one of these devices."""
    found = (read_redirect(message) for message in connection.dump(dump_ingress_filters(tap)))
    return sorted({one.priority for one in found if one and one.target in devices and one.priority != PRIORITY})


def remove_limits(connection: NetlinkSocket, limits: Limits) -> int:
    """How many operations it took. NetlinkError at the first that the kernel refuses; the rest is for the next try."""
    requests = [delete_redirect(tap, priority) for tap, priority in limits.filters]
    requests += [delete_root(tap, handle) for tap, handle in limits.roots]
    requests += [delete_link(device) for device in limits.devices]
    for request in requests:
        connection.request(request)
    for tap in {tap for tap, _ in limits.filters}:
        if not connection.dump(dump_ingress_filters(tap)):
            connection.request(delete_ingress(tap))
    return len(requests)
