"""What a killed or interrupted `up` leaves, and who removes it. The real command, in its own process."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.namespaces import existing
from calico_openstack.sandbox.remove import left_overs
from calico_openstack.sandbox.state import State

pytestmark = pytest.mark.root
COMMAND = str(Path(sys.prefix) / "bin" / "calico-openstack")


def begin(name: str) -> subprocess.Popen[str]:
    """`up` in the background, far enough that processes run and namespaces are there."""
    child = subprocess.Popen(
        [COMMAND, "sandbox", "up", "--light", "--name", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(lambda: f"{name}-h1" in existing() and any(r.process.alive for r in State(Layout(name)).records()))
    return child


def wait_until(condition: Callable[[], bool], limit: float = 60.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def down(name: str) -> None:
    subprocess.run([COMMAND, "sandbox", "down", "--name", name], check=True, capture_output=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_up_takes_everything_down_itself(name: str, number: int) -> None:
    with begin(name) as child:
        child.send_signal(number)
        output, _ = child.communicate(timeout=60)

    assert child.returncode == 130
    assert "interrupted" in output
    assert left_overs(Layout(name)) == []


def test_what_a_killed_up_left_is_removed_by_down(name: str) -> None:
    with begin(name) as child:
        child.kill()
    assert [item for item in left_overs(Layout(name)) if item.startswith("namespace")]
    assert [item for item in left_overs(Layout(name)) if item.startswith("process")]

    down(name)

    assert left_overs(Layout(name)) == []


def test_down_finds_namespaces_and_processes_by_name_when_the_records_are_lost(name: str) -> None:
    with begin(name) as child:
        child.kill()
    directory = Layout(name).directory
    # More than once: what still runs writes into it.
    wait_until(lambda: shutil.rmtree(directory, ignore_errors=True) or not directory.exists())

    down(name)

    assert left_overs(Layout(name)) == []


def test_the_next_up_says_what_it_removes_first(name: str) -> None:
    with begin(name) as child:
        child.kill()
    left = left_overs(Layout(name))

    with begin_again(name) as again:
        again.send_signal(signal.SIGINT)
        output, _ = again.communicate(timeout=60)

    assert any("namespace" in item for item in left)
    assert "removed left-over" in output or "interrupted" in output
    assert left_overs(Layout(name)) == []


def begin_again(name: str) -> subprocess.Popen[str]:
    old = {record.process.pid for record in State(Layout(name)).records()}
    child = subprocess.Popen(
        [COMMAND, "sandbox", "up", "--light", "--name", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(lambda: any(r.process.alive and r.process.pid not in old for r in State(Layout(name)).records()))
    return child


def test_a_second_sandbox_is_not_touched_by_the_first_ones_down(name: str) -> None:
    other = f"{name}x"
    subprocess.run(["ip", "netns", "add", f"{other}-h1"], check=True)
    try:
        with begin(name) as child:
            child.kill()

        down(name)

        assert f"{other}-h1" in existing()
    finally:
        subprocess.run(["ip", "netns", "delete", f"{other}-h1"], check=False)


def test_a_stage_that_fails_ends_in_one_message_with_the_log_and_nothing_left(name: str, tmp_path: Path) -> None:
    # A program of that name that fails stands before the real one on the path.
    fake = tmp_path / "etcd"
    fake.write_text("#!/bin/sh\necho cannot do that\nexit 1\n")
    fake.chmod(0o755)

    result = subprocess.run(
        [COMMAND, "sandbox", "up", "--light", "--name", name],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        timeout=120,
    )

    assert result.returncode == 1
    assert "Error: etcd: wait until" in result.stderr
    assert "| cannot do that" in result.stderr
    assert left_overs(Layout(name)) == []
    kept = Layout(name).kept_logs
    assert "cannot do that" in (kept / "ctl-etcd.log").read_text()
    down(name)
    assert not kept.exists()
