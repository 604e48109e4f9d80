"""Bandwidth limits of taps in the kernel's traffic control: a target for the reconciler. Needs CAP_NET_ADMIN.

    to the guest    tap: root tbf
    from the guest  tap: ingress hook ─► u32 filter ─► redirect to an ifb of the tap's own ─► root tbf ─► on its way

What is ours a fresh process knows by the handle of the tbf, the priority of the filter and the name of the ifb.
Another's root is replaced while a limit is wanted (a tap has only one root), and never removed otherwise; another's
filters are left alone. An ifb whose tap is gone is swept.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from calico_openstack.daemon.reconcile import Changes
from calico_openstack.felix.wanted.shaping import Shape
from calico_openstack.netlink.rtnl_links import (
    Link,
    add_link,
    delete_link,
    dump_links,
    kind_of,
    read_link,
    set_link_up,
    set_mtu,
)
from calico_openstack.netlink.socket import NetlinkError, NetlinkSocket
from calico_openstack.netlink.traffic_control import (
    INGRESS_HANDLE,
    ROOT,
    Qdisc,
    TokenBucket,
    add_ingress,
    add_redirect,
    delete_ingress,
    delete_redirect,
    delete_root,
    dump_ingress_filters,
    dump_qdiscs,
    read_qdisc,
    read_redirect,
    replace_root_bucket,
)
from calico_openstack.netlink.wire import Request

PREFIX = "cifb"
HANDLE = 0xCA1C0000
PRIORITY = 0xCA1C

BROKEN = Shape(0, 0, 0, 0)
"""What is there in part, or differs in what a shape does not say: never wanted, so it is made anew or removed."""

_GONE = {errno.ENODEV, errno.ENOENT, errno.EINVAL}


class ShaperKey(NamedTuple):
    """One direction of one tap; `orphan` is an ifb of ours whose tap is gone."""

    interface: str
    ifindex: int
    direction: Literal["ingress", "egress", "orphan"]

    def __str__(self) -> str:
        return f"{self.interface} {self.direction}"


def ifb_name(interface: str) -> str:
    """`cifb1b2c3d4e-5f` for `tap1b2c3d4e-5f`; a digest where that does not fit."""
    rest = interface.removeprefix("tap")
    if rest != interface and len(rest) <= 15 - len(PREFIX):
        return PREFIX + rest
    return PREFIX + hashlib.sha256(interface.encode()).hexdigest()[: 15 - len(PREFIX)]


class _Seen(NamedTuple):
    links: dict[str, Link]
    kinds: dict[str, str]
    qdiscs: dict[int, list[Qdisc]]

    def root(self, ifindex: int) -> TokenBucket | None:
        """The bucket that is the device's root and ours."""
        for qdisc in self.qdiscs.get(ifindex, ()):
            if qdisc.parent == ROOT and qdisc.handle == HANDLE:
                return qdisc.bucket
        return None

    def hook(self, ifindex: int) -> str | None:
        return next((one.kind for one in self.qdiscs.get(ifindex, ()) if one.handle == INGRESS_HANDLE), None)


