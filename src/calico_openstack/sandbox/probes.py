"""Who can reach whom: pings, TCP connections, UDP datagrams between namespaces, hundreds at a time from one process.

Each socket is made inside its namespace and then served by one loop here, so a table of all guests against all guests
costs one waiting time and no process. A probe that is answered says so at once; silence is only believed after `wait`
seconds. Listeners exist while the `Prober` does: they are its own, not the guests'.
"""

import contextlib
import errno
import os
import selectors
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from calico_openstack.sandbox.namespaces import open_socket

Protocol = Literal["icmp", "tcp", "udp"]
_RESEND = 0.3


@dataclass(frozen=True, slots=True)
class Probe:
    """From a namespace to an address. `port` is for TCP and UDP."""

    source: str
    target: str
    protocol: Protocol = "icmp"
    port: int = 0

    @property
    def family(self) -> int:
        return family_of(self.target)

    def __str__(self) -> str:
        return f"{self.source} -> {self.target} {self.protocol}{f'/{self.port}' if self.port else ''}"


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Prober:
    """Sends probes and answers them. Not thread-safe; a context manager that closes every socket."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._listeners: dict[tuple[str, int, Protocol, int], socket.socket] = {}
        self._raw: dict[tuple[str, int], socket.socket] = {}
        self._sequence = 0
        self._ident = os.getpid() & 0xFFFF
        self._waiting: dict[tuple[int, int], Probe] = {}
        self._flying: dict[socket.socket, Probe] = {}
        self._answered: set[Probe] = set()

    def __enter__(self) -> "Prober":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for one in [*self._listeners.values(), *self._raw.values(), *self._flying]:
            one.close()
        self._selector.close()

    def forget(self, namespace: str) -> None:
        """Closes what is open in a namespace, so that it can go away with its guest."""
        listeners = [self._listeners.pop(key) for key in list(self._listeners) if key[0] == namespace]
        raws = [self._raw.pop(key) for key in list(self._raw) if key[0] == namespace]
        for one in listeners + raws:
            self._selector.unregister(one)
            one.close()

    def listen(self, namespace: str, protocol: Protocol, port: int) -> None:
        """Answers TCP connections or echoes UDP datagrams on a port of a namespace, IPv4 and IPv6; safe to repeat."""
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        for family in (socket.AF_INET, socket.AF_INET6):
            key = (namespace, int(family), protocol, port)
            if key in self._listeners:
                continue
            server = open_socket(namespace, family, kind)
            server.setblocking(False)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            server.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
            if protocol == "tcp":
                server.listen(256)
            self._listeners[key] = server
            self._selector.register(server, selectors.EVENT_READ, self._accept if protocol == "tcp" else self._echo)

    def check(self, probes: Iterable[Probe], wait: float = 1.5) -> dict[Probe, bool]:
        """Sends all probes at once; True for those that were answered within `wait` seconds."""
        wanted = list(dict.fromkeys(probes))
        self._answered = set()
        self._waiting = {}
        deadline = time.monotonic() + wait
        for probe in wanted:
            if probe.protocol == "tcp":
                self._connect(probe)
        again = time.monotonic()
        while len(self._answered) < len(wanted):
            now = time.monotonic()
            if now >= deadline:
                break
            if now >= again:
                for probe in wanted:
                    if probe.protocol != "tcp" and probe not in self._answered:
                        self._send(probe)
                again = now + _RESEND
            for key, _ in self._selector.select(max(0.0, min(again, deadline) - now)):
                key.data(key.fileobj)
        for flying in list(self._flying):
            self._land(flying)
        return {probe: probe in self._answered for probe in wanted}

    def check_one(self, probe: Probe, wait: float = 1.5) -> bool:
        return self.check([probe], wait)[probe]

    def until(self, probes: dict[Probe, bool], limit: float = 20.0, wait: float = 1.0) -> dict[Probe, bool]:
        """Checks until every probe has its expected outcome, or `limit` seconds passed. Returns the last outcomes."""
        deadline = time.monotonic() + limit
        while True:
            outcomes = self.check(probes, wait)
            if outcomes == probes or time.monotonic() >= deadline:
                return outcomes

    def _connect(self, probe: Probe) -> None:
        client = open_socket(probe.source, probe.family, socket.SOCK_STREAM)
        client.setblocking(False)
        # Reset at close: a table of probes must not fill the guests with connections in TIME_WAIT.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if client.connect_ex((probe.target, probe.port)) not in (0, errno.EINPROGRESS):
            client.close()
            return
        self._flying[client] = probe
        self._selector.register(client, selectors.EVENT_WRITE, self._connected)

    def _connected(self, client: socket.socket) -> None:
        if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            self._answered.add(self._flying[client])
        self._land(client)

    def _land(self, client: socket.socket) -> None:
        del self._flying[client]
        self._selector.unregister(client)
        client.close()

    def _send(self, probe: Probe) -> None:
        self._sequence = (self._sequence + 1) & 0xFFFF
        if probe.protocol == "icmp":
            self._waiting[self._ident, self._sequence] = probe
            outgoing = self._raw_socket(probe.source, probe.family)
            request = echo_request(probe.family, self._ident, self._sequence)
            with contextlib.suppress(OSError):  # no route (yet): that is silence too
                outgoing.sendto(request, (probe.target, 0))
            return
        client = next((one for one, flying in self._flying.items() if flying == probe), None)
        if client is None:
            client = open_socket(probe.source, probe.family, socket.SOCK_DGRAM)
            client.setblocking(False)
            self._flying[client] = probe
            self._selector.register(client, selectors.EVENT_READ, self._replied)
        with contextlib.suppress(OSError):
            client.connect((probe.target, probe.port))
            client.send(str(probe).encode())

    def _replied(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):  # ECONNREFUSED: nobody listens, so not answered
            if client.recv(512) == str(self._flying[client]).encode():
                self._answered.add(self._flying[client])
                self._land(client)

    def _raw_socket(self, namespace: str, family: int) -> socket.socket:
        key = (namespace, int(family))
        if key not in self._raw:
            raw = open_icmp(namespace, family)
            self._raw[key] = raw
            self._selector.register(raw, selectors.EVENT_READ, self._echoed)
        return self._raw[key]

    def _echoed(self, raw: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                packet, sender = raw.recvfrom(2048)
                reply = read_echo_reply(raw.family, packet)
                probe = self._waiting.get(reply) if reply else None
                if probe is not None and sender[0] == probe.target:
                    self._answered.add(probe)

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                server.accept()[0].close()

    def _echo(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, sender = server.recvfrom(2048)
                server.sendto(data, sender)


def open_icmp(namespace: str, family: int) -> socket.socket:
    """A raw socket for echo in a namespace, non-blocking."""
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    raw = open_socket(namespace, family, socket.SOCK_RAW, protocol)
    raw.setblocking(False)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    return raw


def echo_request(family: int, ident: int, sequence: int) -> bytes:
    """An echo request (RFC 792, RFC 4443). The kernel fills in the ICMPv6 checksum, not the ICMP one."""
    payload = b"calico-openstack"
    if family == socket.AF_INET6:
        return struct.pack("!BBHHH", 128, 0, 0, ident, sequence) + payload
    head = struct.pack("!BBHHH", 8, 0, 0, ident, sequence)
    return struct.pack("!BBHHH", 8, 0, checksum(head + payload), ident, sequence) + payload


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def read_echo_reply(family: int, packet: bytes) -> tuple[int, int] | None:
    """(ident, sequence) of an echo reply; None for any other message. IPv4 raw sockets deliver the IP header too."""
    if family == socket.AF_INET:
        packet = packet[(packet[0] & 0x0F) * 4 :]
    if len(packet) < 8:
        return None
    kind, _, _, ident, sequence = struct.unpack("!BBHHH", packet[:8])
    return (ident, sequence) if kind == (129 if family == socket.AF_INET6 else 0) else None
