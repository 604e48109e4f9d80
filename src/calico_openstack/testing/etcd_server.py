"""A real etcd on loopback, for tests: started, stopped, killed, frozen, restarted with its data; alone or as a
cluster.

Needs the `etcd` program (3.4 or later; Debian package etcd-server). Data goes to memory (`/dev/shm`) so that
the disk's fsync does not set the pace. Every server ends with `cleanup()` or the `with` block, also after a
failure.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

_DEADLINE = 30.0


def free_port() -> int:
    """A TCP port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class EtcdServer:
    """One member. `tls`: a directory with ca.crt, server.crt and server.key; clients then need a certificate."""

    def __init__(
        self,
        *,
        name: str = "n1",
        port: int | None = None,
        peer_port: int | None = None,
        cluster: str | None = None,
        tls: Path | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.port = port or free_port()
        self.peer_port = peer_port or free_port()
        self.tls = tls
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = Path(tempfile.mkdtemp(prefix="calico-etcd-", dir=base))
        self._cluster = cluster or f"{name}={self.peer_url}"
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def peer_url(self) -> str:
        return f"http://127.0.0.1:{self.peer_port}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("etcd was never started")
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def start(self, wait: bool = True) -> EtcdServer:
        """Start, or start again with the same data and ports."""
        command = [
            "etcd",
            f"--name={self.name}",
            f"--data-dir={self.directory / 'data'}",
            f"--listen-client-urls={self.endpoint}",
            f"--advertise-client-urls={self.endpoint}",
            f"--listen-peer-urls={self.peer_url}",
            f"--initial-advertise-peer-urls={self.peer_url}",
            f"--initial-cluster={self._cluster}",
            "--bcrypt-cost=4",
            *self._arguments,
        ]
        if self.tls:
            command += [
                f"--cert-file={self.tls / 'server.crt'}",
                f"--key-file={self.tls / 'server.key'}",
                f"--trusted-ca-file={self.tls / 'ca.crt'}",
                "--client-cert-auth",
            ]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Until it serves clients. Raises RuntimeError with its log if it ends instead."""
        deadline = time.monotonic() + _DEADLINE
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"etcd did not start:\n{self.log[-3000:]}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), 0.5):
                    if "ready to serve client requests" in self.log or "serving " in self.log:
                        return
            except OSError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"etcd is not ready after {_DEADLINE:g} s:\n{self.log[-3000:]}")

    def kill(self) -> None:
        """As a power cut would (SIGKILL). The data stays."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
        (self.directory / "log").write_text("")

    def freeze(self) -> None:
        """Stop it without closing any connection, as a hung host does; returns when its last thread stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def etcdctl(self, *arguments: str) -> str:
        """Run etcdctl against this member, with the client certificate if there is TLS; its output."""
        command = ["etcdctl", "--endpoints", self.endpoint]
        if self.tls:
            command += [f"--cacert={self.tls}/ca.crt", f"--cert={self.tls}/client.crt", f"--key={self.tls}/client.key"]
        done = subprocess.run(
            [*command, *arguments],
            env={**os.environ, "ETCDCTL_API": "3"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
        if done.returncode:
            raise RuntimeError(f"etcdctl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def cleanup(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> EtcdServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cleanup()


class EtcdCluster:
    """Several members that know each other."""

    def __init__(self, size: int = 3) -> None:
        ports = [(f"n{number}", free_port(), free_port()) for number in range(1, size + 1)]
        cluster = ",".join(f"{name}=http://127.0.0.1:{peer}" for name, _, peer in ports)
        self.members = [EtcdServer(name=name, port=port, peer_port=peer, cluster=cluster) for name, port, peer in ports]

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.endpoint for member in self.members)

    def leader(self) -> EtcdServer:
        """The member that leads now. Raises RuntimeError if none does."""
        for member in self.members:
            try:
                # Fields of `endpoint status -w simple`: endpoint, id, version, size, is-leader, ...
                fields = member.etcdctl("endpoint", "status", "-w", "simple").split(", ")
            except RuntimeError:
                continue
            if fields[4] == "true":
                return member
        raise RuntimeError("no member leads")

    def __enter__(self) -> EtcdCluster:
        for member in self.members:
            member.start(wait=False)
        for member in self.members:
            member.wait_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members:
            member.cleanup()
