import sys
import threading
import time
from pathlib import Path

import pytest

from calico_openstack.sandbox.execute import Executor
from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.processes import end
from calico_openstack.sandbox.progress import Silent
from calico_openstack.sandbox.spec import Guest
from calico_openstack.sandbox.state import SandboxError, State
from calico_openstack.sandbox.steps import (
    Boot,
    Copy,
    Directory,
    FileThere,
    Run,
    Stage,
    Start,
    Step,
    Stop,
    Succeeds,
    Wait,
    Write,
)

PYTHON = sys.executable


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(Layout("t", root=tmp_path / "run", cache=tmp_path / "cache"))


def execute(state: State, *stages: Stage) -> list[Step]:
    """Runs a plan; returns the steps that were handed to the cloud."""
    cloud: list[Step] = []
    Executor(state, Silent(), lambda step, _: cloud.append(step)).run(stages)
    return cloud


def touch(path: Path) -> Run:
    return Run(("touch", str(path)))


def test_stages_begin_when_what_they_need_is_done(state: State, tmp_path: Path) -> None:
    source = tmp_path / "a" / "source"

    execute(
        state,
        Stage("second", (Copy(source.parent, tmp_path / "b"),), needs=("first",)),
        Stage("first", (Directory(source.parent), Write(source, "text\n", 0o600))),
    )

    assert (tmp_path / "b" / "source").read_text() == "text\n"
    assert (tmp_path / "b" / "source").stat().st_mode & 0o777 == 0o600


def test_stages_that_do_not_need_each_other_run_side_by_side(state: State, tmp_path: Path) -> None:
    # Each waits for what the other makes: one after the other would never end.
    execute(
        state,
        Stage("one", (touch(tmp_path / "one"), Wait(FileThere(tmp_path / "two"), 10))),
        Stage("two", (touch(tmp_path / "two"), Wait(FileThere(tmp_path / "one"), 10))),
    )


def test_a_failed_command_names_stage_step_and_what_it_said(state: State, tmp_path: Path) -> None:
    never = tmp_path / "never"

    with pytest.raises(SandboxError) as caught:
        execute(
            state,
            Stage("breaking", (Run(("sh", "-c", "echo it is broken; exit 3")), touch(never))),
            Stage("after", (touch(never),), needs=("breaking",)),
        )

    text = str(caught.value)
    assert text.startswith("breaking: sh -c")
    assert "exit status 3" in text
    assert "| it is broken" in text
    assert not never.exists()


def test_a_failure_ends_commands_that_run_in_other_stages(state: State, tmp_path: Path) -> None:
    started = time.monotonic()
    flag = tmp_path / "running"

    with pytest.raises(SandboxError, match="breaking"):
        execute(
            state,
            Stage("long", (Run(("sh", "-c", f"touch {flag}; exec sleep 60")),)),
            Stage("breaking", (Wait(FileThere(flag), 10), Run(("false",)))),
        )

    assert time.monotonic() - started < 30


def test_waiting_for_a_process_that_ended_fails_at_once_with_its_log(state: State, tmp_path: Path) -> None:
    log = tmp_path / "program.log"
    start = Start("ctl/program", ("sh", "-c", "echo no such option; exit 1"), log)

    with pytest.raises(SandboxError) as caught:
        execute(state, Stage("program", (start, Wait(FileThere(tmp_path / "never"), 60, "ctl/program"))))

    assert "ctl/program ended" in str(caught.value)
    assert "| no such option" in str(caught.value)


def test_a_wait_gives_up_after_its_limit(state: State, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"not within 0\.2 s"):
        execute(state, Stage("slow", (Wait(FileThere(tmp_path / "never"), 0.2),)))


def test_a_started_process_is_recorded_before_anybody_relies_on_it_and_can_be_stopped(
    state: State, tmp_path: Path
) -> None:
    start = Start("ctl/sleeper", ("sleep", "60"), tmp_path / "log")
    execute(state, Stage("start", (start,)))
    record = state.record("ctl/sleeper")

    try:
        assert record.start == start
        assert record.process.alive
    finally:
        end([record.process], 5)
    assert not record.process.alive

    execute(state, Stage("stop", (Stop("ctl/sleeper"),)))

    assert state.records() == []


def test_conditions_may_be_commands(state: State, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    timer = threading.Timer(0.2, flag.touch)
    timer.start()

    execute(state, Stage("wait", (Wait(Succeeds(("test", "-e", str(flag))), 10),)))

    assert flag.exists()


def test_input_and_environment_reach_the_command(state: State, tmp_path: Path) -> None:
    target = tmp_path / "out"

    execute(
        state,
        Stage("run", (Run(("sh", "-c", f'cat > {target}; echo "$WORD" >> {target}'), None, (("WORD", "b"),), "a\n"),)),
    )

    assert target.read_text() == "a\nb\n"


def test_steps_for_the_cloud_are_handed_on(state: State) -> None:
    step = Boot((Guest("g1", "h1", "net1"),))

    assert execute(state, Stage("guests", (step,))) == [step]


def test_a_plan_that_can_never_be_finished_is_refused(state: State) -> None:
    with pytest.raises(SandboxError, match="wait for stages that are not there: two"):
        execute(state, Stage("one", ()), Stage("two", (), needs=("three",)))
