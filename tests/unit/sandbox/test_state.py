import signal
from pathlib import Path

import pytest

from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.spec import Spec, spread
from calico_openstack.sandbox.state import SandboxError, State, locked, names, write_whole
from calico_openstack.sandbox.steps import Start
from calico_openstack.sandbox.waiting import eventually


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(Layout("t", root=tmp_path / "run"))


def test_spec_and_secrets_survive_the_command_that_made_them(state: State) -> None:
    spec = Spec(name="t", guests=spread(3, 2))

    secrets = state.prepare(spec)

    assert state.spec() == spec
    assert state.secrets() == secrets


def test_secrets_are_fresh_and_for_root_only(state: State) -> None:
    first = state.prepare(Spec(name="t"))
    second = state.prepare(Spec(name="t"))

    assert first.database != second.database
    assert len(set(first.__getstate__())) == len(first.__getstate__())  # type: ignore[attr-defined]
    assert (state.layout.directory / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_no_sandbox_is_said_with_the_cure(state: State) -> None:
    with pytest.raises(SandboxError, match="sandbox up --name t"):
        state.spec()


def test_half_a_record_does_not_hide_the_others(state: State) -> None:
    directory = state.layout.directory / "processes"
    write_whole(directory / "h1-felix.json", '{"start": {"na')

    assert state.records() == []


def test_an_unknown_process_is_answered_with_those_there_are(state: State) -> None:
    with pytest.raises(SandboxError, match="there is no process 'h1/felx'"):
        state.record("h1/felx")


def test_two_commands_do_not_build_the_same_sandbox(state: State) -> None:
    with locked(state.layout), pytest.raises(SandboxError, match="another command"), locked(state.layout):
        pass
    with locked(state.layout):
        pass


def test_sandboxes_are_listed_by_name(tmp_path: Path) -> None:
    for name in ("b", "a"):
        State(Layout(name, root=tmp_path / "run")).prepare(Spec(name=name))

    assert names(tmp_path / "run") == ["a", "b"]
    assert names(tmp_path / "nowhere") == []


def test_a_supervised_program_is_started_again_until_it_is_stopped(state: State, tmp_path: Path) -> None:
    log = tmp_path / "log"
    state.start(Start("h1/felix", ("sleep", "60"), log, supervised=True))
    record = state.record("h1/felix")
    try:
        first = eventually(lambda: record.program if record.program.pid != record.process.pid else None)

        first.signal(signal.SIGKILL)
        second = eventually(
            lambda: record.program if record.program.pid not in (record.process.pid, first.pid) else None
        )

        assert "starting again" in log.read_text()
        record.stop(limit=5)
        assert not record.process.alive
        assert not second.alive
    finally:
        record.stop(limit=0.1, first=signal.SIGKILL)
