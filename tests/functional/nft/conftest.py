"""Each test in a network namespace of its own; guests in named ones beside it."""

import ctypes
import os
import re
import subprocess
from collections.abc import Callable, Iterator

import pytest

from calico_openstack.testing.guests import Felix, Guest, two_guests

CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _complaint(words: str, text: str) -> str:
    """nft's words and the lines they are about."""
    lines = text.splitlines()
    about = [lines[int(n) - 1] for n in re.findall(r"^/dev/stdin:(\d+):", words, re.MULTILINE) if n != "0"]
    return "\n".join([words[:1000], *about[:5]])


@pytest.fixture
def namespace() -> Iterator[None]:
    """This thread, and what it starts, sits in an empty namespace that goes away with it."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    _checked(_LIBC.unshare(CLONE_NEWNET))
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        _checked(_LIBC.setns(home, CLONE_NEWNET))
        os.close(home)


@pytest.fixture
def nft(namespace: None) -> Callable[..., str]:
    """Run nft in the namespace; its output. `stdin` is a ruleset text for `-f -`."""

    def run(*arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run(["nft", *arguments], input=stdin, capture_output=True, text=True)
        assert done.returncode == 0, _complaint(done.stderr, stdin or "")
        return done.stdout

    return run


@pytest.fixture
def guests(namespace: None) -> Iterator[tuple[Guest, Guest]]:
    with two_guests() as both:
        yield both


@pytest.fixture
def felix(namespace: None) -> Iterator[Felix]:
    agent = Felix()
    yield agent
    agent.kernel.close()
