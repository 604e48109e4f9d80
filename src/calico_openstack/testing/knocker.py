"""Datagrams without end between guests: known flows and new ones, allowed and forbidden; what arrives where.

A thread sends on every path some ten times a second from a port that stays (a known flow, if it ever got through), and
on one path after the other from a new one. Untouched flows are forgotten soon, so that there are never many. What a
guest receives names the path. Paths on which nothing may arrive are knocked at like the others.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

from calico_openstack.felix.kernel.sysctls import Sysctls
from calico_openstack.felix.wanted.host import Sysctl
from calico_openstack.testing.compute_host import Guest, in_namespace

_PAUSE = 0.08


class Knock(NamedTuple):
    """A path: from which of a sender's addresses to which address and UDP port."""

    source: str
    address: str
    port: int


class Arrival(NamedTuple):
    """A datagram reached this guest; `address` is where it was sent, before any translation."""

    guest: str
    address: str
    port: int


class Knocker:
    """`ports` are open on every guest of this thread's namespace, the host's. Use as a context."""

    def __init__(self, guests: Iterable[Guest], ports: Iterable[int]) -> None:
        Sysctls().apply([Sysctl(f"netfilter/nf_conntrack_udp_timeout{kind}", "1") for kind in ("", "_stream")])
        self._listening = {_bound(one.name, "0.0.0.0", port): one.tap for one in guests for port in ports}
        self._steady: dict[Knock, tuple[str, socket.socket]] = {}
        self._arrived: set[Arrival] = set()
        self._rounds = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def knock(self, sender: Guest, *paths: Knock) -> None:
        """To be called before the context is entered."""
        for path in paths:
            self._steady[path] = sender.name, _bound(sender.name, path.source, 0)

    def __enter__(self) -> Knocker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
        for one in (*self._listening, *(made for _, made in self._steady.values())):
            one.close()

    def take(self) -> set[Arrival]:
        """What arrived since the last call."""
        with self._lock:
            arrived, self._arrived = self._arrived, set()
            return arrived

    def now(self) -> set[Arrival]:
        """What arrives from now on, in a few rounds."""
        self.take()
        until = self._rounds + 3
        while self._rounds < until and self._thread.is_alive():
            time.sleep(_PAUSE / 2)
        return self.take()

    def _run(self) -> None:
        while not self._over.is_set():
            for path, (_, steady) in self._steady.items():
                _send(steady, path)
            path = list(self._steady)[self._rounds % len(self._steady)]
            with contextlib.closing(_bound(self._steady[path][0], path.source, 0)) as fresh:
                _send(fresh, path)
            self._listen()
            self._rounds += 1

    def _listen(self) -> None:
        end = time.monotonic() + _PAUSE
        while (left := end - time.monotonic()) > 0:
            for one in select.select(list(self._listening), [], [], left)[0]:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        address, port = one.recv(100).decode().split()
                        with self._lock:
                            self._arrived.add(Arrival(self._listening[one], address, int(port)))


def _send(sender: socket.socket, path: Knock) -> None:
    # Nobody answers for an address that is not there: an error like any other.
    with contextlib.suppress(OSError):
        sender.sendto(f"{path.address} {path.port}".encode(), (path.address, path.port))


def _bound(space: str, address: str, port: int) -> socket.socket:
    with in_namespace(os.path.join("/run/netns", space)):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.bind((address, port))
    return made
