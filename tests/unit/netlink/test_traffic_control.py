"""Traffic control messages: written bytes are those that iproute2 writes, and what is read back is the same."""

import struct

import pytest

from calico_openstack.netlink import wire
from calico_openstack.netlink.traffic_control import (
    DELQDISC,
    NEWFILTER,
    NEWQDISC,
    ROOT,
    Qdisc,
    Redirect,
    TokenBucket,
    add_ingress,
    add_redirect,
    changed_device,
    delete_redirect,
    read_qdisc,
    read_redirect,
    replace_root_bucket,
)
from calico_openstack.netlink.wire import Message, Request


def told(request: Request, handle: int = 0) -> Message:
    """The message in which the kernel tells what was asked for; it gives filters a handle of its own."""
    body = request.body
    if handle:
        body = body[:8] + struct.pack("=I", handle) + body[12:]
    return Message(request.kind, 0, 0, body)


BUCKETS = [
    TokenBucket(rate=1_250_000, peak=0, limit=81_250, buffer=625_000),
    TokenBucket(rate=1_250_000, peak=2_500_000, limit=64_000, buffer=625_000, minburst=9_464),
    TokenBucket(rate=125 * 10**12, peak=126 * 10**12, limit=2**32 - 1, buffer=2, minburst=2),
]


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_is_read_as_it_was_written(bucket: TokenBucket) -> None:
    message = told(replace_root_bucket(7, 0xCA1C0000, bucket))

    assert read_qdisc(message) == Qdisc(7, "tbf", 0xCA1C0000, ROOT, bucket)
    assert changed_device(message) == 7


def test_the_parameters_of_a_bucket_have_the_kernels_layout() -> None:
    request = replace_root_bucket(7, 0xCA1C0000, BUCKETS[1])
    options = wire.attributes(wire.attributes(request.body, 20)[2])

    # struct tc_tbf_qopt: two tc_ratespec (rate last), limit, buffer, mtu.
    assert struct.unpack("=8xI8xIIII", options[1]) == (1_250_000, 2_500_000, 64_000, 625_000, 9_464)
    assert set(options) == {1}


def test_rates_beyond_32_bits_have_attributes_of_their_own() -> None:
    request = replace_root_bucket(7, 0xCA1C0000, BUCKETS[2])
    options = wire.attributes(wire.attributes(request.body, 20)[2])

    assert struct.unpack("=8xI8xI", options[1][:24]) == (2**32 - 1, 2**32 - 1)
    assert struct.unpack("=Q", options[4]) == (125 * 10**12,)


def test_a_redirection_is_read_as_it_was_written() -> None:
    request = add_redirect(7, 0xCA1C, 9)

    assert request.kind == NEWFILTER
    assert read_redirect(told(request, handle=0x80000800)) == Redirect(7, 0xCA1C, "u32", 9)
    # The head of the kernel's hash table has no selector.
    bare = Message(NEWFILTER, 0, 0, request.body[:20] + wire.text(1, "u32") + wire.nest(2, wire.u32(4, 1)))
    assert read_redirect(bare) is None


def test_a_filter_that_does_something_else_has_no_target() -> None:
    selector = bytes((1, 0, 1, 0)) + bytes(12) + struct.pack("!II", 0xFFFF0000, 0x0A000000) + bytes(8)
    whole = add_redirect(7, 5, 9).body
    found = wire.attributes(wire.attributes(whole, 20)[2])
    narrow = wire.attr(5, selector) + wire.attr(7, found[7])

    for options in (narrow, wire.attr(5, found[5])):
        message = Message(NEWFILTER, 0, 0, whole[:20] + wire.text(1, "u32") + wire.nest(2, options))
        assert read_redirect(message) == Redirect(7, 5, "u32", 0)


def test_other_messages_are_none() -> None:
    assert read_qdisc(Message(16, 0, 0, bytes(32))) is None
    assert read_redirect(told(add_ingress(7))) is None
    assert changed_device(Message(16, 0, 0, bytes(32))) is None
    assert changed_device(told(delete_redirect(7, 5))) == 7
    hook = read_qdisc(told(add_ingress(7)))
    assert hook == Qdisc(7, "ingress", 0xFFFF0000, 0xFFFFFFF1)
    assert {NEWQDISC, DELQDISC} == {36, 37}
