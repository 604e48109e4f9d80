"""A compute host for tests, in a network namespace of its own: real etcd, real kernel, our Felix as a process.

Guests are named namespaces; the host side of each veth has the name of a tap, as Nova would plug it.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from calico_openstack.testing.etcd_server import EtcdServer

CLONE_NEWNET = 0x40000000
RESOURCES = "/calico/resources/v3/projectcalico.org/"
HOST = "compute-01"
_LIBC = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def eventually(what: Callable[[], Any], because: str = "", within: float = 20.0) -> Any:
    """Wait until `what()` is true and return it; the last answer is in the failure."""
    deadline = time.monotonic() + within
    while True:
        answer = what()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {because or what}; last answer: {answer!r}")
        time.sleep(0.05)


def ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


@contextmanager
def own_namespace() -> Iterator[None]:
    """This thread, and what it starts, sits in an empty network namespace that goes away with it. Needs root."""
    with _and_back():
        _checked(_LIBC.unshare(CLONE_NEWNET))
        ip("link", "set", "lo", "up")
        yield


@contextmanager
def in_namespace(path: str) -> Iterator[None]:
    """This thread sits in the network namespace of that file, such as `/run/netns/<name>`. Sockets stay there."""
    with _and_back():
        there = os.open(path, os.O_RDONLY)
        try:
            _checked(_LIBC.setns(there, CLONE_NEWNET))
        finally:
            os.close(there)
        yield


@contextmanager
def _and_back() -> Iterator[None]:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        yield
    finally:
        try:
            _checked(_LIBC.setns(home, CLONE_NEWNET))
        finally:
            os.close(home)


class Guest:
    """A namespace at the other end of a veth whose host side is `tap`."""

    count = 0

    def __init__(self, tap: str, mac: str, *addresses: str) -> None:
        Guest.count += 1
        self.name = f"cotf-{os.getpid()}-{Guest.count}"
        self.tap = tap
        self.mac = mac
        ip("netns", "add", self.name)
        self.plug(*addresses)

    def plug(self, *addresses: str) -> None:
        """What libvirt does: make the tap, and connect it."""
        ip("link", "add", self.tap, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("link", "set", self.tap, "up")
        ip("-n", self.name, "link", "set", "eth0", "address", self.mac)
        ip("-n", self.name, "link", "set", "eth0", "up")
        ip("-n", self.name, "link", "set", "lo", "up")
        for address in addresses:
            ip("-n", self.name, "address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))

    def unplug(self) -> None:
        subprocess.run(["ip", "link", "delete", self.tap], capture_output=True)

    def run(self, *command: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *command], capture_output=True, text=True, check=check, timeout=30
        )

    def pings(self, address: str) -> bool:
        return self.run("ping", "-c", "1", "-W", "1", "-n", address).returncode == 0

    def close(self) -> None:
        self.unplug()
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True)


class Host:
    """etcd and Felix in the test's namespace."""

    def __init__(self, directory: Path) -> None:
        self.etcd = EtcdServer()
        self.directory = directory
        self.log = directory / "felix.log"
        self.debug_socket = directory / "felix.sock"
        self.program = "calico_openstack.felix.main"
        self.environment: dict[str, str] = {}
        self._felix: subprocess.Popen[bytes] | None = None

    def put(self, path: str, document: dict[str, Any] | str) -> None:
        key = path if path.startswith("/") else RESOURCES + path
        self.etcd.etcdctl("put", key, document if isinstance(document, str) else json.dumps(document))

    def delete(self, path: str) -> None:
        self.etcd.etcdctl("del", path if path.startswith("/") else RESOURCES + path)

    def get(self, key: str) -> str | None:
        return self.etcd.etcdctl("get", "--print-value-only", key).strip() or None

    def ready(self, **felix: Any) -> None:
        """What the Neutron driver writes at its first resync."""
        self.put(
            "clusterinformations/default",
            {
                "kind": "ClusterInformation",
                "apiVersion": "projectcalico.org/v3",
                "metadata": {"name": "default"},
                "spec": {"clusterGUID": "9f0c", "clusterType": "openstack", "datastoreReady": True},
            },
        )
        self.put(
            "felixconfigurations/default",
            {
                "kind": "FelixConfiguration",
                "apiVersion": "projectcalico.org/v3",
                "metadata": {"name": "default"},
                "spec": {"endpointReportingEnabled": True, "interfacePrefix": "tap", **felix},
            },
        )

    def start(self, name: str = HOST, **settings: str) -> None:
        """Felix of the host of that name; `settings` go into its file."""
        config = self.directory / "felix.cfg"
        config.write_text(
            f"[global]\nFelixHostname = {name}\nEtcdEndpoints = {self.etcd.endpoint}\nMetadataAddr = none\n"
            "HealthEnabled = true\nHealthHost = 127.0.0.1\nHealthPort = 9099\nLogSeverityScreen = debug\n"
            f"DebugSocketPath = {self.debug_socket}\n"
            + "".join(f"{parameter} = {value}\n" for parameter, value in settings.items())
        )
        with self.log.open("ab") as log:
            log.write(b"--- start\n")
            self._felix = subprocess.Popen(
                [sys.executable, "-m", self.program, "-c", str(config)],
                stderr=log,
                stdout=log,
                env={**os.environ, **self.environment},
            )

    @property
    def process(self) -> int:
        """The number of Felix's process."""
        assert self._felix is not None, "not started"
        return self._felix.pid

    @property
    def runs(self) -> bool:
        return self._felix is not None and self._felix.poll() is None

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._felix is not None and self._felix.poll() is None:
            self._felix.send_signal(number)
            self._felix.wait(10)

    def lines(self) -> str:
        """The log of the last start."""
        return self.log.read_text().rpartition("--- start\n")[2]

    def resync(self) -> dict[str, int]:
        """The operations of the first apply since the last start, waiting for it."""
        line = eventually(lambda: re.search(r"felix\.resync .*", self.lines()), "felix.resync in the log")
        return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line.group())}

    def status(self, key: str) -> str | None:
        value = self.get(key)
        return None if value is None else json.loads(value)["status"]

    def close(self) -> None:
        self.stop(signal.SIGKILL)
        self.etcd.cleanup()
