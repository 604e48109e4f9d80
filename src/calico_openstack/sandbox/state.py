"""What is remembered of a running sandbox: its spec, its passwords, its processes.

One file per thing, each written whole, each *before* the thing is relied on; so after a crash at any instant the next
command finds what there is to clean. All of it is below /run, which a reboot empties together with the namespaces.

    <directory>/spec.json   secrets.json (0600)   ready        (there when `up` has finished)
    <directory>/processes/<place>-<program>.json  what was started and how, so that it can be started again
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import msgspec

from calico_openstack.sandbox.layout import STATE_ROOT, Layout
from calico_openstack.sandbox.processes import Process, children_of, end, group_of, spawn
from calico_openstack.sandbox.secrets import Secrets, load_secrets, make_secrets, save_secrets
from calico_openstack.sandbox.spec import Spec
from calico_openstack.sandbox.spec_file import from_plain, to_plain
from calico_openstack.sandbox.steps import Start, command_line

# What systemd does with Restart=always, RestartSec=1.
SUPERVISOR = (
    *("sh", "-c", 'while :; do "$@"; echo "ended with exit status $?, starting again in 1 s" >&2; sleep 1; done'),
    "supervisor",
)


class SandboxError(Exception):
    """Something that the user should read; the text says what to do."""


class StartRecord(msgspec.Struct, frozen=True):
    """How a process was started, and as which; for a supervised one that is the supervisor."""

    start: Start
    process: Process

    @property
    def program(self) -> Process:
        """The program itself; for a supervised one that is between two starts, its supervisor."""
        children = children_of([self.process.pid]) if self.start.supervised and self.process.alive else []
        return children[0] if children else self.process

    def stop(self, limit: float, first: int = SIGTERM) -> None:
        """Ends the program with the signal `first`, SIGKILL after `limit` seconds; before all else its supervisor."""
        if self.start.supervised:
            programs = children_of([self.process.pid]) if self.process.alive else []
            self.process.signal(SIGKILL)
            # One it may have started in the meantime has our process group.
            end(programs, limit, first)
            end(group_of(self.process.pid), limit, first)
        end([self.process], limit, first)


@dataclass(frozen=True, slots=True)
class State:
    layout: Layout

    def prepare(self, spec: Spec) -> Secrets:
        """Makes the directory with the spec and fresh secrets."""
        self.layout.directory.mkdir(parents=True, exist_ok=True)
        self.save_spec(spec)
        secrets = make_secrets()
        save_secrets(secrets, self.layout.directory / "secrets.json")
        return secrets

    def save_spec(self, spec: Spec) -> None:
        write_whole(self.layout.directory / "spec.json", json.dumps(to_plain(spec), indent=1))

    def spec(self) -> Spec:
        """The spec of the running sandbox. Raises SandboxError when there is none."""
        try:
            return from_plain(json.loads((self.layout.directory / "spec.json").read_text()))
        except FileNotFoundError:
            others = [name for name in names(self.layout.root) if name != self.layout.name]
            cure = f"choose one that there is with --name ({', '.join(others)}), or " if others else ""
            raise SandboxError(
                f"there is no sandbox called {self.layout.name!r}; {cure}start one with: "
                f"calico-openstack sandbox up --name {self.layout.name}"
            ) from None

    def secrets(self) -> Secrets:
        return load_secrets(self.layout.directory / "secrets.json")

    @property
    def exists(self) -> bool:
        return self.layout.directory.is_dir()

    @property
    def ready(self) -> bool:
        return (self.layout.directory / "ready").exists()

    def mark_ready(self) -> None:
        write_whole(self.layout.directory / "ready", "")

    def start(self, step: Start) -> Process:
        """Starts a process and remembers it."""
        argv = command_line((*SUPERVISOR, *step.argv) if step.supervised else step.argv, step.namespace)
        process = spawn(step.name, argv, step.log, dict(step.environment))
        write_whole(
            self._record(step.name), msgspec.json.encode(StartRecord(step, process), enc_hook=str).decode(), 0o600
        )
        return process

    def record(self, name: str) -> StartRecord:
        """How and as which process `<place>/<program>` was started. Raises SandboxError when it never was."""
        try:
            text = self._record(name).read_bytes()
        except FileNotFoundError:
            known = ", ".join(record.process.name for record in self.records())
            raise SandboxError(f"there is no process {name!r}; use one of {known}") from None
        return msgspec.json.decode(text, type=StartRecord, dec_hook=_decode_path)

    def records(self) -> list[StartRecord]:
        return list(self.readable_records())

    def readable_records(self) -> Iterator[StartRecord]:
        """The records that can be read: a crash may have left half a file, and cleaning must not stop at it."""
        directory = self.layout.directory / "processes"
        for file in sorted(directory.glob("*.json")) if directory.is_dir() else []:
            with suppress(msgspec.DecodeError, msgspec.ValidationError, OSError):
                yield msgspec.json.decode(file.read_bytes(), type=StartRecord, dec_hook=_decode_path)

    def forget(self, name: str) -> None:
        self._record(name).unlink(missing_ok=True)

    def _record(self, name: str) -> Path:
        return self.layout.directory / "processes" / f"{name.replace('/', '-')}.json"


def _decode_path(kind: type, value: Any) -> Any:
    return Path(value) if kind is Path else value


def write_whole(path: Path, content: str, mode: int = 0o644) -> None:
    """Writes a file so that readers see the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
    temporary.rename(path)


def names(root: Path = STATE_ROOT) -> list[str]:
    """The sandboxes that have a state directory."""
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Only one `up` or `down` per sandbox at a time. Raises SandboxError when another is at work."""
    layout.root.mkdir(parents=True, exist_ok=True)
    with layout.lock.open("a") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise SandboxError(
                f"another command is building or removing sandbox {layout.name!r}; wait for it"
            ) from None
        yield
