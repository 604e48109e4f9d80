"""500 swaps of a policy under load: is a new flow lost that both versions allow, does one pass that neither allows?

From outside, without a pause, to a guest behind a real Felix with a real etcd: datagrams, each a flow of its own (own
source port), one to a port that both versions of the policy allow, by different rules, and one to a port that neither
allows; and one long flow. A third port is allowed by one version only: it tells when the swap has arrived.
Ends with code 1 if anything was lost or leaked. Baseline of the rate: the same load without swaps. Needs root.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rig import documents, report
from rig.host import FelixHost
from rig.wires import OUTSIDE, Wires, sysctl

from calico_openstack.testing.compute_host import in_namespace, own_namespace

GUEST = 1
BOTH, NEITHER, FIRST_ONLY = 5001, 5002, 5003
_AT_ONCE = 16
_FIRST_PORT, _LAST_PORT = 10_000, 32_000
_PATIENCE = 30.0


@dataclass(slots=True)
class Load:
    """Counts of datagrams. Every `burst` ends when all that should arrive have, or half a second has gone by."""

    wires: Wires
    sent: int = 0
    lost: int = 0
    leaked: int = 0
    _receivers: dict[int, socket.socket] = field(default_factory=dict)
    _steady: socket.socket = field(init=False)
    _port: int = _FIRST_PORT

    def __post_init__(self) -> None:
        with in_namespace(f"/run/netns/{self.wires.guests}"):
            for port in (NEITHER, FIRST_ONLY):
                self._receivers[port] = self._receiver(port)
        self._receivers[BOTH] = self.wires.receiver
        with in_namespace(f"/run/netns/{self.wires.outside}"):
            self._steady = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._steady.bind((OUTSIDE, _FIRST_PORT - 1))

    def burst(self) -> bool:
        """New flows to all ports, and a packet of the long one; whether the port of the first version is open."""
        expected = set()
        for _ in range(_AT_ONCE):
            expected.add(self._send(BOTH))
            self._send(NEITHER)
        self._send(FIRST_ONLY)
        expected.add(self._send(BOTH, self._steady))
        arrived: set[bytes] = set()
        deadline = time.monotonic() + 0.5
        while not expected <= arrived and time.monotonic() < deadline:
            arrived |= self._arrived(BOTH, 0.02)
        self.lost += len(expected - arrived)
        self.leaked += len(self._arrived(NEITHER))
        return bool(self._arrived(FIRST_ONLY))

    def until(self, is_open: bool) -> int:
        """Bursts until the first version is in force, or is not any more."""
        deadline = time.monotonic() + _PATIENCE
        for number in range(1, sys.maxsize):
            if self.burst() is is_open:
                return number
            if time.monotonic() > deadline:
                break
        raise TimeoutError(f"the swap has not arrived in {_PATIENCE:g} s")

    def close(self) -> None:
        for one in (self._steady, *self._receivers.values()):
            one.close()

    def _send(self, port: int, sender: socket.socket | None = None) -> bytes:
        self.sent += 1
        token = b"%d" % self.sent
        with contextlib.ExitStack() as stack:
            if sender is None:
                sender = stack.enter_context(self._fresh())
            sender.sendto(token, (documents.address(GUEST), port))
        return token

    def _fresh(self) -> socket.socket:
        """A socket with a source port that was not used for a while."""
        self._port = self._port + 1 if self._port < _LAST_PORT else _FIRST_PORT
        with in_namespace(f"/run/netns/{self.wires.outside}"):
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((OUTSIDE, self._port))
        return made

    def _arrived(self, port: int, wait: float = 0.0) -> set[bytes]:
        receiver, found = self._receivers[port], set()
        if wait:
            select.select([receiver], [], [], wait)
        with contextlib.suppress(BlockingIOError):
            while True:
                found.add(receiver.recv(64))
        return found

    @staticmethod
    def _receiver(port: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("", port))
        made.setblocking(False)
        return made


def versions() -> tuple[documents.Document, documents.Document]:
    """The same group twice: many small rules, or few wide ones."""
    ports = [*range(4000, 4100), BOTH, FIRST_ONLY]
    many = [documents.allow(17, port) for port in ports]
    few = [documents.allow(17, f"{BOTH - 500}:{BOTH}"), documents.allow(6, 22)]
    return documents.policy_of(0, many), documents.policy_of(0, few)


def run(swaps: int, rest: float) -> tuple[Load, float, float]:
    """The counts; flows per second with and without swaps."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_namespace())
        wires = Wires([GUEST])
        stack.callback(wires.close)
        host = FelixHost()
        stack.callback(host.close)
        # A source port comes again after a second or more, and is a new flow then.
        sysctl("netfilter/nf_conntrack_udp_timeout", "1")
        first, second = versions()
        host.write([*documents.preface(), first, documents.endpoint(GUEST, documents.HERE, [0])])
        host.start()
        host.until_up(1)
        wires.passes(GUEST)
        load = Load(wires)
        stack.callback(load.close)
        load.until(True)
        load.sent = load.lost = load.leaked = 0
        until = time.monotonic() + rest
        calm = _rate(load, lambda: time.monotonic() > until)
        done = 0

        def all_done() -> bool:
            nonlocal done
            host.client.put(*(first if done % 2 else second))
            load.until(bool(done % 2))
            done += 1
            return done >= swaps

        return load, calm, _rate(load, all_done)


def _rate(load: Load, finished: Callable[[], bool]) -> float:
    before, began = load.sent, time.perf_counter()
    while not finished():
        load.burst()
    return (load.sent - before) / (time.perf_counter() - began)


def main() -> None:
    swaps, rest = (50, 0.5) if report.small(__doc__) else (500, 5.0)
    load, calm, rate = run(swaps, rest)
    print(f"{swaps} swaps, {load.sent} datagrams: {load.lost} lost, {load.leaked} leaked")
    print(f"  datagrams per second without swaps (baseline)  {calm:8.0f}  x1.00")
    print(f"  ... with swaps                                 {rate:8.0f}  x{rate / calm:.2f}")
    if load.lost or load.leaked:
        sys.exit(1)


if __name__ == "__main__":
    main()
