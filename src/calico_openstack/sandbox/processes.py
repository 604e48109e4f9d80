"""Processes that outlive the command that started them, and how to be sure that one is still the same.

A process is its pid *and* its start time, so a pid that the kernel gave to somebody else is never signalled. Each has a
session of its own: Ctrl-C in the terminal reaches the sandbox command only.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process of ours. `started` is field 22 of /proc/pid/stat: clock ticks after boot."""

    name: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        with contextlib.suppress(ChildProcessError):
            # Ours if this very command started it; otherwise init collects it.
            os.waitpid(self.pid, os.WNOHANG)
        return start_time(self.pid) == self.started

    def signal(self, number: int) -> None:
        """Signals the process unless it has ended already."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def start_time(pid: int) -> int | None:
    """When a process started, or None if it has ended (a zombie has ended)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def spawn(name: str, argv: tuple[str, ...], log: Path, environment: Mapping[str, str]) -> Process:
    """Starts a process with its output appended to `log`. Raises OSError when the program is not there."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, **environment},
            cwd="/",
        )
    started = start_time(child.pid)
    # It may have ended already; its record then simply says that it is not alive.
    child.returncode = child.returncode if child.returncode is not None else 0  # no ResourceWarning; `alive` reaps
    return Process(name, child.pid, started if started is not None else -1)


def end(processes: Iterable[Process], limit: float, first: int = signal.SIGTERM) -> list[Process]:
    """Ends all of them together, politely for `limit` seconds and then not. Returns those that had to be killed."""
    left = list(processes)
    for process in left:
        process.signal(first)
    left = _wait_until_gone(left, limit)
    killed = list(left)
    for process in left:
        process.signal(signal.SIGKILL)
    _wait_until_gone(left, 5.0)
    return killed


def _wait_until_gone(processes: list[Process], limit: float) -> list[Process]:
    deadline = time.monotonic() + limit
    left = [process for process in processes if process.alive]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [process for process in left if process.alive]
    return left


def children_of(parents: Iterable[int]) -> list[Process]:
    """All descendants of some processes, for servers whose workers would outlive a killed master."""
    table: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                table.setdefault(int(fields[1]), []).append(int(entry))
    found: list[Process] = []
    queue = list(parents)
    while queue:
        for pid in table.get(queue.pop(), []):
            started = start_time(pid)
            if started is not None:
                found.append(Process(f"child {pid}", pid, started))
            queue.append(pid)
    return found


def group_of(leader: int) -> list[Process]:
    """The living members of the process group that `leader` founded, itself left out."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != leader:
            with contextlib.suppress(OSError):
                if os.getpgid(int(entry)) == leader and (started := start_time(int(entry))) is not None:
                    found.append(Process(f"group {leader}", int(entry), started))
    return found


def proportional_memory(pid: int) -> tuple[int, int]:
    """(resident, proportional) bytes of a process; pages shared by several count in part in the second."""
    resident = proportional = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                resident = int(line.split()[1]) * 1024
            elif line.startswith("Pss:"):
                proportional = int(line.split()[1]) * 1024
    return resident, proportional
