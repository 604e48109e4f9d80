"""The socket against the real kernel, in a network namespace of its own that goes with its thread."""

import errno
import os
import struct
import threading
from collections.abc import Callable

import pytest

from calico_openstack.netlink import socket, wire
from calico_openstack.netlink.wire import Request

pytestmark = pytest.mark.root

NEWLINK, DELLINK, GETLINK = 16, 17, 18
IFINFO = struct.Struct("=BBHiII")
RTNLGRP_LINK = 1
CLONE_NEWNET = 0x40000000


def in_own_namespace(check: Callable[[], None]) -> None:
    import ctypes

    failures: list[BaseException] = []

    def run() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            check()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def bridge(name: str, flags: int = wire.CREATE | wire.EXCLUSIVE) -> Request:
    kind = wire.nest(18, wire.text(1, "bridge"))
    return Request(NEWLINK, flags, IFINFO.pack(0, 0, 0, 0, 0, 0) + wire.text(3, name) + kind)


def names(sock: socket.NetlinkSocket) -> set[str]:
    links = sock.dump(Request(GETLINK, 0, IFINFO.pack(0, 0, 0, 0, 0, 0)))
    return {wire.read_text(wire.attributes(link.body, IFINFO.size)[3]) for link in links}


def test_each_request_of_a_batch_succeeds_or_fails_alone() -> None:
    def check() -> None:
        with socket.NetlinkSocket(socket.ROUTE) as sock:
            failures = sock.send_batch([bridge("d0"), bridge("d0"), bridge("d1")])

            assert {index: failure.errno for index, failure in failures.items()} == {1: errno.EEXIST}
            assert {"d0", "d1"} <= names(sock)

    in_own_namespace(check)


def test_a_batch_longer_than_one_datagram_reports_the_place_of_a_failure() -> None:
    def check() -> None:
        with socket.NetlinkSocket(socket.ROUTE) as sock:
            remove = Request(DELLINK, 0, IFINFO.pack(0, 0, 0, 4242, 0, 0))
            query = Request(GETLINK, 0, IFINFO.pack(0, 0, 0, 1, 0, 0))
            failures = sock.send_batch([query] * 300 + [remove] + [query] * 10)

            assert {index: failure.errno for index, failure in failures.items()} == {300: errno.ENODEV}

    in_own_namespace(check)


def test_a_refusal_carries_the_words_of_the_kernel() -> None:
    def check() -> None:
        bad_kind = wire.nest(18, wire.text(1, "no-such-kind"))
        request = Request(NEWLINK, wire.CREATE, IFINFO.pack(0, 0, 0, 0, 0, 0) + wire.text(3, "x") + bad_kind)
        with socket.NetlinkSocket(socket.ROUTE) as sock, pytest.raises(socket.NetlinkError) as refused:
            sock.request(request)

        assert refused.value.errno == errno.EOPNOTSUPP
        assert refused.value.detail == "Unknown device type"

    in_own_namespace(check)


def test_events_arrive_on_a_subscribed_socket_and_waiting_for_none_does_not_block() -> None:
    def check() -> None:
        with (
            socket.NetlinkSocket(socket.ROUTE, groups=[RTNLGRP_LINK]) as events,
            socket.NetlinkSocket(socket.ROUTE) as sock,
        ):
            assert events.receive() == []

            sock.request(bridge("d7"))

            seen = [wire.read_text(wire.attributes(e.body, IFINFO.size)[3]) for e in events.receive()]
            assert "d7" in seen

    in_own_namespace(check)


def test_a_full_event_queue_is_an_overrun_and_not_silence() -> None:
    def check() -> None:
        with (
            socket.NetlinkSocket(socket.ROUTE, groups=[RTNLGRP_LINK], buffer=2048) as events,
            socket.NetlinkSocket(socket.ROUTE) as sock,
        ):
            sock.send_batch([bridge(f"d{n}") for n in range(50)])

            with pytest.raises(socket.Overrun):
                events.receive()

    in_own_namespace(check)


def test_a_silent_kernel_is_an_error_after_the_timeout() -> None:
    def check() -> None:
        with socket.NetlinkSocket(socket.ROUTE, timeout=0.05) as sock:
            with pytest.raises(socket.NetlinkError) as late:
                list(sock._read())

            assert late.value.errno == errno.ETIMEDOUT

    in_own_namespace(check)
