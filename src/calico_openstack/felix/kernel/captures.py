"""Packet sockets on taps, each with a filter in the kernel: they are woken only by frames that change something.

A capture belongs to an interface index, so a tap that is made anew is listened to anew; it is closed when there is
nothing more to hear. All of them hang on one epoll, which is readable when any of them is. What cannot be opened is
tried again with a growing pause. Lives in the apply thread; needs CAP_NET_RAW.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.retry import Retries
from calico_openstack.felix.kernel.announcements import KEPT, frame_filter, read_frame
from calico_openstack.felix.wanted.watch import Heard, Watch
from calico_openstack.netlink import bpf

log = get_logger("felix.captures")

_EVERYTHING = 0x0003
_BUFFER = 1 << 16
"""A guest that floods fills this, and loses its own claims."""

_FRAMES_AT_ONCE = 64

MOST = 128
"""Taps that are listened to for claims. For each one the kernel takes 13 ms more to end this process."""

CLOSED_AT_ONCE = 4
"""To close a packet socket, the kernel waits until no processor can have it in its hands: 4 to 15 ms."""


class Place(NamedTuple):
    """A tap, as long as it is the same one."""

    interface: str
    ifindex: int


@dataclass(slots=True)
class _Capture:
    place: Place
    watch: Watch
    receiver: socket.socket


class Captures:
    """`filenos` may be asked by other threads between two steps."""

    def __init__(self) -> None:
        self._captures: dict[str, _Capture] = {}
        self._by_fileno: dict[int, _Capture] = {}
        self._ending: deque[socket.socket] = deque()
        self._full = False
        self._declined: set[str] = set()
        self._epoll = select.epoll()
        self.failures = Retries[str]()

    def fileno(self) -> int:
        """Readable when a guest has said something."""
        return self._epoll.fileno()

    def watching(self) -> dict[str, Watch]:
        """What is listened for now, by interface. May be asked by other threads."""
        return {name: capture.watch for name, capture in self._captures.copy().items()}

    def listen(self, interface: str, ifindex: int, watch: Watch | None, now: float) -> None:
        """Listen for exactly this on the tap, or for nothing."""
        self._declined.discard(interface)
        capture = self._captures.get(interface)
        if capture is not None and (watch is None or capture.place.ifindex != ifindex):
            self._close(interface)
            capture = None
        if watch is None:
            self.failures.succeeded(interface)
            return
        if capture is not None and capture.watch == watch and self.failures.get(interface) is None:
            return
        if capture is None and watch.arriving is None and len(self._captures) >= MOST:
            if not self._full:
                log.warning("captures.full", interface=interface, reason=f"{MOST} taps are listened to already")
            self._full = True
            self._declined.add(interface)
            self.failures.succeeded(interface)
            return
        try:
            if capture is None:
                self._open(Place(interface, ifindex), watch)
            else:
                bpf.attach(capture.receiver, frame_filter(watch))
                capture.watch = watch
        except OSError as error:
            failure = self.failures.failed(interface, f"cannot listen to the guest: {error}", now)
            log.warning("capture.failed", interface=interface, reason=str(error), again_in=failure.pause)
            return
        if self.failures.succeeded(interface):
            log.info("capture.recovered", interface=interface)

    def waiting(self) -> list[str]:
        """Taps for which there was no room, and is now."""
        room = MOST - len(self._captures)
        return sorted(self._declined)[:room] if self._declined and room > 0 else []

    def end_some(self) -> None:
        """Close some of those that are not listened to any more, so that no step takes long by many."""
        for _ in range(min(CLOSED_AT_ONCE, len(self._ending))):
            self._ending.popleft().close()

    def wake_at(self) -> float | None:
        return 0.0 if self._ending else self.failures.wake_at()

    def mute(self, interface: str, muted: bool) -> None:
        """What the guest says wakes nobody for now; it is kept, and heard later."""
        capture = self._captures.get(interface)
        if capture is not None:
            self._epoll.modify(capture.receiver, 0 if muted else select.EPOLLIN)

    def hear(self) -> Iterator[tuple[str, Heard]]:
        """What guests said since the last call, by interface. Does not block."""
        for fileno, _ in self._epoll.poll(0):
            capture = self._by_fileno[fileno]
            for frame in _frames(capture.receiver):
                heard = read_frame(frame, capture.watch)
                if heard.running or heard.claimed:
                    yield capture.place.interface, heard

    def close(self) -> None:
        for interface in list(self._captures):
            self._close(interface)
        while self._ending:
            self.end_some()
        self._epoll.close()

    def _open(self, place: Place, watch: Watch) -> None:
        # Protocol 0 receives nothing, so that no frame gets in before the filter is there.
        receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
        try:
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            bpf.attach(receiver, frame_filter(watch))
            receiver.bind((place.interface, _EVERYTHING))
            self._epoll.register(receiver, select.EPOLLIN)
        except BaseException:
            receiver.close()
            raise
        capture = _Capture(place, watch, receiver)
        self._captures[place.interface] = self._by_fileno[receiver.fileno()] = capture

    def _close(self, interface: str) -> None:
        capture = self._captures.pop(interface)
        del self._by_fileno[capture.receiver.fileno()]
        self._full = False
        with contextlib.suppress(OSError):
            self._epoll.unregister(capture.receiver)
            bpf.attach(capture.receiver, bpf.drop())
        self._ending.append(capture.receiver)


def _frames(receiver: socket.socket) -> Iterator[bytes]:
    """The frames that wait, at most so many: a guest must not keep the host busy. A tap that goes down says so once
    (ENETDOWN), and is listened to again when it is up."""
    for _ in range(_FRAMES_AT_ONCE):
        try:
            yield receiver.recv(KEPT)
        except BlockingIOError:
            return
        except OSError:
            continue
