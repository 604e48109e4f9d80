"""Guests without machines: taps whose other ends all lie in one namespace, and somebody outside who sends to them.

    outside (203.0.113.9) -- up0   this namespace   tap... -- g... (10.x.y.z), all in the namespace of the guests

It shows that packets arrive, one way; for an answer each guest would need a routing table of its own. A thousand taps
cost two runs of `ip`. All is removed by `close`.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from calico_openstack.testing.compute_host import in_namespace
from rig import documents

HOST, OUTSIDE = "203.0.113.1", "203.0.113.9"
TAP_MAC = "ee:ee:ee:ee:ee:ee"


class Wires:
    """Of the network namespace in which the caller sits."""

    def __init__(self, guests: Iterable[int] = ()) -> None:
        self.guests, self.outside = (f"cob-{os.getpid()}-{name}" for name in ("guests", "outside"))
        self._sent = 0
        self._sockets: list[socket.socket] = []
        try:
            self._connect(guests)
        except BaseException:
            self.close()
            raise

    def _connect(self, guests: Iterable[int]) -> None:
        for space in (self.guests, self.outside):
            _batch("", f"netns add {space}")
        sysctl("ipv4/ip_forward", "1")
        _batch("", *_uplink(self.outside), f"address add {HOST}/24 dev up0", "link set up0 up")
        _batch(
            self.outside,
            f"address add {OUTSIDE}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {HOST}",
        )
        with in_namespace(f"/run/netns/{self.guests}"):
            # What arrives comes from everywhere and is not answered.
            sysctl("ipv4/conf/all/rp_filter", "0")
            sysctl("ipv4/conf/default/rp_filter", "0")
        self.plug(guests)
        with in_namespace(f"/run/netns/{self.outside}"):
            self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._sockets.append(self._sender)
        with in_namespace(f"/run/netns/{self.guests}"):
            self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._sockets.append(self.receiver)
            self.receiver.bind(("", documents.PORT))
        self.receiver.setblocking(False)

    def plug(self, guests: Iterable[int]) -> None:
        """Taps that carry, as Nova would have plugged them."""
        numbers = list(guests)
        _batch(
            "",
            *(
                line
                for n in numbers
                for line in (
                    f"link add {documents.tap(n)} type veth peer name g{n} netns {self.guests}",
                    f"link set {documents.tap(n)} address {TAP_MAC} addrgenmode none up",
                )
            ),
        )
        _batch(
            self.guests,
            *(
                line
                for n in numbers
                for line in (
                    f"link set g{n} address {documents.mac(n)} addrgenmode none up",
                    f"address add {documents.address(n)}/32 dev g{n}",
                )
            ),
        )

    def passes(self, guest: int, within: float = 20.0) -> None:
        """Until a datagram from outside arrives at that guest; one is sent every 0.3 ms. TimeoutError."""
        self._sent += 1
        token = f"{guest} {self._sent}".encode()
        target = (documents.address(guest), documents.PORT)
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            self._sender.sendto(token, target)
            while select.select([self.receiver], [], [], 0.0003)[0]:
                if self.receiver.recv(64) == token:
                    return
        raise TimeoutError(f"nothing arrived at {target} in {within:g} s")

    def close(self) -> None:
        for one in self._sockets:
            one.close()
        for space in (self.guests, self.outside):
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)


def _uplink(outside: str) -> Iterable[str]:
    yield f"link add up0 type veth peer name eth0 netns {outside}"


def _batch(space: str, *lines: str) -> None:
    """Commands of iproute2, in one process."""
    if not lines:
        return
    inside = ["-n", space] if space else []
    done = subprocess.run(["ip", *inside, "-batch", "-"], input="\n".join(lines), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {lines[0]} ...: {done.stderr}")


def sysctl(place: str, value: str) -> None:
    Path(f"/proc/sys/net/{place}").write_text(value)
