"""Real connections between network namespaces, opened by the test's own process: a hundred of them cost milliseconds.

A socket stays in the namespace in which it was made, so nothing has to run in a guest. All ports listen with TCP and
UDP; what is tried is new each time (own source port), so no known flow answers for it.

A flow that should pass has ten seconds. One that should not can only be waited for: after all that should pass have
passed it gets a moment more, and the kernel works on packets between namespaces in the order in which they were sent.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from calico_openstack.testing.compute_host import in_namespace

PATIENCE = 10.0
"""Seconds for what should pass."""
GRACE = 0.15
"""Seconds more for what should not."""
_AGAIN = 0.5
"""A datagram that has not arrived is sent again after so many seconds."""

TCP, UDP, SCTP = "tcp", "udp", "sctp"
_NUMBERS = {TCP: 6, UDP: 17, SCTP: 132}


class Try(NamedTuple):
    """A new flow from a namespace (no name: the test's own), bound to `source`, to an address and port."""

    space: str
    source: str
    address: str
    port: int
    protocol: str = TCP


class Listeners:
    """Namespaces that listen on ports. SCTP, which not every kernel speaks, is raw: an INIT sent and seen."""

    def __init__(self) -> None:
        self._accepting: list[socket.socket] = []
        self._receiving: dict[socket.socket, str] = {}

    def open(self, space: str, *ports: int) -> None:
        """In the named namespace; in the test's own if the name is empty."""
        with _inside(space):
            for port in ports:
                tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
                self._accepting.append(tcp)
                udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
                udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                udp.bind(("::", port))
                self._receiving[udp] = UDP
            for family in (socket.AF_INET, socket.AF_INET6):
                self._receiving[socket.socket(family, socket.SOCK_RAW, _NUMBERS[SCTP])] = SCTP
        for one in (*self._accepting, *self._receiving):
            one.setblocking(False)

    def close(self) -> None:
        for one in (*self._accepting, *self._receiving):
            one.close()

    def passes(self, tries: Iterable[Try], expected: Iterable[Try]) -> set[Try]:
        """Which of them reach the other side."""
        with contextlib.ExitStack() as stack:
            flows = [
                _Flow(stack.enter_context(contextlib.closing(_socket(one))), one, n) for n, one in enumerate(tries)
            ]
            by_token = {flow.token: flow for flow in flows}
            awaited = set(expected)
            reached: set[Try] = set()
            start = time.monotonic()
            sent = -_AGAIN
            end: float | None = None
            while (now := time.monotonic()) < (end if end is not None else start + PATIENCE):
                if now - sent >= _AGAIN:
                    sent = now
                    for flow in flows:
                        if flow.what not in reached:
                            flow.send()
                reached |= self._look(flows, by_token, reached)
                if end is None and awaited <= reached:
                    end = time.monotonic() + GRACE
            return reached

    def _look(self, flows: list[_Flow], by_token: dict[bytes, _Flow], reached: set[Try]) -> set[Try]:
        found: set[Try] = set()
        open_streams = {
            flow.socket: flow
            for flow in flows
            if flow.what.protocol == TCP and flow.started and not flow.refused and flow.what not in reached
        }
        incoming = [*self._accepting, *self._receiving]
        readable, writable, _ = select.select(incoming, list(open_streams), [], 0.02)
        for one in readable:
            if one in self._receiving:
                found |= {by_token[token].what for token in _tokens(one) if token in by_token}
                continue
            with contextlib.suppress(BlockingIOError):
                while True:
                    one.accept()[0].close()
        for one in writable:
            flow = open_streams[one]
            # An error is told once; after it the socket looks as if all were well.
            flow.refused = flow.refused or one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
            if not flow.refused:
                found.add(flow.what)
        return found


class _Flow:
    def __init__(self, made: socket.socket, what: Try, number: int) -> None:
        self.socket, self.what = made, what
        self.started = self.refused = False
        self.token = struct.pack("!II", os.getpid(), number) + os.urandom(4)

    def send(self) -> None:
        """Start the connection, or send a datagram; what the kernel refuses here has not passed."""
        try:
            if self.what.protocol == UDP:
                self.socket.send(self.token)
            elif self.what.protocol == SCTP:
                self.socket.send(_init(self.what.port, self.token))
            elif not self.started:
                self.started = True
                self.socket.connect((self.what.address, self.what.port))
        except BlockingIOError:
            pass
        except OSError:
            self.refused = True


def _socket(what: Try) -> socket.socket:
    family = socket.AF_INET6 if ":" in what.address else socket.AF_INET
    kind = {TCP: socket.SOCK_STREAM, UDP: socket.SOCK_DGRAM, SCTP: socket.SOCK_RAW}[what.protocol]
    with _inside(what.space):
        made = socket.socket(family, kind, _NUMBERS[what.protocol])
    try:
        made.setblocking(False)
        made.bind((what.source, 0))
        if what.protocol == TCP:
            # Ended by a reset, so that it leaves no state behind in the guests.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            made.connect((what.address, what.port if what.protocol == UDP else 0))
    except OSError:
        made.close()
        raise
    return made


def _inside(space: str) -> contextlib.AbstractContextManager[None]:
    return in_namespace(f"/run/netns/{space}") if space else contextlib.nullcontext()


def _tokens(receiving: socket.socket) -> Iterator[bytes]:
    """The last twelve bytes of what waits there."""
    with contextlib.suppress(BlockingIOError):
        while True:
            yield receiving.recv(2048)[-12:]


def _init(port: int, token: bytes) -> bytes:
    """An SCTP packet with an INIT chunk (RFC 9260, 3.3.2) that ends with an unknown parameter holding the token."""
    parameter = struct.pack("!HH", 0xC000, 4 + len(token)) + token
    body = b"\x11\x22\x33\x44" + struct.pack("!IHHI", 65535, 1, 1, 7) + parameter
    chunk = struct.pack("!BBH", 1, 0, 4 + len(body)) + body
    header = struct.pack("!HHI", 40000 + token[-1], port, 0)
    return header + struct.pack("<I", _crc32c(header + bytes(4) + chunk)) + chunk


def _crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF
