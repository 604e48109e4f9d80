"""A steady ping with book-keeping: which sequence numbers were sent, which came back, which did not.

Two threads over one raw socket in the guest's namespace: one sends on an absolute schedule (so that a late wake-up is
caught up, not added), one receives. Several thousand packets per second are possible; tests use 200.
"""

import contextlib
import select
import threading
import time
from dataclasses import dataclass
from types import TracebackType

from calico_openstack.sandbox.probes import echo_request, family_of, open_icmp, read_echo_reply


@dataclass(frozen=True, slots=True)
class PingResult:
    """`lost` are sequence numbers; `longest_silence` is the longest time in seconds between two replies."""

    sent: int
    received: int
    duplicates: int
    lost: tuple[int, ...]
    longest_silence: float

    def __str__(self) -> str:
        counts = f"{self.sent} sent, {self.received} received, {len(self.lost)} lost"
        return f"{counts}, longest silence {self.longest_silence:.3f} s"


class Pinger:
    """Pings from `namespace` to `target` while the `with` block runs; `result` is there afterwards."""

    def __init__(self, namespace: str, target: str, per_second: float = 200.0, patience: float = 2.0) -> None:
        self._family = family_of(target)
        self._target = target
        self._pause = 1.0 / per_second
        self._patience = patience
        self._socket = open_icmp(namespace, self._family)
        self._ident = id(self) >> 4 & 0xFFFF
        self._stop = threading.Event()
        self._done = threading.Event()
        self._sent: list[int] = []
        self._came: dict[int, int] = {}
        self._silence = 0.0
        self._threads = [
            threading.Thread(target=self._send, name="pinger-send", daemon=True),
            threading.Thread(target=self._receive, name="pinger-receive", daemon=True),
        ]
        self.result = PingResult(0, 0, 0, (), 0.0)

    def __enter__(self) -> "Pinger":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._threads[0].join()
        deadline = time.monotonic() + self._patience
        while len(self._came) < len(self._sent) and time.monotonic() < deadline:
            time.sleep(0.01)
        self._done.set()
        self._threads[1].join()
        self._socket.close()
        lost = tuple(number for number in self._sent if number not in self._came)
        duplicates = sum(count - 1 for count in self._came.values())
        self.result = PingResult(len(self._sent), len(self._came), duplicates, lost, self._silence)

    @property
    def sent(self) -> int:
        return len(self._sent)

    @property
    def received(self) -> int:
        """Replies so far, for a test that wants to begin when the ping flows."""
        return len(self._came)

    def _send(self) -> None:
        begin = time.monotonic()
        number = 0
        while not self._stop.is_set():
            # 16 bits of sequence number: 65536 packets are five minutes at 200 per second.
            number += 1
            self._sent.append(number & 0xFFFF)
            with contextlib.suppress(OSError):  # counts as lost
                self._socket.sendto(echo_request(self._family, self._ident, number & 0xFFFF), (self._target, 0))
            self._stop.wait(max(0.0, begin + number * self._pause - time.monotonic()))

    def _receive(self) -> None:
        last = time.monotonic()
        while not self._done.is_set():
            if not select.select([self._socket], [], [], 0.1)[0]:
                continue
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet, sender = self._socket.recvfrom(2048)
                    reply = read_echo_reply(self._family, packet)
                    if reply is not None and reply[0] == self._ident and sender[0] == self._target:
                        now = time.monotonic()
                        self._silence = max(self._silence, now - last)
                        last = now
                        self._came[reply[1]] = self._came.get(reply[1], 0) + 1