class Shapers:
    """`is_tap` tells a workload interface by its name."""

    name = "shaping"

    def __init__(self, connection: NetlinkSocket, is_tap: Callable[[str], bool]) -> None:
        self._connection = connection
        self._is_tap = is_tap

    def read(self) -> Mapping[ShaperKey, Shape]:
        seen = self._look()
        found: dict[ShaperKey, Shape] = {}
        taps = {name: link for name, link in seen.links.items() if self._is_tap(name)}
        ours = {name for name, kind in seen.kinds.items() if kind == "ifb" and name.startswith(PREFIX)}
        for name, tap in taps.items():
            bucket = seen.root(tap.ifindex)
            if bucket is not None:
                found[ShaperKey(name, tap.ifindex, "ingress")] = Shape(*bucket)
            ifb = seen.links[ifb_name(name)] if ifb_name(name) in ours else None
            target = self._target(tap.ifindex, seen)
            if ifb is not None or target is not None:
                found[ShaperKey(name, tap.ifindex, "egress")] = _egress(ifb, target, seen)
        for name in ours - {ifb_name(tap) for tap in taps}:
            found[ShaperKey(name, seen.links[name].ifindex, "orphan")] = BROKEN
        return found

    def apply(self, changes: Changes[ShaperKey, Shape]) -> Mapping[ShaperKey, str]:
        """Removals first: a tap that came back uses the same ifb again."""
        failed: dict[ShaperKey, str] = {}
        seen = self._look()
        for key in changes.deletes:
            try:
                self._remove(key, seen)
            except NetlinkError as error:
                failed[key] = str(error)
        if changes.deletes and changes.puts:
            seen = self._look()
        for key, shape in changes.puts.items():
            try:
                if key.direction == "ingress":
                    self._ask(replace_root_bucket(key.ifindex, HANDLE, _bucket(shape)))
                else:
                    self._shape_egress(key, shape, seen)
            except NetlinkError as error:
                failed[key] = str(error)
        return failed

    def _look(self) -> _Seen:
        seen = _Seen({}, {}, {})
        for message in self._connection.dump(dump_links()):
            event = read_link(message)
            if event is not None:
                seen.links[event.link.name] = event.link
                seen.kinds[event.link.name] = kind_of(message)
        for message in self._connection.dump(dump_qdiscs()):
            qdisc = read_qdisc(message)
            if qdisc is not None:
                seen.qdiscs.setdefault(qdisc.ifindex, []).append(qdisc)
        return seen

    def _target(self, ifindex: int, seen: _Seen) -> int | None:
        """Where our filter sends what comes from the tap; None without one."""
        if seen.hook(ifindex) is None:
            return None
        try:
            listed = self._connection.dump(dump_ingress_filters(ifindex))
        except NetlinkError as error:
            if error.errno in _GONE:  # with its tap, a moment ago
                return None
            raise
        found = (read_redirect(message) for message in listed)
        return next((one.target for one in found if one is not None and one.priority == PRIORITY), None)

    def _shape_egress(self, key: ShaperKey, shape: Shape, seen: _Seen) -> None:
        name = ifb_name(key.interface)
        ifb = seen.links.get(name)
        if ifb is None:
            self._ask(add_link(name, "ifb", shape.mtu))
            ifb = self._look().links[name]
        elif seen.kinds[name] != "ifb":
            raise NetlinkError(errno.EEXIST, f"{name} is not an ifb")
        if ifb.mtu != shape.mtu:
            self._ask(set_mtu(ifb.ifindex, shape.mtu))
        if not ifb.up:
            self._ask(set_link_up(ifb.ifindex))
        self._ask(replace_root_bucket(ifb.ifindex, HANDLE, _bucket(shape)))
        self._ask(add_ingress(key.ifindex), {errno.EEXIST})
        if self._target(key.ifindex, seen) != ifb.ifindex:
            self._ask(delete_redirect(key.ifindex, PRIORITY), _GONE)
            self._ask(add_redirect(key.ifindex, PRIORITY, ifb.ifindex))

    def _remove(self, key: ShaperKey, seen: _Seen) -> None:
        if key.direction == "orphan":
            self._ask(delete_link(key.ifindex), _GONE)
            return
        if key.direction == "ingress":
            self._ask(delete_root(key.ifindex, HANDLE), _GONE)
            return
        self._ask(delete_redirect(key.ifindex, PRIORITY), _GONE)
        # A hook that others use, or a `clsact`, stays.
        if seen.hook(key.ifindex) == "ingress" and not self._connection.dump(dump_ingress_filters(key.ifindex)):
            self._ask(delete_ingress(key.ifindex), _GONE)
        ifb = seen.links.get(ifb_name(key.interface))
        if ifb is not None and seen.kinds[ifb.name] == "ifb":
            self._ask(delete_link(ifb.ifindex), _GONE)

    def _ask(self, request: Request, harmless: set[int] | None = None) -> None:
        try:
            self._connection.request(request)
        except NetlinkError as error:
            if error.errno not in (harmless or ()):
                raise


def _egress(ifb: Link | None, target: int | None, seen: _Seen) -> Shape:
    bucket = seen.root(ifb.ifindex) if ifb is not None else None
    if ifb is None or bucket is None or target != ifb.ifindex or not ifb.up:
        return BROKEN
    return Shape(*bucket, mtu=ifb.mtu)


def _bucket(shape: Shape) -> TokenBucket:
    return TokenBucket(shape.rate, shape.peak, shape.limit, shape.buffer, shape.minburst)
