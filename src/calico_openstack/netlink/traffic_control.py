"""Traffic control (linux/pkt_sched.h, pkt_cls.h): token buckets, the ingress hook, redirection to another device.

Only what bandwidth limits need: `tbf` as a device's root, and a `u32` filter at a device's ingress that sends
everything through another device (`mirred`). Rates are bytes per second, buffers ticks of 64 ns, sizes bytes.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import NamedTuple

from calico_openstack.netlink import wire
from calico_openstack.netlink.wire import Message, Request

NEWQDISC, DELQDISC, GETQDISC = 36, 37, 38
NEWFILTER, DELFILTER, GETFILTER = 44, 45, 46
GROUP_TC = 4

ROOT, INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
INGRESS_HANDLE = 0xFFFF0000
# The ingress side of both kinds of ingress hook, `ingress` and `clsact`.
_INGRESS_FILTERS = 0xFFFFFFF2

_HEADER = struct.Struct("=BxxxiIII")
_KIND, _OPTIONS = 1, 2
_TBF_PARMS, _TBF_RATE64, _TBF_PEAK64 = 1, 4, 5
_RATE = struct.Struct("=BBHhHI")
_TBF = struct.Struct("=III")
_ETHERNET = 1
_LARGEST = 2**32 - 1
_U32_SELECTOR, _U32_ACTIONS = 5, 7
# Terminal, one key: nothing masked, so everything matches (struct tc_u32_sel, tc_u32_key).
_EVERYTHING = bytes((1, 0, 1, 0)) + bytes(12) + bytes(16)
_ACTION_KIND, _ACTION_OPTIONS = 1, 2
_MIRRED_PARMS = 2
_MIRRED = struct.Struct("=IIiiiiI")
_STOLEN, _EGRESS_REDIRECT = 4, 1
_ALL_PROTOCOLS = socket.htons(3)  # ETH_P_ALL


class TokenBucket(NamedTuple):
    """`peak` 0: no peak rate. `limit`: bytes that may wait; `buffer`, `minburst`: ticks."""

    rate: int
    peak: int
    limit: int
    buffer: int
    minburst: int = 0


class Qdisc(NamedTuple):
    """A queueing discipline; `bucket` if it is a `tbf`."""

    ifindex: int
    kind: str
    handle: int
    parent: int
    bucket: TokenBucket | None = None


class Redirect(NamedTuple):
    """A filter; `target` is the index of the device to which it sends packets (0: it does something else)."""

    ifindex: int
    priority: int
    kind: str
    target: int = 0


def dump_qdiscs() -> Request:
    """Those of all devices; the kernel has no filter for that."""
    return Request(GETQDISC, 0, _HEADER.pack(0, 0, 0, 0, 0))


def dump_ingress_filters(ifindex: int) -> Request:
    return Request(GETFILTER, 0, _HEADER.pack(0, ifindex, 0, _INGRESS_FILTERS, 0))


def replace_root_bucket(ifindex: int, handle: int, bucket: TokenBucket) -> Request:
    """Make this the device's root, or change it in place if it is there already; whatever else was root goes."""
    body = _HEADER.pack(0, ifindex, handle, ROOT, 0) + wire.text(_KIND, "tbf")
    parms = _rate(bucket.rate) + _rate(bucket.peak) + _TBF.pack(bucket.limit, bucket.buffer, bucket.minburst)
    options = wire.attr(_TBF_PARMS, parms)
    for kind, rate in ((_TBF_RATE64, bucket.rate), (_TBF_PEAK64, bucket.peak)):
        if rate > _LARGEST:
            options += wire.u64(kind, rate)
    return Request(NEWQDISC, wire.CREATE | wire.REPLACE, body + wire.nest(_OPTIONS, options))


def delete_root(ifindex: int, handle: int) -> Request:
    """Back to the kernel's default, if the root has this handle (EINVAL or ENOENT otherwise)."""
    return Request(DELQDISC, 0, _HEADER.pack(0, ifindex, handle, ROOT, 0))


def add_ingress(ifindex: int) -> Request:
    """The hook to which ingress filters are attached; EEXIST if there is one, or a `clsact`."""
    body = _HEADER.pack(0, ifindex, INGRESS_HANDLE, INGRESS, 0) + wire.text(_KIND, "ingress")
    return Request(NEWQDISC, wire.CREATE | wire.EXCLUSIVE, body)


