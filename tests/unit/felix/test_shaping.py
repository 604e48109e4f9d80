"""Bandwidth limits: the arithmetic, and names that a fresh process recognises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.felix.kernel.shapers import ifb_name
from calico_openstack.felix.wanted.shaping import Shape, egress_shape, ingress_shape
from calico_openstack.model.endpoint import QosControls

MEGABIT = 1_000_000
FRAME = 1514


def ingress(rate: int, burst: int = 0, peak: int = 0, minburst: int = 0, mtu: int = 1500) -> Shape:
    qos = QosControls(ingress_bandwidth=rate, ingress_burst=burst, ingress_peakrate=peak, ingress_minburst=minburst)
    shape = ingress_shape(qos, mtu)
    assert shape is not None
    return shape


def test_no_bandwidth_is_no_limit_and_each_direction_stands_alone() -> None:
    qos = QosControls(egress_bandwidth=8 * MEGABIT, ingress_burst=1000)

    assert ingress_shape(qos, 1500) is None
    shape = egress_shape(qos, 1450)
    assert shape is not None
    assert (shape.rate, shape.mtu) == (MEGABIT, 1450)


def test_the_burst_may_wait_and_25_ms_of_the_rate_besides() -> None:
    # 1 MB/s; 50,000 bytes take 50 ms, which are 781,250 ticks of 64 ns (and one for rounding).
    assert ingress(8 * MEGABIT, burst=400_000) == Shape(MEGABIT, 0, 25_000 + 50_000, 781_251)


def test_without_a_burst_it_is_four_gibit_as_far_as_the_kernel_keeps_it() -> None:
    # 512 MiB would take 8.6 minutes; the kernel keeps 2^32 ns.
    slow = ingress(8 * MEGABIT)
    assert slow.buffer == (2**32 - 1) // 64
    assert slow.limit == 25_000 + 4_294_967
    # At 10 Gbit/s it fits.
    fast = ingress(10_000 * MEGABIT)
    assert fast.limit == 10_000 * MEGABIT // 8 // 40 + (512 << 20)


def test_a_burst_below_one_frame_is_one_frame() -> None:
    assert ingress(8 * MEGABIT, burst=1000).limit == 25_000 + FRAME
    assert ingress(8 * MEGABIT, burst=1000, mtu=9000).limit == 25_000 + 9014


def test_with_a_peak_rate_the_smaller_limit_counts() -> None:
    shape = ingress(8 * MEGABIT, burst=4_000_000, peak=16 * MEGABIT, minburst=2000)

    assert (shape.rate, shape.peak) == (MEGABIT, 2 * MEGABIT)
    assert shape.limit == 2 * MEGABIT // 40 + 2000
    assert shape.minburst == 15_625 + 1  # 2000 bytes take a millisecond
    # Without a minimum burst, and with one that is too small, it is a frame.
    assert ingress(8 * MEGABIT, 4_000_000, 16 * MEGABIT).limit == 2 * MEGABIT // 40 + FRAME
    assert ingress(8 * MEGABIT, 4_000_000, 16 * MEGABIT, 100).limit == 2 * MEGABIT // 40 + FRAME


def test_a_peak_rate_that_is_not_above_the_rate_is_the_rate() -> None:
    assert ingress(8 * MEGABIT, 4_000_000, 4 * MEGABIT, 2000) == ingress(4 * MEGABIT, 2000 * 8)


@given(
    st.integers(1000, 10**15), st.integers(0, 34359738360), st.integers(0, 10**15), st.integers(0, 10**8),
    st.integers(68, 65535),
)  # fmt: skip
def test_every_limit_that_the_driver_may_write_fits_the_kernel(
    rate: int, burst: int, peak: int, minburst: int, mtu: int
) -> None:
    shape = ingress(rate, burst, peak, minburst, mtu)

    assert all(0 <= value < 2**32 for value in (shape.limit, shape.buffer, shape.minburst))
    assert shape.peak == 0 or shape.peak > shape.rate
    assert shape.limit >= mtu + 14
    # The bucket holds a frame, unless that takes longer than the kernel keeps.
    held = shape.buffer * 64 * shape.rate // 10**9
    assert held >= mtu + 14 or shape.buffer == (2**32 - 1) // 64


@pytest.mark.parametrize(
    ("interface", "name"),
    [("tap1b2c3d4e-5f", "cifb1b2c3d4e-5f"), ("tap1", "cifb1")],
)
def test_an_ifb_is_named_after_its_tap(interface: str, name: str) -> None:
    assert ifb_name(interface) == name


def test_other_names_and_long_ones_become_a_digest_that_fits() -> None:
    names = {ifb_name(name) for name in ("vnet1", "cali1b2c3d4e-5f", "tap123456789012")}

    assert len(names) == 3
    assert {len(name) for name in names} == {15}
    assert all(name.startswith("cifb") for name in names)
