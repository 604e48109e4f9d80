"""Which gateway addresses a tap should carry.

IPv4: the subnet's gateway as /32. dnsmasq answers only on interfaces with an address, and a guest can ping its
gateway. IPv6: the gateway as /64 in the prefix that holds the guest's address, since dnsmasq makes its DHCPv6 range
from an interface's address; a reserved interface id stands in where the gateway is elsewhere. None of them makes a
route (/32, and "no prefix route" for /64), so BGP sees nothing. The same address on many taps is right: each is a
link of its own.

An address on a tap is the host's own: traffic to it ends here. So a gateway outside its subnet, or one that is a
local guest's address, is not put on; a tenant could otherwise take any address of the world off the host's map.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from calico_openstack.dhcp.ports import Fixed, Port
from calico_openstack.dhcp.problems import Problem
from calico_openstack.dhcp.routes4 import NO_GATEWAY
from calico_openstack.model.net import Net, parse_net
from calico_openstack.model.subnet import Subnet

LINK_LOCAL: Final = parse_net("fe80::/64")
_RESERVED_ID: Final = 0xFDFF_FFFF_FFFF_FF80
"""A subnet anycast id (RFC 2526) that no one uses: it cannot be a guest's EUI-64 or privacy address."""


class TapAddress(NamedTuple):
    """`address` has full length; `length` is the prefix that the interface is given."""

    address: Net
    length: int

    def __str__(self) -> str:
        return f"{self.address.address}/{self.length}"


def tap_addresses(ports: Iterable[Port]) -> tuple[dict[str, frozenset[TapAddress]], list[Problem]]:
    """The wanted addresses by tap, for every tap that is served."""
    ports = list(ports)
    guests = {fixed.address for port in ports for fixed in (port.v4, *port.v6) if fixed is not None}
    wanted: dict[str, frozenset[TapAddress]] = {}
    problems: dict[Problem, None] = {}
    for port in ports:
        mine: set[TapAddress] = set()
        if port.v4 is not None:
            usable, problem = usable_gateway(port.v4.subnet, guests)
            mine.add(TapAddress(usable or NO_GATEWAY, 32))
            _note(problems, problem)
        for fixed in port.v6:
            usable, problem = usable_gateway(fixed.subnet, guests)
            mine.update(_addresses6(fixed, usable))
            _note(problems, problem)
        wanted[port.tap] = frozenset(mine)
    return wanted, list(problems)


def usable_gateway(subnet: Subnet, guests: Collection[Net]) -> tuple[Net | None, Problem | None]:
    """The gateway if the host may take it as its own address."""
    gateway = subnet.gateway
    if gateway is None:
        return None, None
    inside = subnet.cidr.contains(gateway) or LINK_LOCAL.contains(gateway)
    if inside and gateway not in guests:
        return gateway, None
    reason = "is a port's address" if inside else "is outside its CIDR"
    return None, Problem(
        f"subnet {subnet.id}",
        f"gateway {gateway.address} {reason}; hosts do not answer for it",
        "choose a gateway inside the subnet that no port has",
    )


def _addresses6(fixed: Fixed, gateway: Net | None) -> set[TapAddress]:
    prefix = fixed.address.value >> 64
    if gateway is not None and gateway.value >> 64 == prefix:
        return {TapAddress(gateway, 64)}
    reserved = {TapAddress(Net(6, prefix << 64 | _RESERVED_ID, 128), 64)}
    # A gateway in another /64 of a wide subnet, or a link-local one: the guest must find it on its link all the same.
    return reserved if gateway is None else reserved | {TapAddress(gateway, 64)}


def _note(problems: dict[Problem, None], problem: Problem | None) -> None:
    if problem is not None:
        problems[problem] = None
