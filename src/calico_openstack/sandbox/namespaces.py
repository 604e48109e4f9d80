"""Network namespaces: which there are, who is in them, and doing a small thing inside one without a new process.

A namespace belongs to a thread, and a socket stays in the namespace where it was made. So a short-lived thread enters,
makes the socket, and ends; the socket is then used from anywhere. That is how one prober process can speak for fifty
guests, and how the command reaches servers that listen only inside the controller.
"""

import ctypes
import http.client
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from calico_openstack.sandbox.processes import Process, start_time

T = TypeVar("T")
NETNS = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def existing() -> list[str]:
    return sorted(entry.name for entry in NETNS.iterdir()) if NETNS.is_dir() else []


def processes_in(namespace: str) -> list[Process]:
    """Every process whose main thread is in the namespace, whoever started it."""
    result = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    found = [(int(word), start_time(int(word))) for word in result.stdout.split()]
    return [Process(f"{namespace} pid {pid}", pid, started) for pid, started in found if started is not None]


def delete(namespace: str) -> None:
    """Deletes a namespace with all its links. Processes in it would keep it alive unseen, so end them first."""
    subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Runs `work` in a thread inside the namespace and gives its result.

    Raises what it raises, and OSError if there is none.
    """
    result: list[T] = []
    failure: list[BaseException] = []

    def enter() -> None:
        try:
            descriptor = os.open(NETNS / namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, f"cannot enter namespace {namespace}: {os.strerror(number)}")
            finally:
                os.close(descriptor)
            result.append(work())
        except BaseException as error:  # handed to the caller below
            failure.append(error)

    thread = threading.Thread(target=enter, name=f"in-{namespace}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def open_socket(namespace: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket that lives in the namespace."""
    return inside(namespace, lambda: socket.socket(family, kind, protocol))


class NamespaceConnection(http.client.HTTPConnection):
    """An HTTP connection that is made from inside a namespace."""

    def __init__(self, namespace: str, host: str, port: int, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self.namespace = namespace

    def connect(self) -> None:
        self.sock = open_socket(self.namespace, socket.AF_INET, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect((self.host, self.port))
