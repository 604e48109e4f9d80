"""Which address this host has towards the world: the kernel's choice of source for its default route.

Connecting a UDP socket sends nothing; it only makes the kernel choose a route and a source address. The
destinations are documentation addresses (RFC 5737, RFC 3849), so that no more specific route is likely to
lead there.
"""

from __future__ import annotations

import ipaddress
import socket

_TOWARDS = {4: ("203.0.113.1", socket.AF_INET), 6: ("2001:db8:ffff::1", socket.AF_INET6)}


def found_address(version: int) -> str | None:
    """The address, or None if there is no default route of this family."""
    destination, family = _TOWARDS[version]
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((destination, 9))
            address = ipaddress.ip_address(probe.getsockname()[0].split("%")[0])
    except OSError:
        return None
    return None if address.is_loopback or address.is_link_local or address.is_unspecified else str(address)
