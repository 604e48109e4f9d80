"""Carries a plan out: stages side by side where they may be, steps of one stage in order.

What it promises: when a step fails or the user interrupts, no further step begins, running commands are ended, and the
error names the stage, the step and the last lines of the log that tells why. Cleaning up is the caller's: everything
that was begun is in the state or findable by name (see `remove`).
"""

import http.client
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from urllib.parse import urlsplit

from calico_openstack.sandbox import steps as do
from calico_openstack.sandbox.namespaces import NamespaceConnection
from calico_openstack.sandbox.progress import Progress
from calico_openstack.sandbox.state import SandboxError, State, write_whole

# Two cores: more than a few stages at once only slow each other down.
SIDE_BY_SIDE = 6


class Interrupted(Exception):
    """Another stage failed, or the user wants to stop."""


class Executor:
    """Runs plans for one sandbox.

    `cloud_step` does the steps that speak to Keystone and Neutron; it is also told how to see that it should give up.
    """

    def __init__(
        self, state: State, progress: Progress, cloud_step: Callable[[do.Step, Callable[[], bool]], None]
    ) -> None:
        self._state = state
        self._progress = progress
        self._cloud_step = cloud_step
        self._stop = threading.Event()

    def run(self, plan: do.Plan) -> None:
        """Runs all stages. Raises SandboxError for the first failure, KeyboardInterrupt on Ctrl-C."""
        left = {stage.title: stage for stage in plan}
        done: set[str] = set()
        running: dict[Future[None], str] = {}
        self._progress.begin([stage.title for stage in plan])
        with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="stage") as pool:
            try:
                while left or running:
                    for stage in [stage for stage in left.values() if done.issuperset(stage.needs)]:
                        running[pool.submit(self._run_stage, stage)] = stage.title
                        del left[stage.title]
                    if not running:
                        raise SandboxError(f"stages wait for stages that are not there: {', '.join(left)}")
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        title = running.pop(future)
                        future.result()
                        done.add(title)
            except BaseException:
                self._stop.set()
                raise

    def _run_stage(self, stage: do.Stage) -> None:
        self._progress.started(stage.title)
        for number, step in enumerate(stage.steps, 1):
            if self._stop.is_set():
                raise Interrupted
            self._progress.step(stage.title, number, len(stage.steps), str(step))
            try:
                self._run_step(step)
            except Interrupted:
                raise
            except Exception as error:
                self._progress.failed(stage.title)
                raise SandboxError(f"{stage.title}: {step}\n{error}") from error
        self._progress.finished(stage.title)

    def _run_step(self, step: do.Step) -> None:
        match step:
            case do.Run():
                self._command(step)
            case do.Directory():
                step.path.mkdir(parents=True, exist_ok=True)
                step.path.chmod(step.mode)
                if step.owner:
                    shutil.chown(step.path, step.owner)
            case do.Write():
                write_whole(step.path, step.content, step.mode)
                if step.owner:
                    shutil.chown(step.path, step.owner)
            case do.Copy():
                copied = do.Run(("cp", "-a", "--reflink=auto", "-T", str(step.source), str(step.target)))
                self._command(copied)
            case do.Start():
                self._state.start(step)
            case do.Stop():
                self._state.record(step.name).stop(step.limit)
                self._state.forget(step.name)
            case do.Wait():
                self._wait(step)
            case _:
                self._cloud_step(step, self._stop.is_set)

    def _command(self, step: do.Run) -> None:
        """Runs a command; an interrupt ends it. Raises SandboxError with what it said."""
        with subprocess.Popen(
            do.command_line(step.argv, step.namespace),
            stdin=subprocess.PIPE if step.stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, **dict(step.environment)},
        ) as child:
            text = step.stdin
            while True:
                try:
                    output, _ = child.communicate(text, timeout=0.5)
                    break
                except subprocess.TimeoutExpired:
                    text = None
                    if self._stop.is_set():
                        child.kill()
                        raise Interrupted from None
        if child.returncode != 0:
            raise SandboxError(f"exit status {child.returncode}\n{_tail(output)}")

    def _wait(self, step: do.Wait) -> None:
        deadline = time.monotonic() + step.limit
        while not holds(step.condition):
            if step.process is not None:
                record = self._state.record(step.process)
                if not record.process.alive:
                    raise SandboxError(f"{step.process} ended\n{log_tail(record.start.log)}")
            if time.monotonic() > deadline:
                tail = log_tail(self._state.record(step.process).start.log) if step.process else ""
                raise SandboxError(f"not within {step.limit:g} s\n{tail}")
            if self._stop.wait(0.05):
                raise Interrupted


def holds(condition: do.Condition) -> bool:
    """Whether a condition is true now."""
    match condition:
        case do.FileThere(path):
            return path.exists()
        case do.SocketOpen(path):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(1.0)
                try:
                    probe.connect(str(path))
                except OSError:
                    return False
            return True
        case do.HttpAnswers(namespace, url):
            return _http_answers(namespace, url)
        case do.Succeeds(argv, namespace, environment):
            result = subprocess.run(
                do.command_line(argv, namespace),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env={**os.environ, **dict(environment)},
                check=False,
            )
            return result.returncode == 0


def _http_answers(namespace: str, url: str) -> bool:
    parts = urlsplit(url)
    # Short, so that an interrupt is heard soon: a uWSGI that is loading its application accepts, and answers later.
    connection = NamespaceConnection(namespace, parts.hostname or "", parts.port or 80, timeout=3.0)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def log_tail(path: Path, lines: int = 20) -> str:
    """The end of a log, indented under its name."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return f"(there is no log {path})"
    return f"{path} ends with:\n{_tail(text, lines)}"


def _tail(text: str, lines: int = 20) -> str:
    return "\n".join(f"    | {line}" for line in text.splitlines()[-lines:])
