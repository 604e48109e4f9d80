"""A fabric of namespaces with a real BIRD in each, real agents, one real etcd.

    <prefix>sw: bridge ── veth ── <prefix>h1: eth0 10.99.0.1/24, fd99::1/64, "tap" devices
                       ── veth ── <prefix>h2 ...

An agent needs nothing of its host's network but BIRD's socket, which is a file: the agents run outside, next to etcd on
loopback.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.values import EtcdSettings
from calico_openstack.model.keys import BgpStatusKey, ResourceKey
from calico_openstack.testing.etcd_server import EtcdServer

T = TypeVar("T")
_numbers = itertools.count()


def wait_for(what: str, ask: Callable[[], T], limit: float = 60.0) -> T:
    """The first true answer; the test fails with `what` and the last answer after `limit` seconds."""
    deadline = time.monotonic() + limit
    answer = ask()
    while not answer:
        if time.monotonic() > deadline:
            pytest.fail(f"waited {limit:g} s for {what}; last answer: {answer!r}")
        time.sleep(0.05)
        answer = ask()
    return answer


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


class Host:
    def __init__(self, fabric: Fabric, number: int, name: str) -> None:
        self.fabric = fabric
        self.name = name
        self.number = number
        self.namespace = f"{fabric.prefix}{name}"
        self.v4, self.v6 = f"10.99.0.{number}", f"fd99::{number}"
        self.directory = fabric.directory / name
        self.directory.mkdir()
        self.conf = self.directory / "bird.conf"
        self.socket = self.directory / "bird.ctl"
        self.bird: subprocess.Popen[bytes] | None = None
        self.agent: subprocess.Popen[bytes] | None = None

    def ip(self, *words: str) -> str:
        return run("ip", "-n", self.namespace, *words)

    def plug(self, tap: str) -> None:
        """A device with a guest's name; a veth, since its other end needs nobody."""
        self.ip("link", "add", tap, "type", "veth", "peer", "name", f"p{tap[3:]}")
        self.ip("link", "set", f"p{tap[3:]}", "up")
        self.ip("link", "set", tap, "up")

    def route(self, verb: str, address: str, tap: str, metric: int = 1024) -> None:
        self.ip("route", verb, address, "dev", tap, "proto", "80", "metric", str(metric))

    def routes(self, address: str) -> list[dict[str, Any]]:
        """The kernel's routes to exactly this address."""
        family = "-6" if ":" in address else "-4"
        found: list[dict[str, Any]] = json.loads(self.ip("-j", family, "route", "show", "exact", address) or "[]")
        return found

    def learned(self, address: str) -> list[str]:
        """The gateways of BIRD's kernel routes to this address."""
        return [
            hop["gateway"]
            for route in self.routes(address)
            if route.get("protocol") == "bird"
            for hop in route.get("nexthops", [route])
            if "gateway" in hop
        ]

    def start_bird(self) -> None:
        files = ["-c", str(self.conf), "-s", str(self.socket), "-P", str(self.directory / "bird.pid")]
        with (self.directory / "bird.log").open("ab") as log:
            self.bird = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, "bird", "-f", "-R", *files], stdout=log, stderr=log
            )
        self.fabric.processes.append(self.bird)

    def kill_bird(self) -> None:
        """As a crash would. `ip netns exec` has become BIRD itself, so this is its process."""
        assert self.bird is not None
        self.bird.kill()
        self.bird.wait()

    def start_agent(self, **bgp: object) -> None:
        options = {
            "bird_config": self.conf,
            "bird_socket": self.socket,
            "ipv4_address": f"{self.v4}/24",
            "ipv6_address": f"{self.v6}/64",
            "secrets_directory": self.directory / "secrets",
            **bgp,
        }
        config = self.directory / "bgp.cfg"
        lines = [
            "[DEFAULT]",
            f"host = {self.name}",
            "[calico]",
            f"etcd_endpoints = {self.fabric.etcd.endpoint}",
            "[bgp]",
        ]
        config.write_text("\n".join([*lines, *(f"{key} = {value}" for key, value in options.items())]) + "\n")
        with (self.directory / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen(
                [sys.executable, "-m", "calico_openstack.bgp.main", "--config-file", str(config)],
                stdout=log,
                stderr=log,
            )
        self.fabric.processes.append(self.agent)

    def kill_agent(self) -> None:
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait()

    def birdc(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(5)
            control.connect(str(self.socket))
            text, asked = b"", False
            while True:
                data = control.recv(65536)
                if not data:
                    return text.decode()
                text += data
                last = text.rsplit(b"\n", 2)[-2] if text.endswith(b"\n") else b""
                if last[4:5] == b" " and last[:4].isdigit():
                    if asked:
                        return text.decode()
                    text, asked = b"", True
                    control.sendall(command.encode() + b"\n")

    def sessions(self) -> dict[str, tuple[str, str]]:
        """Name -> (state, since) of the BGP protocols."""
        try:
            lines = self.birdc("show protocols").splitlines()
        except OSError:
            return {}
        words = [line[5:].split() if line[:4].isdigit() else line.split() for line in lines]
        return {word[0]: (word[-1], word[4]) for word in words if len(word) > 4 and word[1] == "BGP"}

    def undisturbed_since(self, before: dict[str, tuple[str, str]], new: str = "") -> bool:
        """Whether these sessions stand as they stood, with none beside them but perhaps the one called `new`.
        BIRD reckons `since` back from now, so it varies by 1 ms."""
        now = self.sessions()
        return now.keys() - {new} == before.keys() and all(
            now[name][0] == state and abs(seconds(now[name][1]) - seconds(since)) < 0.1
            for name, (state, since) in before.items()
        )

    def established(self, count: int) -> bool:
        states = [state for state, _ in self.sessions().values()]
        return len(states) == count and set(states) == {"Established"}

    def status(self) -> dict[str, Any]:
        found = self.fabric.client.get(BgpStatusKey(None, self.name).path)
        return json.loads(found.value) if found else {}


def seconds(clock: str) -> float:
    """`05:38:36.093` as seconds of the day."""
    hours, minutes, rest = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


class Fabric:
    def __init__(self, directory: Path, etcd: EtcdServer) -> None:
        self.prefix = f"cotg-{os.getpid()}-{next(_numbers)}-"
        self.directory = directory
        self.etcd = etcd
        self.client = BlockingClient(EtcdSettings((etcd.endpoint,), timeout=5))
        self.hosts: dict[str, Host] = {}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.switch = f"{self.prefix}sw"
        run("ip", "netns", "add", self.switch)
        run("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        run("ip", "-n", self.switch, "link", "set", "br0", "up")

    def host(self, name: str) -> Host:
        host = Host(self, len(self.hosts) + 1, name)
        run("ip", "netns", "add", host.namespace)
        self.hosts[name] = host
        host.ip("link", "set", "lo", "up")
        host.ip("link", "add", "eth0", "type", "veth", "peer", "name", name, "netns", self.switch)
        run("ip", "-n", self.switch, "link", "set", name, "master", "br0", "up")
        host.ip("link", "set", "eth0", "up")
        host.ip("addr", "add", f"{host.v4}/24", "dev", "eth0")
        host.ip("addr", "add", f"{host.v6}/64", "dev", "eth0", "nodad")
        return host

    def put(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        document = {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": {"name": name}, "spec": spec}
        self.client.put(ResourceKey(kind, name).path, json.dumps(document).encode())

    def remove(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        self.client.close()
        for namespace in [self.switch, *(host.namespace for host in self.hosts.values())]:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)


@pytest.fixture
def etcd() -> Iterator[EtcdServer]:
    server = EtcdServer()
    try:
        yield server.start()
    finally:
        server.cleanup()


@pytest.fixture
def fabric(tmp_path: Path, etcd: EtcdServer) -> Iterator[Fabric]:
    built: Fabric | None = None
    try:
        built = Fabric(tmp_path, etcd)
        yield built
    finally:
        if built is not None:
            built.remove()


@pytest.fixture
def mesh(fabric: Fabric) -> list[Host]:
    """Three hosts, agents and BIRDs, every session up."""
    hosts = [fabric.host(name) for name in ("h1", "h2", "h3")]
    for host in hosts:
        host.start_agent()
    for host in hosts:
        wait_for(f"{host.name}'s bird.conf", host.conf.exists)
        host.start_bird()
    for host in hosts:
        wait_for(f"4 sessions on {host.name}", lambda host=host: host.established(4))
    return hosts


@pytest.fixture(name="wait_for")
def wait_for_fixture() -> Callable[..., Any]:
    return wait_for
