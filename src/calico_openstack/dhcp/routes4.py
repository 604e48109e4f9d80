"""The routes that a DHCPv4 client is given (RFC 3442), in the order in which they are announced.

A client that gets classless routes ignores the router option, so the default route is always among them; and the
metadata address, so that it works on guests with several ports and on subnets without a gateway.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from calico_openstack.model.net import Net, host_net, parse_net
from calico_openstack.model.subnet import Subnet

METADATA: Final = host_net("169.254.169.254")
NO_GATEWAY: Final = host_net("169.254.1.1")
"""What a tap answers to, and where the metadata route points, when a subnet has no gateway."""
DEFAULT: Final = parse_net("0.0.0.0/0")
_OPTION_LIMIT = 255
_LONGEST_ROUTE = 9
_TEXT_LIMIT = 990
"""Characters. dnsmasq reads lines of at most 1,024, takes what is behind for a line of its own, and that one would have
no tag: a tenant's routes could become everybody's options. The rest is for `tag:<tap>,121,`."""


class Routes(NamedTuple):
    """`router` is option 3, or None; `left_out` are routes that did not fit into one option (255 bytes)."""

    router: Net | None
    routes: tuple[tuple[Net, Net], ...]
    left_out: tuple[Net, ...]


def classless_routes(subnet: Subnet) -> Routes:
    """Host routes, then metadata, then default. What the tenant routes himself (also the default) is not repeated."""
    chosen: dict[Net, Net] = {}
    for route in subnet.host_routes:
        if route.destination.version == 4 and route.nexthop.version == 4:
            chosen.setdefault(route.destination, route.nexthop)
    router = subnet.gateway if subnet.gateway is not None else chosen.get(DEFAULT)
    ours = {METADATA: router or NO_GATEWAY}
    if router is not None:
        ours[DEFAULT] = router
    ours = {destination: via for destination, via in ours.items() if destination not in chosen}
    room = _OPTION_LIMIT - len(ours) * _LONGEST_ROUTE
    characters = _TEXT_LIMIT - sum(_written_length(destination, via) for destination, via in ours.items())
    kept: dict[Net, Net] = {}
    for destination, via in chosen.items():
        room -= _encoded_length(destination)
        characters -= _written_length(destination, via)
        if room >= 0 and characters >= 0:
            kept[destination] = via
    left_out = tuple(destination for destination in chosen if destination not in kept)
    return Routes(router, tuple((kept | ours).items()), left_out)


def _encoded_length(destination: Net) -> int:
    return 1 + (destination.length + 7) // 8 + 4


def _written_length(destination: Net, via: Net) -> int:
    return len(f"{destination},{via.address},")
