import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from calico_openstack.sandbox import processes
from calico_openstack.sandbox.processes import Process


def test_a_process_is_alive_until_it_is_ended(tmp_path: Path) -> None:
    process = processes.spawn("sleeper", ("sleep", "60"), tmp_path / "log", {})

    assert process.alive
    assert processes.end([process], limit=5) == []
    assert not process.alive


def test_one_that_ignores_sigterm_is_killed_and_named(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done"
    process = processes.spawn("stubborn", ("sh", "-c", script), tmp_path / "log", {})
    deadline = time.monotonic() + 10
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.01)

    assert processes.end([process], limit=0.3) == [process]
    assert not process.alive


def test_a_pid_that_belongs_to_somebody_else_now_is_never_signalled() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            Process("ours, long gone", other.pid, started=1).signal(signal.SIGKILL)

            assert other.poll() is None
        finally:
            other.kill()


def test_the_start_time_of_an_ended_process_is_none() -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()

    assert processes.start_time(child.pid) is None
    assert processes.start_time(os.getpid()) is not None


def test_children_are_found_through_generations(tmp_path: Path) -> None:
    code = "import subprocess; subprocess.run(['sleep', '60'])"
    parent = processes.spawn("parent", (sys.executable, "-c", code), tmp_path / "log", {})
    try:
        deadline = time.monotonic() + 10
        while not (found := processes.children_of([parent.pid])) and time.monotonic() < deadline:
            time.sleep(0.02)

        assert len(found) == 1
        assert found[0].alive
    finally:
        processes.end([*processes.children_of([parent.pid]), parent], limit=5)


def test_output_goes_to_the_log(tmp_path: Path) -> None:
    process = processes.spawn("speaker", ("sh", "-c", "echo out; echo err >&2"), tmp_path / "logs" / "log", {})
    deadline = time.monotonic() + 10
    while process.alive and time.monotonic() < deadline:
        time.sleep(0.01)

    assert sorted((tmp_path / "logs" / "log").read_text().split()) == ["err", "out"]


def test_memory_of_this_process_is_told() -> None:
    resident, proportional = processes.proportional_memory(os.getpid())

    assert 0 < proportional <= resident
    assert processes.proportional_memory(2**22 + 1) == (0, 0)
