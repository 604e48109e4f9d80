"""IP networks and addresses as small values.

A cloud has hundreds of thousands of addresses; `ipaddress` objects cost ten times as much as a tuple of three integers,
so this is what every room below the edges passes around. An address is a network of full length. Host bits are always
zero: `parse_net` masks them, as the kernel and upstream's conversion do.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

# Nearly every address and network of a cloud has one of these two forms and is read without `ipaddress`, which takes
# ten times as long. Whatever does not fit goes the slow way, and so do all errors.
_OCTET = "(0|[1-9][0-9]{0,2})"
_PLAIN4 = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}(?:/(0|[1-9][0-9]?))?\Z", re.ASCII)
_PLAIN6 = re.compile(r"([0-9a-fA-F:]+)(?:/(0|[1-9][0-9]{0,2}))?\Z", re.ASCII)


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
    if isinstance(text, str):
        found = _plain4(text) or _plain6(text)
        if found is not None:
            return found
    try:
        parsed = ipaddress.ip_network(_without_extras(text), strict=False)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{text!r} is not an IP address or network") from error
    return Net(parsed.version, int(parsed.network_address), parsed.prefixlen)


def host_net(text: str) -> Net:
    """One address (`10.0.0.1`, also `10.0.0.1/32`) as a `Net` of full length; ValueError for anything wider."""
    net = parse_net(text)
    if not net.is_host:
        raise ValueError(f"{text!r} is a network, a single address was expected")
    return net


def _plain4(text: str) -> Net | None:
    plain = _PLAIN4.match(text)
    if plain is None:
        return None
    first, second, third, fourth, length = plain.groups()
    a, b, c, d = int(first), int(second), int(third), int(fourth)
    bits = 32 if length is None else int(length)
    if a > 255 or b > 255 or c > 255 or d > 255 or bits > 32:
        return None
    shift = 32 - bits
    return Net(4, (a << 24 | b << 16 | c << 8 | d) >> shift << shift, bits)


def _plain6(text: str) -> Net | None:
    plain = _PLAIN6.match(text)
    if plain is None:
        return None
    head, gap, tail = plain[1].partition("::")
    before = head.split(":") if head else []
    after = tail.split(":") if tail else []
    missing = 8 - len(before) - len(after)
    if missing < 1 if gap else missing:
        return None
    value = 0
    for group in (*before, *(("0",) * missing), *after):
        # An empty group is a stray colon, or a second `::`.
        if not 1 <= len(group) <= 4:
            return None
        value = value << 16 | int(group, 16)
    bits = 128 if plain[2] is None else int(plain[2])
    if bits > 128:
        return None
    shift = 128 - bits
    return Net(6, value >> shift << shift, bits)


def _without_extras(text: str) -> str:
    """Refuses what only Python takes: a zone (`%eth0`), and masks in place of a length, among which `/0.0.0.0` would be
    everything.
    """
    if "%" in text or (not text.partition("/")[2].isdigit() and "/" in text):
        raise ValueError("a zone or a mask")
    return text


def _text(version: int, value: int) -> str:
    return str(ipaddress.IPv4Address(value) if version == 4 else ipaddress.IPv6Address(value))
