"""Port ranges and networks without overlaps, because interval sets refuse them."""

from __future__ import annotations

from collections.abc import Iterable

from calico_openstack.model.net import Net


def merge_ranges(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same ports as ascending ranges that neither touch nor overlap."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def disjoint(nets: Iterable[Net]) -> list[Net]:
    """The networks that no other of them contains, each once: the same addresses without overlaps."""
    kept: list[Net] = []
    for net in sorted(set(nets), key=lambda n: (n.version, n.value, n.length)):
        if not (kept and kept[-1].contains(net)):
            kept.append(net)
    return kept


def wider(net: Net, length: int) -> Net:
    """The network of `length` bits around `net`."""
    shift = net.width - length
    return Net(net.version, net.value >> shift << shift, length)


def without(ranges: list[tuple[int, int]], covered: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """`ranges` minus `covered`; both ascending and disjoint."""
    left: list[tuple[int, int]] = []
    for first, last in ranges:
        at = first
        for low, high in covered:
            if high < at or low > last:
                continue
            if low > at:
                left.append((at, low - 1))
            at = high + 1
        if at <= last:
            left.append((at, last))
    return left
