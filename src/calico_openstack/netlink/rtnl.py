"""rtnetlink in general: message kinds, multicast groups, address families (linux/rtnetlink.h).

The messages themselves are in `rtnl_links`, `rtnl_addresses`, `rtnl_routes` and `rtnl_neighbours`: pure functions from
values to requests and from received messages to values. All numbers are in host byte order, addresses in network order.
"""

from __future__ import annotations

from calico_openstack.model.net import Net

NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30

# Multicast groups (RTNLGRP_*).
GROUP_LINK, GROUP_NEIGH = 1, 3
GROUP_IPV4_ADDR, GROUP_IPV4_ROUTE = 5, 7
GROUP_IPV6_ADDR, GROUP_IPV6_ROUTE = 9, 11

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10


def family_of(version: int) -> int:
    """AF_INET or AF_INET6 for IP version 4 or 6."""
    return AF_INET if version == 4 else AF_INET6


def version_of(family: int) -> int | None:
    """4 or 6; None for another family (bridge, MPLS, ...)."""
    return {AF_INET: 4, AF_INET6: 6}.get(family)


def read_net(version: int, packed: bytes, length: int) -> Net:
    """A network from the bytes of an address attribute and its prefix length."""
    return Net(version, int.from_bytes(packed, "big"), length)


def read_address(version: int, packed: bytes) -> Net:
    return Net(version, int.from_bytes(packed, "big"), 32 if version == 4 else 128)


def read_mac(packed: bytes) -> str:
    """`fa:16:3e:00:00:01`; empty for an interface without a hardware address."""
    return packed.hex(":") if packed else ""


def write_mac(text: str) -> bytes:
    """Six bytes from `fa:16:3e:00:00:01`; ValueError for anything else."""
    packed = bytes.fromhex(text.replace(":", "").replace("-", ""))
    if len(packed) != 6:
        raise ValueError(f"{text!r} is not a MAC address")
    return packed
