"""Bandwidth limits as token buckets: what `qosControls` mean in the kernel's units (linux/net/sched/sch_tbf.c).

Upstream's arithmetic (felix/dataplane/linux/qos/qos.go): 25 ms of latency on top of the burst, 4 Gibit of burst unless
said, and with a peak rate the smaller of both limits. Unlike upstream the burst is at least one whole frame (a smaller
one would pass nothing), at most what the kernel keeps (4.29 s of the rate; the queue is not made longer than that
either), and a peak rate that is not above the rate is the rate: the kernel would refuse it.
"""

from __future__ import annotations

from typing import NamedTuple

from calico_openstack.model.endpoint import QosControls

DEFAULT_BURST = 4 << 30
"""Bits."""

_FRAME_HEADER = 14
_TICK = 64
"""Nanoseconds; the unit of the kernel's buckets."""
_LONGEST = (2**32 - 1) // _TICK
_LARGEST = 2**32 - 1
_LATENCIES_PER_SECOND = 40


class Shape(NamedTuple):
    """One token bucket filter as the kernel reports it.

    `rate`, `peak`: byte/s (`peak` 0: none). `limit`: bytes that may wait. `buffer`, `minburst`: ticks that the burst
    takes at the rate, and the small burst at the peak rate. `mtu`: bytes, of the device in between (0: there is none).
    """

    rate: int
    peak: int
    limit: int
    buffer: int
    minburst: int = 0
    mtu: int = 0


def ingress_shape(qos: QosControls, mtu: int) -> Shape | None:
    """The limit to the guest, for a tap with this MTU (bytes)."""
    return _shape(qos.ingress_bandwidth, qos.ingress_burst, qos.ingress_peakrate, qos.ingress_minburst, mtu)


def egress_shape(qos: QosControls, mtu: int) -> Shape | None:
    """The limit from the guest; a device with the tap's MTU is in between."""
    shape = _shape(qos.egress_bandwidth, qos.egress_burst, qos.egress_peakrate, qos.egress_minburst, mtu)
    return shape._replace(mtu=mtu) if shape is not None else None


def _shape(bandwidth: int, burst: int, peakrate: int, minburst: int, mtu: int) -> Shape | None:
    """Bits and bits per second, `minburst` bytes; None without a limit."""
    if bandwidth <= 0:
        return None
    frame = mtu + _FRAME_HEADER
    rate, size = max(1, bandwidth // 8), max(frame, (burst or DEFAULT_BURST) // 8)
    peak, small = max(0, peakrate) // 8, max(frame, minburst)
    if 0 < peak <= rate:
        rate, size, peak = peak, small, 0
    kept = min(size, rate * _LONGEST * _TICK // 10**9)
    limit = max(frame, rate // _LATENCIES_PER_SECOND + kept)
    if peak:
        limit = min(limit, peak // _LATENCIES_PER_SECOND + small)
    return Shape(rate, peak, min(_LARGEST, limit), _ticks(size, rate), _ticks(small, peak) if peak else 0)


def _ticks(size: int, rate: int) -> int:
    """Ticks that `size` bytes take, rounded so that the kernel's rounding down does not lose the last byte."""
    return min(_LONGEST, -(-size * 10**9 // (rate * _TICK)) + 1)
