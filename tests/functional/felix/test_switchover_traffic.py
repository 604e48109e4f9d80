"""Traffic of guests while ours takes a host over from the upstream Felix: nothing is lost, nothing leaks."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from calico_openstack.model.endpoint import Nat
from calico_openstack.model.net import host_net
from calico_openstack.testing.compute_host import eventually
from calico_openstack.testing.guests import OUTSIDE4, Guest, outside, two_guests
from calico_openstack.testing.stage import Stage
from calico_openstack.testing.upstream_host import (
    PROGRAMS,
    add_upstream,
    add_upstream_tables,
    allowed,
    build,
    load,
    run,
    saved,
    upstream_rules,
)

pytestmark = pytest.mark.root


@pytest.fixture
def guests(namespace: None) -> Iterator[tuple[Guest, Guest]]:
    with two_guests() as both:
        yield both


@pytest.fixture
def stage(guests: tuple[Guest, Guest]) -> Iterator[Stage]:
    made = Stage()
    yield made
    made.dataplane.close()


SENDER = """
import socket, sys, time
v6, source, target, port = sys.argv[1] == "6", sys.argv[2], sys.argv[3], int(sys.argv[4])
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((source, int(sys.argv[5])))
s.settimeout(2)
s.connect((target, port))
number = lost = 0
print("ready", flush=True)
while True:
    word = b"%d" % number
    try:
        s.send(word)
        while s.recv(100) != word:
            pass
    except (TimeoutError, OSError):
        lost += 1
    number += 1
    print(number, lost, flush=True)
    time.sleep(0.005)
"""

ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[2], int(sys.argv[3])))
print("ready", flush=True)
while True:
    data, source = s.recvfrom(100)
    s.sendto(data, source)
"""

NEW_FLOWS = """
import socket, sys, time
v6, source, target, port = sys.argv[1] == "6", sys.argv[2], sys.argv[3], int(sys.argv[4])
print("ready", flush=True)
number = lost = 0
while True:
    s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((source, 0))
    s.settimeout(2)
    try:
        s.sendto(b"x", (target, port))
        s.recv(10)
    except (TimeoutError, OSError):
        lost += 1
    s.close()
    number += 1
    print(number, lost, flush=True)
    time.sleep(0.005)
"""

DENIED = """
import socket, sys, time
v6, source, target, port = sys.argv[1] == "6", sys.argv[2], sys.argv[3], int(sys.argv[4])
print("ready", flush=True)
number = 0
while True:
    s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((source, 0))
    s.sendto(b"never", (target, port))
    s.close()
    number += 1
    print(number, 0, flush=True)
    time.sleep(0.002)
"""


LISTEN = """
import socket, sys
s = socket.socket(socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[2], int(sys.argv[3])))
print("ready", flush=True)
number = 0
while True:
    s.recv(100)
    number += 1
    print(number, 0, flush=True)
"""


class Talk:
    """A process in a guest that prints a line of two numbers after each exchange: how many, how many without answer."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.done = self.lost = 0
        self._thread = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._thread.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):  # not cut short by the end
                self.done, self.lost = map(int, line.split())

    def goes_on(self, exchanges: int = 100) -> None:
        until = self.done + exchanges
        eventually(lambda: self.done >= until, "traffic goes on", within=60)


def go_on(*talks: Talk) -> None:
    for talk in talks:
        talk.goes_on()


@contextmanager
def in_space(space: str, program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = ["ip", "netns", "exec", space, sys.executable, "-uc", program, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.conformance("K5")
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("mode", [*PROGRAMS, "nft"])
def test_the_take_over_loses_no_allowed_packet_and_passes_no_denied_one(
    stage: Stage, guests: tuple[Guest, Guest], mode: str, version: int
) -> None:
    one, two = guests
    taps = tuple(guest.tap for guest in guests)
    first, second = ("10.65.0.1", "10.65.0.2") if version == 4 else ("2001:db8::1", "2001:db8::2")
    if mode == "nft":
        add_upstream_tables(taps)
    else:
        build(mode)
        add_upstream(mode, taps)
    assert one.reaches(second)
    six = str(version)
    with (
        in_space(one.space, LISTEN, six, first, "7500") as victim,
        in_space(two.space, ECHO, six, second, "7000"),
        in_space(one.space, SENDER, six, first, second, "7000", "7001") as old,
        in_space(one.space, NEW_FLOWS, six, first, second, "7000") as fresh,
        in_space(two.space, DENIED, six, second, first, "7500") as bad,
    ):
        talks = [Talk(old), Talk(fresh)]
        attempts, leaked = Talk(bad), Talk(victim)
        go_on(*talks, attempts)
        assert leaked.done == 0

        report = stage.step(allowed(guests, f"{first}/{32 if version == 4 else 128}"))
        assert report.operations["upstream"] >= 3
        go_on(*talks, attempts)
        eventually(lambda: not any(stage.step(seconds=70).operations.values()), "nothing left to do")
        go_on(*talks, attempts)

        assert [talk.lost for talk in talks] == [0, 0]
        assert leaked.done == 0
    assert "table ip calico" not in run("nft", "list", "tables")
    assert mode == "nft" or "cali-" not in saved(mode)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_floating_ip_is_reached_before_while_and_after(
    stage: Stage, guests: tuple[Guest, Guest], program: str
) -> None:
    floating = "198.51.100.5"
    changes = allowed(guests, f"{OUTSIDE4}/32", Nat(host_net("10.65.0.2"), host_net(floating)))
    rules = upstream_rules(tuple(guest.tap for guest in guests), sets=False)
    rules["filter"] = rules["filter"].replace("10.65.0.1/32", f"{OUTSIDE4}/32")
    rules["nat"] += f"-A cali-fip-dnat -d {floating}/32 -j DNAT --to-destination 10.65.0.2\n"
    load(program, rules)
    with (
        outside() as space,
        in_space(guests[1].space, ECHO, "4", "10.65.0.2", "7000"),
        in_space(space, SENDER, "4", OUTSIDE4, floating, "7000", "7001") as old,
        in_space(space, NEW_FLOWS, "4", OUTSIDE4, floating, "7000") as fresh,
    ):
        talks = [Talk(old), Talk(fresh)]
        go_on(*talks)
        stage.step(changes)
        go_on(*talks)
        eventually(lambda: not any(stage.step(seconds=70).operations.values()), "nothing left to do")
        go_on(*talks)

        assert [talk.lost for talk in talks] == [0, 0]
    assert "cali-" not in saved(program)