def delete_ingress(ifindex: int) -> Request:
    return Request(DELQDISC, 0, _HEADER.pack(0, ifindex, INGRESS_HANDLE, INGRESS, 0))


def add_redirect(ifindex: int, priority: int, target: int) -> Request:
    """Everything that comes in goes out by device `target` first (an `ifb` hands it back)."""
    body = _HEADER.pack(0, ifindex, 0, _INGRESS_FILTERS, priority << 16 | _ALL_PROTOCOLS)
    parms = _MIRRED.pack(0, 0, _STOLEN, 0, 0, _EGRESS_REDIRECT, target)
    action = wire.nest(
        1, wire.text(_ACTION_KIND, "mirred"), wire.nest(_ACTION_OPTIONS, wire.attr(_MIRRED_PARMS, parms))
    )
    options = wire.attr(_U32_SELECTOR, _EVERYTHING) + wire.nest(_U32_ACTIONS, action)
    body += wire.text(_KIND, "u32") + wire.nest(_OPTIONS, options)
    return Request(NEWFILTER, wire.CREATE | wire.EXCLUSIVE, body)


def delete_redirect(ifindex: int, priority: int) -> Request:
    """All ingress filters of this priority; ENOENT if there is none, EINVAL if there is no ingress hook."""
    return Request(DELFILTER, 0, _HEADER.pack(0, ifindex, 0, _INGRESS_FILTERS, priority << 16 | _ALL_PROTOCOLS))


def read_qdisc(message: Message) -> Qdisc | None:
    """The queueing discipline of a NEWQDISC or DELQDISC; None for other messages."""
    if message.kind not in (NEWQDISC, DELQDISC):
        return None
    _, ifindex, handle, parent, _ = _HEADER.unpack_from(message.body)
    found = wire.attributes(message.body, _HEADER.size)
    kind = wire.read_text(found.get(_KIND, b""))
    bucket = _read_bucket(found[_OPTIONS]) if kind == "tbf" and _OPTIONS in found else None
    return Qdisc(ifindex, kind, handle, parent, bucket)


def read_redirect(message: Message) -> Redirect | None:
    """The filter of a NEWFILTER; None for other messages, and for the heads of hash tables."""
    if message.kind != NEWFILTER:
        return None
    _, ifindex, handle, _, info = _HEADER.unpack_from(message.body)
    found = wire.attributes(message.body, _HEADER.size)
    kind = wire.read_text(found.get(_KIND, b""))
    options = wire.attributes(found.get(_OPTIONS, b""))
    if kind == "u32" and _U32_SELECTOR not in options:
        return None
    actions = wire.attributes(options.get(_U32_ACTIONS, b"")) if kind == "u32" else {}
    target = _read_target(next(iter(actions.values()))) if len(actions) == 1 else 0
    matches_all = options.get(_U32_SELECTOR, b"")[16:24] == bytes(8)
    return Redirect(ifindex, info >> 16, kind, target if matches_all and handle else 0)


def changed_device(message: Message) -> int | None:
    """The index of the device whose traffic control an event is about; None for other messages."""
    if message.kind not in (NEWQDISC, DELQDISC, NEWFILTER, DELFILTER):
        return None
    return int(_HEADER.unpack_from(message.body)[1])


def _rate(rate: int) -> bytes:
    return _RATE.pack(0, _ETHERNET if rate else 0, 0, 0, 0, min(rate, _LARGEST))


def _read_bucket(options: bytes) -> TokenBucket | None:
    found = wire.attributes(options)
    parms = found.get(_TBF_PARMS)
    if parms is None:
        return None
    rate, peak = (_RATE.unpack_from(parms, offset)[-1] for offset in (0, _RATE.size))
    limit, buffer, minburst = _TBF.unpack_from(parms, 2 * _RATE.size)
    if _TBF_RATE64 in found:
        rate = int.from_bytes(found[_TBF_RATE64], sys.byteorder)
    if _TBF_PEAK64 in found:
        peak = int.from_bytes(found[_TBF_PEAK64], sys.byteorder)
    return TokenBucket(rate, peak, limit, buffer, minburst)


def _read_target(action: bytes) -> int:
    found = wire.attributes(action)
    if wire.read_text(found.get(_ACTION_KIND, b"")) != "mirred":
        return 0
    parms = wire.attributes(found.get(_ACTION_OPTIONS, b"")).get(_MIRRED_PARMS)
    if parms is None:
        return 0
    *_, what, target = _MIRRED.unpack_from(parms)
    return int(target) if what == _EGRESS_REDIRECT else 0
