"""An agent as a program: exit codes, and what a wrong file says."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from calico_openstack.daemon.program import Program
from calico_openstack.daemon.run import BAD_SETTINGS, FAULT
from calico_openstack.daemon.settings import CalicoOptions, IniFile, calico_options


@dataclass
class Settings:
    calico: CalicoOptions


def program(served: list[Settings], ends: type[Exception] | None = None) -> Program[Settings]:
    async def serve(settings: Settings) -> None:
        served.append(settings)
        if ends is not None:
            raise ends("on purpose")

    return Program(
        name="calico-test-agent",
        description="For a test.",
        file="/nonexistent/default.cfg",
        groups="[DEFAULT]",
        read=lambda path: Settings(calico_options(IniFile(path))),
        serve=serve,
    )


def test_the_agent_runs_with_what_the_file_says_and_may_not_just_end(tmp_path: Path) -> None:
    config = tmp_path / "agent.cfg"
    config.write_text("[DEFAULT]\nhost = compute-07\n")
    served: list[Settings] = []

    assert program(served).main(["--config-file", str(config)]) == FAULT

    assert [settings.calico.host for settings in served] == ["compute-07"]


def test_a_missing_file_is_named_with_the_program_and_nothing_runs(capsys: pytest.CaptureFixture[str]) -> None:
    served: list[Settings] = []

    assert program(served).main([]) == BAD_SETTINGS

    assert served == []
    assert "calico-test-agent: cannot read /nonexistent/default.cfg" in capsys.readouterr().err


def test_a_fault_of_the_agent_is_the_programs_fault(tmp_path: Path) -> None:
    config = tmp_path / "agent.cfg"
    config.write_text("[DEFAULT]\nhost = compute-07\n")

    assert program([], ends=RuntimeError).main(["--config-file", str(config)]) == FAULT
