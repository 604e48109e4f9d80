"""Values as text: each prints itself on one line, and lines become tables.

What stands in documents was written by others, so whatever a terminal would obey is made visible instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import Net
from calico_openstack.model.policy import PolicyKey, PortRange


def words(value: object) -> str:
    """A value on one line. Of a struct, only what differs from the default, by the fields' names."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:g}"
        case PolicyKey():
            return f"{value.kind} {value.namespace}/{value.name}" if value.namespace else f"{value.kind} {value.name}"
        case EndpointKey():
            return value.endpoint if value.namespace == "openstack" else f"{value.namespace}/{value.endpoint}"
        case PortRange():
            return str(value.first) if value.first == value.last else f"{value.first}-{value.last}"
        case msgspec.Struct():
            return " ".join(_fields(value))
        case Net():
            return str(value)
        case tuple() if hasattr(value, "_fields"):
            return " ".join(f"{name}={words(part)}" for name, part in zip(value._fields, value, strict=True))
        case tuple() | list() | frozenset() | set():
            return ",".join(map(words, value))
    return visible(str(value))


def _fields(value: msgspec.Struct, prefix: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(value):
        part = getattr(value, field.name)
        if part == field.default:
            continue
        if isinstance(part, msgspec.Struct):
            yield from _fields(part, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}={words(part)}"


def visible(text: str) -> str:
    """Text without anything that begins a line or moves a cursor."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns under their heads, as wide as they must be; the last one may be as long as it likes."""
    lines = [list(heads), *(list(map(visible, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(map(str.ljust, line, [*widths[:-1], 0])).rstrip() for line in lines)
    return "".join(f"{line}\n" for line in padded)


def seconds(duration: float) -> str:
    """A duration for people: the two largest units."""
    if duration < 60:
        return f"{max(0.0, duration):.1f}s"
    minutes, left = divmod(int(duration), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours}h"
    return f"{hours}h{minutes}m" if hours else f"{minutes}m{left}s"
