"""From the text of a parameter to its value. ValueError says what is expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

from calico_openstack.daemon.settings import FALSE, TRUE
from calico_openstack.etcd.channels import target
from calico_openstack.etcd.values import EtcdSettings
from calico_openstack.model.names import check_region
from calico_openstack.model.net import Net, host_net


def text(text: str) -> str:
    return text


def words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def endpoints(text: str) -> tuple[str, ...]:
    listed = words(text)
    for endpoint in listed:
        target(EtcdSettings(), endpoint)
    return listed


def server(text: str) -> str:
    """`host:port`, or a host."""
    if "/" in text:
        raise ValueError("host:port is expected, without a scheme")
    target(EtcdSettings(), text)
    return text


def boolean(text: str) -> bool:
    if text.lower() not in TRUE | FALSE:
        raise ValueError("true or false is expected")
    return text.lower() in TRUE


def integer(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        with suppress(ValueError):
            number = int(text, 0) if text.lower().startswith("0x") else int(text)
            if low <= number <= high:
                return number
        raise ValueError(f"a whole number from {low} to {high} is expected")

    return convert


def mark_mask(text: str) -> int:
    """Bits of a packet's mark. Of them we use the lowest and the one above it."""
    mask = integer(1, 0xFFFFFFFF)(text)
    if not mask & (mask & -mask) << 1:
        raise ValueError("two neighbouring bits are needed at the low end, such as 0xffff0000")
    return mask


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Seconds as a number, or a Go duration (`1m30s`), as FelixConfiguration has them."""
    parts = _DURATION.findall(text)
    with suppress(ValueError):
        if parts and "".join(number + unit for number, unit in parts) == text:
            number = float(sum(float(number) * _SECONDS[unit] for number, unit in parts))
        else:
            number = float(text)
        if 0 <= number < 1e9:
            return number
    raise ValueError("a number of seconds, or a duration such as 1m30s, is expected")


def choice(*words: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"one of {', '.join(words)} is expected")
        return text.lower()

    return convert


def only(word: str) -> Callable[[str], str]:
    """The one value that this Felix knows of those that upstream has."""

    def convert(text: str) -> str:
        if text.lower() != word:
            raise ValueError(f"only {word} is known here")
        return word

    return convert


def switch(on: str, off: str) -> Callable[[str], bool]:
    convert = choice(on.lower(), off.lower())
    return lambda text: convert(text) == on.lower()


def address(version: int) -> Callable[[str], Net]:
    def convert(text: str) -> Net:
        net = host_net(text)
        if net.version != version:
            raise ValueError(f"an IPv{version} address is expected")
        return net

    return convert


def port_range(text: str) -> tuple[int, int]:
    """`first:last`, or one port."""
    first, _, last = text.partition(":")
    if not (first.isdecimal() and (last or first).isdecimal() and 1 <= int(first) <= int(last or first) <= 65535):
        raise ValueError("a range of ports such as 32768:60999 is expected")
    return int(first), int(last or first)


def log_rate(text: str) -> tuple[int, str]:
    count, _, unit = text.partition("/")
    if unit.lower() not in ("second", "minute", "hour", "day") or not (count.isdecimal() and 1 <= int(count) < 1 << 31):
        raise ValueError("a rate such as 10/minute is expected (second, minute, hour, day)")
    return int(count), unit.lower()


def interface(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9_.@-]{1,15}|[a-zA-Z0-9_.@-]{0,14}[+]", text):
        raise ValueError("the name of an interface is expected; a final + stands for any rest")
    return text


def prefixes(text: str) -> tuple[str, ...]:
    found = words(text)
    if not found or not all(re.fullmatch(r"[a-zA-Z0-9_-]{1,15}", word) for word in found):
        raise ValueError("a comma-separated list of interface name prefixes is expected")
    return found


def hostname(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9_.-]+", text):
        raise ValueError("letters, digits, dots, dashes and underscores are expected")
    return text


def region(text: str) -> str:
    check_region(text)
    return text
