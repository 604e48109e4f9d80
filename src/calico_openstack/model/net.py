"""IP networks and addresses as small values.

A cloud has hundreds of thousands of addresses; `ipaddress` objects cost ten times as much as a tuple of three integers,
so this is what every room below the edges passes around. An address is a network of full length. Host bits are always
zero: `parse_net` masks them, as the kernel and upstream's conversion do.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

# Nearly every address of a cloud: four numbers without leading zeros, with or without /32. The rest goes the slow way.
_OCTET = "(0|[1-9][0-9]{0,2})"
_PLAIN4 = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}(?:/32)?\Z", re.ASCII)


class Net(NamedTuple):
    """One IP network. `value` is the network address as an integer, `length` the prefix length in bits."""

    version: int
    value: int
    length: int

    @property
    def width(self) -> int:
        """32 or 128, the number of bits of an address of this family."""
        return 32 if self.version == 4 else 128

    @property
    def is_host(self) -> bool:
        return self.length == self.width

    @property
    def packed(self) -> bytes:
        """The network address in network byte order (4 or 16 bytes)."""
        return self.value.to_bytes(self.width // 8, "big")

    @property
    def address(self) -> str:
        """The network address without the length, in canonical text."""
        return _text(self.version, self.value)

    def contains(self, other: Net) -> bool:
        if self.version != other.version or self.length > other.length:
            return False
        shift = self.width - self.length
        return self.value >> shift == other.value >> shift

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"


def parse_net(text: str) -> Net:
    """`10.0.0.0/8`, `2001:db8::1`, ... as a `Net`; a bare address gets full length, host bits are cleared.

    Raises ValueError with a sentence that names the text.
    """
    plain = _PLAIN4.match(text) if isinstance(text, str) else None
    if plain is not None:
        a, b, c, d = (int(octet) for octet in plain.group(1, 2, 3, 4))
        if a < 256 and b < 256 and c < 256 and d < 256:
            return Net(4, a << 24 | b << 16 | c << 8 | d, 32)
    try:
        parsed = ipaddress.ip_network(text, strict=False)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{text!r} is not an IP address or network") from error
    return Net(parsed.version, int(parsed.network_address), parsed.prefixlen)


def host_net(text: str) -> Net:
    """One address (`10.0.0.1`, also `10.0.0.1/32`) as a `Net` of full length; ValueError for anything wider."""
    net = parse_net(text)
    if not net.is_host:
        raise ValueError(f"{text!r} is a network, a single address was expected")
    return net


def _text(version: int, value: int) -> str:
    return str(ipaddress.IPv4Address(value) if version == 4 else ipaddress.IPv6Address(value))
