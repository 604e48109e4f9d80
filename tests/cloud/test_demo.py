"""The front door itself: `calico-openstack sandbox demo`, as ./demo calls it."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.remove import left_overs, remove

pytestmark = [pytest.mark.root, pytest.mark.slow]
COMMAND = [str(Path(sys.prefix) / "bin" / "calico-openstack"), "sandbox"]


@pytest.fixture
def name() -> Iterator[str]:
    name = f"dm{os.getpid()}"
    yield name
    remove(Layout(name))


def test_the_demo_shows_everything_and_leaves_nothing(name: str) -> None:
    result = subprocess.run(
        [*COMMAND, "demo", "--name", name], capture_output=True, text=True, check=False, timeout=280
    )

    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    checks = [line for line in lines if line.startswith(("✓", "✗"))]
    assert len(checks) >= 12
    assert [line for line in checks if line.startswith("✗")] == []
    for words in ("no rule", "rule added by API", "rule removed by API", "ports ACTIVE", "agents alive", "proto bird"):
        assert words in result.stdout
    # `openstack network agent list` said so itself, for three agents on each of two hosts.
    assert len(re.findall(r"\| h[12] .*:-\)", result.stdout)) == 6
    assert "Everything is taken down again" in result.stdout
    assert left_overs(Layout(name)) == []


def test_a_kept_demo_stays_up_and_the_suggested_commands_work(name: str) -> None:
    kept = subprocess.run(
        [*COMMAND, "demo", "--light", "--keep", "--name", name],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert kept.returncode == 0, kept.stdout + kept.stderr
    suggested = [
        line.split("#")[0].strip()
        for line in kept.stdout.splitlines()
        if "calico-openstack sandbox " in line and "#" in line
    ]
    assert suggested[-1].endswith(f"down --name {name}"), kept.stdout

    for command in suggested:
        # As a person would paste it, in the same directory.
        result = subprocess.run(
            shlex.split(command), capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL
        )
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    assert left_overs(Layout(name)) == []


def test_an_interrupt_while_it_shows_takes_everything_down(name: str) -> None:
    with subprocess.Popen(
        [*COMMAND, "demo", "--light", "--name", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        assert demo.stdout is not None
        output = ""
        for line in demo.stdout:
            output += line
            if line.startswith("Looking at it"):
                demo.send_signal(signal.SIGINT)
                break
        output += demo.stdout.read()

    assert demo.returncode == 130, output
    assert left_overs(Layout(name)) == []
