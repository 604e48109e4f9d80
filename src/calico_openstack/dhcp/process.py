"""A process, our child or a former agent's: found by number, known by its command line, followed by pidfd.

A pidfd becomes readable the moment the process ends, whoever its parent is and whether or not it has been reaped; a
number alone could meanwhile belong to another process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


class Process:
    """One running process. `close` when done; `started` (clock ticks since boot) tells two lives of one pid apart."""

    def __init__(self, pid: int) -> None:
        """ProcessLookupError if there is no such process."""
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        self.started = _started(pid)
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._pidfd, self._note_end)

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    async def ended(self) -> None:
        await self._ended.wait()

    def send(self, number: signal.Signals) -> None:
        """Nothing happens if it has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    async def end(self, patience: float = 2.0) -> None:
        """SIGTERM, then SIGKILL after `patience` seconds; returns when it is gone."""
        self.send(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._ended.wait(), patience)
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self._ended.wait()

    def close(self) -> None:
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _note_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # if it was our child; a former agent's is reaped by init
        self._ended.set()


def spawn(command: Sequence[str]) -> Process:
    """Start a process that outlives us: in its own session, with our standard error and nothing else of ours."""
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True, cwd="/"
    )
    child.returncode = 0  # we reap it by its pidfd; this keeps Popen from warning that it still runs
    return Process(child.pid)


def find(pid_file: Path, command: Sequence[str]) -> Process | None:
    """The running process named in a pid file, if it runs this very program with this very pid file, near us.

    "Near": in our network namespace; the same files may be served elsewhere. Its arguments may differ: see `runs`.
    """
    try:
        pid = int(pid_file.read_text())
        process = Process(pid)
    except (OSError, ValueError):
        return None
    arguments = _arguments(pid)
    mark = next(word for word in command if word.startswith("--pid-file="))
    same = arguments[:1] == [os.path.basename(command[0])] or arguments[:1] == [command[0]]
    if process.running and same and mark in arguments and _network(pid) == _network(os.getpid()):
        return process
    process.close()
    return None


def runs(process: Process, command: Sequence[str]) -> bool:
    """Whether the process was started with exactly this command line."""
    return _arguments(process.pid) == list(command)


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def _network(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _started(pid: int) -> int:
    """Field 22 of /proc/<pid>/stat; the fields are counted behind the name, which may hold blanks. 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])
