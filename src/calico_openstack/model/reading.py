"""The small readings that several documents share.

Each answers a checked value or raises ValueError with a sentence.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeVar

import msgspec

from calico_openstack.model.documents import EndpointPortDoc
from calico_openstack.model.endpoint import NamedPort
from calico_openstack.model.net import Net, parse_net

D = TypeVar("D")

RESERVED_LABELS = ("pcns.", "pcsa.")
"""Prefixes of labels that stand for a namespace's and a service account's own; an endpoint must not claim them."""

PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58, "sctp": 132, "udplite": 136}
WITH_PORTS = frozenset({6, 17, 132})

_INTERFACE = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.@-]{1,15}\Z")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")


def decode(value: bytes, form: type[D]) -> D:
    """The document of that form; ValueError (msgspec names the field) if it is not one."""
    try:
        return msgspec.json.decode(value, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a {form.__name__.removesuffix('Doc')} document: {error}") from error


def nets(texts: Iterable[str] | None, field: str) -> tuple[Net, ...]:
    """Networks without repetition, in their order."""
    found: dict[Net, None] = {}
    for text in texts or ():
        try:
            found[parse_net(text)] = None
        except ValueError as error:
            raise ValueError(f"{field}: {error}") from error
    return tuple(found)


def texts(stored: dict[str, str | None] | None) -> dict[str, str]:
    """A stored map of texts, null read as Go does: the key is there, its text is empty."""
    return {key: value or "" for key, value in (stored or {}).items()}


def labels(stored: dict[str, str | None] | None) -> dict[str, str]:
    """Labels as they are matched, without reserved keys. Equal labels may be one dict: nobody may change it.

    Ports of one project, network and group have the same labels, and a cloud has a hundred thousand ports.
    """
    return _shared_labels(tuple(stored.items())) if stored else {}


@lru_cache(maxsize=16384)
def _shared_labels(items: tuple[tuple[str, str | None], ...]) -> dict[str, str]:
    intern = sys.intern
    return {intern(key): intern(value or "") for key, value in items if not key.startswith(RESERVED_LABELS)}


def protocol(value: int | str, field: str) -> int:
    """A protocol number from a number, its decimal text, or one of the six names (any case)."""
    text = str(value).strip().lower()
    number = PROTOCOLS.get(text)
    if number is None and text.isascii() and text.isdigit():
        number = int(text)
    if number is None or not 1 <= number <= 255:
        raise ValueError(f"{field} {value!r}: a number from 1 to 255 or one of TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite")
    return number


def named_ports(stored: list[EndpointPortDoc] | None) -> tuple[NamedPort, ...]:
    """The named ports of an endpoint; ports without a name are no named ports."""
    found = []
    for port in stored or ():
        if not port.name:
            continue
        if port.protocol is None or not 1 <= port.port <= 65535:
            raise ValueError(f"port {port.name!r}: a protocol and a number from 1 to 65535 are needed")
        found.append(NamedPort(port.name, protocol(port.protocol, f"protocol of port {port.name!r}"), port.port))
    return tuple(found)


def interface_name(text: str) -> str:
    """A name that Linux accepts (dev_valid_name) and that cannot leave a path or a rule it is put into."""
    if not _INTERFACE.match(text):
        raise ValueError(f"interfaceName {text!r}: 1 to 15 letters, digits and any of _ . @ -")
    return text


def mac_address(text: str) -> str:
    """A MAC address in lower case with colons."""
    lower = text.strip().lower().replace("-", ":")
    if not _MAC.match(lower):
        raise ValueError(f"mac {text!r}: six pairs of hexadecimal digits are expected")
    return lower
