"""The taps of this host as the kernel has them, and the gateway addresses on them (needs CAP_NET_ADMIN).

Ours among a tap's addresses are those with the flag "no prefix route": the kernel makes none of these by itself, and
nobody else puts addresses on taps. So after a restart what is right is recognised and left alone, and what is not
wanted any more is removed.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import NamedTuple

from calico_openstack.dhcp.ports import TAP_PREFIX
from calico_openstack.dhcp.problems import Problem
from calico_openstack.dhcp.tap_addresses import TapAddress
from calico_openstack.netlink import rtnl
from calico_openstack.netlink.rtnl_addresses import (
    NO_DAD,
    NO_PREFIX_ROUTE,
    SCOPE_LINK,
    SCOPE_UNIVERSE,
    Address,
    add_address,
    delete_address,
    dump_addresses,
    read_address,
)
from calico_openstack.netlink.rtnl_links import Link, dump_links, read_link
from calico_openstack.netlink.socket import ROUTE, NetlinkSocket, Overrun
from calico_openstack.netlink.wire import Request

# The tap, or the address, went away between our looking and our asking.
_RACES = frozenset({errno.ENODEV, errno.EADDRNOTAVAIL, errno.EEXIST})


class Changes(NamedTuple):
    """What has to be done so that taps carry what they should."""

    add: tuple[Address, ...]
    remove: tuple[Address, ...]


def changes(
    wanted: Mapping[str, frozenset[TapAddress]], links: Mapping[str, Link], actual: Mapping[int, frozenset[TapAddress]]
) -> Changes:
    """`actual`: our addresses by interface index. A tap that is not there needs nothing now."""
    add: list[Address] = []
    remove: list[Address] = []
    for name, link in links.items():
        should, has = wanted.get(name, frozenset()), actual.get(link.ifindex, frozenset())
        add += [_address(one, link.ifindex) for one in sorted(should - has)]
        remove += [_address(one, link.ifindex) for one in sorted(has - should)]
    return Changes(tuple(add), tuple(remove))


class Taps:
    """Two netlink sockets: one asks, one hears of changes (`fileno` is readable then)."""

    def __init__(self) -> None:
        self._ask = NetlinkSocket(ROUTE, strict=True, timeout=10)
        groups = (rtnl.GROUP_LINK, rtnl.GROUP_IPV4_ADDR, rtnl.GROUP_IPV6_ADDR)
        try:
            self._events = NetlinkSocket(ROUTE, groups=groups)
        except BaseException:
            self._ask.close()
            raise
        self.links: dict[str, Link] = {}

    def fileno(self) -> int:
        return self._events.fileno()

    def close(self) -> None:
        self._ask.close()
        self._events.close()

    def drain(self) -> bool:
        """Take what has happened; True if any of it concerns taps."""
        try:
            messages = self._events.receive()
        except Overrun:
            return True
        indexes = {link.ifindex for link in self.links.values()}
        for message in messages:
            link = read_link(message)
            if link is not None and link.link.name.startswith(TAP_PREFIX):
                if link.deleted or self.links.get(link.link.name) != link.link:
                    return True
                continue
            address = read_address(message)
            if address is not None and address.deleted and address.address.ifindex in indexes:
                return True  # somebody took an address off a tap, perhaps one of ours
        return False

    def read(self) -> None:
        """See which taps there are."""
        found = (read_link(message) for message in self._ask.dump(dump_links()))
        self.links = {
            one.link.name: one.link for one in found if one is not None and one.link.name.startswith(TAP_PREFIX)
        }

    def apply(self, wanted: Mapping[str, frozenset[TapAddress]]) -> tuple[Changes, list[Problem]]:
        """Make the taps carry exactly these; the changes that were made (none on a host that is right)."""
        todo = changes(wanted, self.links, self._actual())
        requests: list[tuple[Request, Address]] = [(delete_address(one), one) for one in todo.remove]
        requests += [(add_address(one), one) for one in todo.add]
        failures = self._ask.send_batch([request for request, _ in requests]) if requests else {}
        names = {link.ifindex: link.name for link in self.links.values()}
        problems = [
            Problem(
                f"tap {names[requests[index][1].ifindex]}",
                f"gateway address {requests[index][1].address.address} cannot be set: {failure}",
                "tried again every 30 s; is IPv6 switched off on the tap (net.ipv6.conf.<tap>.disable_ipv6)?",
            )
            for index, failure in failures.items()
            if failure.errno not in _RACES
        ]
        return todo, problems

    def _actual(self) -> dict[int, frozenset[TapAddress]]:
        ours: dict[int, set[TapAddress]] = {link.ifindex: set() for link in self.links.values()}
        for message in self._ask.dump(dump_addresses()):
            event = read_address(message)
            if event is None:
                continue
            address = event.address
            if address.ifindex in ours and address.flags & NO_PREFIX_ROUTE:
                ours[address.ifindex].add(TapAddress(address.address, address.length))
        return {ifindex: frozenset(found) for ifindex, found in ours.items()}


def _address(wanted: TapAddress, ifindex: int) -> Address:
    net = wanted.address
    link_local = net.version == 6 and net.value >> 118 == 0xFE80 >> 6
    flags = NO_PREFIX_ROUTE | (NO_DAD if net.version == 6 else 0)
    return Address(net, wanted.length, ifindex, SCOPE_LINK if link_local else SCOPE_UNIVERSE, flags)
