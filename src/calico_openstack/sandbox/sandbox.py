"""A sandbox as an object: what the command line, the demo and the tests work with.

with Sandbox(Spec(hosts=2, guests=spread(4, 2))) as sandbox:
    ...                                     # up here, down at the end, whatever happens
Sandbox.open("calico")                      # one that is already up
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

import bcrypt

from calico_openstack.sandbox.client import enter_command, place_environment
from calico_openstack.sandbox.cloud import Cloud
from calico_openstack.sandbox.execute import Executor, Interrupted
from calico_openstack.sandbox.guests import Booted
from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.migrate import Migration, Moved
from calico_openstack.sandbox.plan import Circumstances, plan
from calico_openstack.sandbox.progress import Progress, Silent
from calico_openstack.sandbox.remove import left_overs, remove
from calico_openstack.sandbox.secrets import placeholder_secrets
from calico_openstack.sandbox.spec import Guest, Spec
from calico_openstack.sandbox.state import SandboxError, State, locked
from calico_openstack.sandbox.steps import Plan
from calico_openstack.sandbox.template import making, template_path


class Sandbox:
    """A cloud on this machine. Not up until `up()` or the `with` statement; `open` gives one that is."""

    def __init__(self, spec: Spec | None = None, layout: Layout | None = None) -> None:
        self.spec = spec or Spec()
        self.layout = layout or Layout(self.spec.name)
        self.state = State(self.layout)
        self._cloud: Cloud | None = None

    @classmethod
    def open(cls, name: str) -> "Sandbox":
        """The running sandbox of that name. Raises SandboxError when there is none."""
        layout = Layout(name)
        state = State(layout)
        sandbox = cls(state.spec(), layout)
        if not state.ready:
            raise SandboxError(
                f"sandbox {name!r} is not complete (its `up` is running, or was killed); "
                f"remove what is left with: calico-openstack sandbox down --name {name}"
            )
        return sandbox

    def __enter__(self) -> "Sandbox":
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    @property
    def cloud(self) -> Cloud:
        """Neutron and the guests."""
        if self._cloud is None:
            self._cloud = Cloud(self.state, self.spec, self.state.secrets())
        return self._cloud

    def plan(self) -> Plan:
        """What `up` would do on this machine now, with place-holders for the passwords."""
        template = template_path(self.layout, self.spec.mode)
        return plan(self.spec, self.layout, Circumstances(placeholder_secrets(), "<hash>", template, template.exists()))

    def up(self, progress: Progress | None = None) -> list[str]:
        """Builds it; on any failure, and on Ctrl-C, takes everything down again. Returns left-overs it removed first.

        Raises SandboxError when a sandbox of that name is running, or when a stage fails.
        """
        with locked(self.layout):
            if self.state.ready:
                raise SandboxError(
                    f"sandbox {self.layout.name!r} is up already; take it down first with: "
                    f"calico-openstack sandbox down --name {self.layout.name}"
                )
            found = left_overs(self.layout)
            if found:
                self._remove()
            try:
                self._build(progress or Silent())
            except BaseException as error:
                with _no_interrupts():
                    keep = self._remove(logs=isinstance(error, SandboxError))
                if isinstance(error, Interrupted):
                    raise KeyboardInterrupt from None
                if isinstance(error, SandboxError) and keep:
                    raise SandboxError(f"{error}\n(the logs are kept in {keep})") from error
                raise
        return found

    def _build(self, progress: Progress) -> None:
        secrets = self.state.prepare(self.spec)
        template = template_path(self.layout, self.spec.mode)
        admin_hash = bcrypt.hashpw(secrets.keystone_admin.encode(), bcrypt.gensalt(4)).decode()
        with making(template) as exists:
            circumstances = Circumstances(secrets, admin_hash, template, exists)
            Executor(self.state, progress, self.cloud.step).run(plan(self.spec, self.layout, circumstances))
        self.state.mark_ready()

    def down(self, keep_logs: bool = False) -> str:
        """Takes all of it away; returns where the logs were kept, if so. Harmless when there is nothing.

        Raises SandboxError when something would not go.
        """
        with locked(self.layout), _no_interrupts():
            return self._remove(keep_logs)

    def _remove(self, logs: bool = False) -> str:
        """Removes everything; with `logs` the logs are moved aside first, and where to is returned."""
        kept = ""
        source, target = self.layout.directory / "logs", self.layout.kept_logs
        shutil.rmtree(target, ignore_errors=True)
        if logs and source.is_dir():
            shutil.copytree(source, target)
            kept = str(target)
        left = remove(self.layout)
        self._cloud = None
        if left:
            raise SandboxError("could not be removed: " + ", ".join(left))
        return kept

    def boot(self, guest: Guest, ping: bool = False) -> Booted:
        """Boots another guest; with `ping` until the fabric router has answered it too.

        Raises SpecError when it names something that is not there.
        """
        self.spec.check_guest(guest)
        if any(existing.name == guest.name for existing in self.cloud.guests.all()):
            raise SandboxError(f"there is a guest {guest.name!r} already; choose another name")
        booted = self.cloud.guests.boot(guest, self.spec, ping=ping)
        self.spec = replace(self.spec, guests=(*(one for one in self.spec.guests if one.name != guest.name), guest))
        self.state.save_spec(self.spec)
        return booted

    def migrate(self, name: str, target: str, before_cut_over: Callable[[], None] = lambda: None) -> Moved:
        """Moves a running guest to another host, as Nova does. What `before_cut_over` raises calls it off."""
        guest = self.cloud.guests.get(name)
        wanted = Guest(guest.name, target, guest.network, guest.groups)
        self.spec.check_guest(wanted)
        moved = Migration(self.cloud.guests, guest, target, before_cut_over=before_cut_over).run()
        guests = tuple(replace(one, host=target) if one.name == name else one for one in self.spec.guests)
        self.spec = replace(self.spec, guests=guests)
        self.state.save_spec(self.spec)
        return moved

    def delete(self, name: str) -> None:
        self.cloud.guests.delete(name)
        self.spec = replace(self.spec, guests=tuple(one for one in self.spec.guests if one.name != name))
        self.state.save_spec(self.spec)

    def guest(self, name: str) -> Booted:
        return self.cloud.guests.get(name)

    @property
    def guests(self) -> list[Booted]:
        return self.cloud.guests.all()

    def stop(self, process: str, first: int = signal.SIGTERM, limit: float = 20.0) -> None:
        """Ends a process such as `h1/felix`, with SIGTERM or the signal given."""
        self.state.record(process).stop(limit, first)

    def start(self, process: str) -> None:
        """Starts it again exactly as it was started first."""
        record = self.state.record(process)
        if record.process.alive:
            raise SandboxError(f"{process} is running already (pid {record.process.pid})")
        self.state.start(record.start)

    def run(self, place: str, *command: str) -> str:
        """The output of a command run in a place. Raises SandboxError with what it complained of when it fails."""
        result = subprocess.run(
            enter_command(self.layout, self.namespace(place), place, command),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **place_environment(self.spec, self.state, place)},
        )
        if result.returncode != 0:
            raise SandboxError(f"{place}: {' '.join(command)}: {result.stderr.strip()}")
        return result.stdout

    def namespace(self, place: str) -> str:
        """The namespace of `ctl`, `fabric`, a host or a guest. Raises SandboxError for anything else."""
        if place in ("ctl", "fabric", *self.spec.host_names):
            return self.layout.namespace(place)
        guests = [guest.name for guest in self.guests]
        if place in guests:
            return self.layout.guest_namespace(place)
        known = ", ".join(("ctl", "fabric", *self.spec.host_names, *guests))
        raise SandboxError(f"there is no place {place!r}; use one of {known}")


class _no_interrupts:
    """While cleaning up, another Ctrl-C is not heard: half a cleaning would be worse than a slow one."""

    def __enter__(self) -> None:
        self._handlers: dict[int, object] = {}
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            try:
                self._handlers[number] = signal.signal(number, signal.SIG_IGN)
            except ValueError:  # not in the main thread: signals do not come here anyway
                pass

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
