"""One netlink socket: requests with their acknowledgements, dumps, and events.

Blocking, for the apply thread. Every request gets a fresh sequence number, so an answer that arrives late
(after a time-out) is recognised and ignored. Buffers are large (SO_SNDBUFFORCE and SO_RCVBUFFORCE need
CAP_NET_ADMIN; without it the system's maximum is used). `Overrun` (ENOBUFS) always means the same:
something was lost, read everything again.

Use one socket for requests and another for events: a subscribed socket's queue mixes both. A socket belongs
to the network namespace in which it was opened, and to one thread at a time. Keep it open: closing an
nfnetlink socket right after a deleting commit waits 12 ms for the kernel to free.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

from calico_openstack.netlink import wire
from calico_openstack.netlink.wire import Message, Request

ROUTE = 0
NETFILTER = 12

_SOL_NETLINK = 270
_ADD_MEMBERSHIP, _CAP_ACK, _EXT_ACK, _GET_STRICT_CHK = 1, 10, 11, 12
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_ATTR_MSG, _ATTR_OFFS = 1, 2
_READ_SIZE = 1 << 18
_CHUNK = 256
_DUMP_TRIES = 5


class NetlinkError(OSError):
    """The kernel refused a request.

    `index` is its place in the batch (0 for a single one; None when the batch as a whole was refused),
    `detail` the kernel's own words (extended acknowledgement), empty when it gave none.
    """

    def __init__(self, code: int, detail: str = "", index: int | None = 0) -> None:
        where = "" if not index else f" (message {index})"
        super().__init__(code, os.strerror(code) + (f": {detail}" if detail else "") + where)
        self.detail = detail
        self.index = index


class Overrun(OSError):
    """Messages were lost for want of buffer space (ENOBUFS): whatever was being followed must be read again."""

    def __init__(self, words: str) -> None:
        super().__init__(errno.ENOBUFS, words)


class NetlinkSocket:
    """A netlink socket of one protocol (`ROUTE`, `NETFILTER`).

    `strict` asks the kernel to honour dump filters (rtnetlink). `timeout` is in seconds and bounds each
    wait for an answer.
    """

    def __init__(
        self,
        protocol: int,
        *,
        groups: Iterable[int] = (),
        strict: bool = False,
        buffer: int = 32 << 20,
        timeout: float = 30.0,
    ) -> None:
        self._sequence = 0
        self._buffer = bytearray(_READ_SIZE)
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            self._grow(buffer)
            self._option(_CAP_ACK)
            self._option(_EXT_ACK)
            if strict:
                self._option(_GET_STRICT_CHK)
            self._socket.bind((0, 0))
            self._wait_at_most(timeout)
            self.subscribe(groups)
        except BaseException:
            self._socket.close()
            raise

    def subscribe(self, groups: Iterable[int]) -> None:
        """Join multicast groups (RTNLGRP_*, NFNLGRP_*); events then wait for `receive`."""
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """For `loop.add_reader`: readable when `receive` has something."""
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def request(self, request: Request) -> list[Message]:
        """Send one request, wait for its acknowledgement; the messages that came before it. Raises NetlinkError."""
        sequence = self._next()
        self._send(wire.message(request.kind, request.flags | wire.REQUEST | wire.ACK, sequence, request.body))
        answers: list[Message] = []
        while True:
            for answer in self._read():
                if answer.sequence != sequence:
                    continue
                if answer.kind == wire.ERROR:
                    failure = _failure(answer, 0)
                    if failure:
                        raise failure
                    return answers
                answers.append(answer)

    def send_batch(self, requests: Sequence[Request]) -> dict[int, NetlinkError]:
        """Send independent requests (rtnetlink: each succeeds or fails alone); the failures by index.

        Only the last message of a chunk asks for an acknowledgement: the kernel reports errors unasked, and
        handles the messages of one datagram in order.
        """
        failures: dict[int, NetlinkError] = {}
        for start in range(0, len(requests), _CHUNK):
            chunk = requests[start : start + _CHUNK]
            first = self._sequence + 1
            parts = [wire.message(r.kind, r.flags | wire.REQUEST, self._next(), r.body) for r in chunk[:-1]]
            final = chunk[-1]
            parts.append(wire.message(final.kind, final.flags | wire.REQUEST | wire.ACK, self._next(), final.body))
            self._send(b"".join(parts))
            failures.update(self._acknowledged(first, self._sequence, start))
        return failures

    def send_transaction(self, begin: Request, requests: Sequence[Request], end: Request) -> None:
        """Send an nfnetlink batch in one datagram: all or nothing. Raises the first NetlinkError with its index.

        The last request carries ACK (acknowledging the end itself is new in Linux 6.10). An answer to
        `begin` means that the commit as a whole failed.
        """
        if not requests:
            return
        opening = self._next()
        parts = [wire.message(begin.kind, begin.flags | wire.REQUEST, opening, begin.body)]
        parts += [wire.message(r.kind, r.flags | wire.REQUEST, self._next(), r.body) for r in requests[:-1]]
        final = requests[-1]
        last = self._next()
        parts.append(wire.message(final.kind, final.flags | wire.REQUEST | wire.ACK, last, final.body))
        parts.append(wire.message(end.kind, end.flags | wire.REQUEST, self._next(), end.body))
        self._send(b"".join(parts))
        failures = self._acknowledged(opening, last, -1)
        if failures:
            first = failures[min(failures)]
            raise NetlinkError(first.errno or errno.EIO, first.detail, None if min(failures) < 0 else min(failures))

    def dump(self, request: Request) -> list[Message]:
        """All objects of a kind. A dump that the kernel marks as interrupted by a change is repeated."""
        for _ in range(_DUMP_TRIES):
            sequence = self._next()
            self._send(wire.message(request.kind, request.flags | wire.REQUEST | wire.DUMP, sequence, request.body))
            found, interrupted = self._collect(sequence)
            if not interrupted:
                return found
        raise NetlinkError(errno.EINTR, f"the tables kept changing during {_DUMP_TRIES} dumps")

    def dump_in_parts(self, request: Request) -> Iterator[list[Message]]:
        """As `dump`, one datagram of the kernel at a time, so that a table of any size takes little memory and can be
        read with pauses. The socket is good for nothing else until the end. EINTR if a change interrupted the dump."""
        sequence = self._next()
        self._send(wire.message(request.kind, request.flags | wire.REQUEST | wire.DUMP, sequence, request.body))
        while True:
            found, over, interrupted = self._part(sequence)
            if interrupted:
                raise NetlinkError(errno.EINTR, "the table changed during the dump")
            yield found
            if over:
                return

    def receive(self) -> list[Message]:
        """Events that are waiting, without blocking (empty when there are none). Raises Overrun when some were lost."""
        events: list[Message] = []
        try:
            while True:
                events.extend(self._read(socket.MSG_DONTWAIT))
        except BlockingIOError:
            return events

    def _grow(self, size: int) -> None:
        for force, plain in ((_SO_SNDBUFFORCE, socket.SO_SNDBUF), (_SO_RCVBUFFORCE, socket.SO_RCVBUF)):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, force, size)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, plain, size)

    def _wait_at_most(self, seconds: float) -> None:
        # SO_RCVTIMEO and not settimeout(): Python would poll before every read, also one with MSG_DONTWAIT.
        whole = int(seconds)
        interval = struct.pack("@ll", whole, int((seconds - whole) * 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)

    def _option(self, option: int) -> None:
        try:
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:  # an old kernel lacks only the comfort
                raise

    def _next(self) -> int:
        self._sequence = self._sequence + 1 & 0xFFFFFFFF or 1
        return self._sequence

    def _send(self, data: bytes) -> None:
        self._socket.send(data)

    def _read(self, flags: int = 0) -> Iterator[Message]:
        try:
            size, _, received, _ = self._socket.recvmsg_into([self._buffer], 0, flags)
        except BlockingIOError:
            if flags & socket.MSG_DONTWAIT:
                raise
            raise NetlinkError(errno.ETIMEDOUT, "no answer from the kernel", None) from None
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise Overrun("the kernel dropped netlink messages for want of buffer space") from None
            raise
        if received & socket.MSG_TRUNC:
            raise Overrun(f"a netlink datagram exceeds {_READ_SIZE} bytes")
        return wire.messages(memoryview(self._buffer)[:size])

    def _acknowledged(self, first: int, last: int, offset: int) -> dict[int, NetlinkError]:
        """Failures among the answers to the sequence numbers `first` to `last`, by `offset` plus place.

        Ends with the answer to `last`, or with one to `first` when that is a transaction's begin (`offset` -1).
        """
        failures: dict[int, NetlinkError] = {}
        while True:
            for answer in self._read():
                if answer.kind != wire.ERROR or not first <= answer.sequence <= last:
                    continue
                index = answer.sequence - first + offset
                failure = _failure(answer, index)
                if failure:
                    failures[index] = failure
                if answer.sequence == last or index < 0:
                    return failures

    def _collect(self, sequence: int) -> tuple[list[Message], bool]:
        found: list[Message] = []
        interrupted = False
        while True:
            part, over, changed = self._part(sequence)
            found += part
            interrupted = interrupted or changed
            if over:
                return found, interrupted

    def _part(self, sequence: int) -> tuple[list[Message], bool, bool]:
        """One datagram of a dump: its messages; whether it was the last; whether the kernel calls it interrupted."""
        found: list[Message] = []
        interrupted = False
        for answer in self._read():
            if answer.sequence != sequence:
                continue
            interrupted = interrupted or bool(answer.flags & wire.DUMP_INTERRUPTED)
            if answer.kind == wire.DONE:
                code = wire.read_s32(answer.body) if len(answer.body) >= 4 else 0
                if code < 0:
                    raise NetlinkError(-code, _detail(answer, 4))
                return found, True, interrupted
            if answer.kind == wire.ERROR:
                failure = _failure(answer, 0)
                if failure is None:
                    continue
                if failure.errno == errno.EINTR:
                    return found, True, True
                raise failure
            found.append(answer)
        return found, False, interrupted


def _failure(answer: Message, index: int) -> NetlinkError | None:
    code = wire.read_s32(answer.body)
    if code == 0:
        return None
    # With CAP_ACK the echoed request is its 16-byte header alone; without, the whole of it precedes the attributes.
    echoed = 16 if answer.flags & wire.CAPPED else wire.pad(wire.read_u32(answer.body[4:8]))
    return NetlinkError(-code, _detail(answer, 4 + echoed), index)


def _detail(answer: Message, offset: int) -> str:
    if not answer.flags & wire.ACK_TLVS:
        return ""
    found = wire.attributes(answer.body, offset)
    words = wire.read_text(found.get(_ATTR_MSG, b""))
    if _ATTR_OFFS in found:
        at = f"at byte {wire.read_u32(found[_ATTR_OFFS])}"
        words = f"{words} {at}" if words else at
    return words
