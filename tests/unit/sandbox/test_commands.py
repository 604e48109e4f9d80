from pathlib import Path

import pytest
from click.testing import CliRunner

from calico_openstack.sandbox.commands import sandbox


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(sandbox, list(arguments))
    return result.exit_code, result.output


def test_a_dry_run_prints_steps_and_does_nothing(tmp_path: Path) -> None:
    status, output = run("up", "--dry-run", "--name", "dryrun", "--guests", "2", "--light")

    assert status == 0
    assert "ip netns add dryrun-ctl" in output
    assert "boot g1 on h1, g2 on h2" in output
    assert not Path("/run/calico-sandbox/dryrun").exists()


def test_a_spec_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "cloud.yaml"
    file.write_text("name: filed\nhosts: 3\n")

    status, output = run("up", "--dry-run", "--spec", str(file))

    assert status == 0
    assert "ip netns add filed-h3" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("up", "--dry-run", "--hosts", "12"), "Error: hosts: 12 is out of range; use 1 to 8"),
        (("up", "--dry-run", "--name", "A"), "Error: name: 'A' is not a name here"),
        (("logs", "--name", "nosuch"), "Error: there is no sandbox called 'nosuch'"),
    ],
)
def test_a_mistake_is_answered_with_one_message(arguments: tuple[str, ...], message: str) -> None:
    status, output = run(*arguments)

    assert status == 1
    assert output.startswith(message)


def test_flags_beside_a_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "cloud.yaml"
    file.write_text("")

    status, output = run("up", "--spec", str(file), "--hosts", "3")

    assert status == 1
    assert "leave --hosts, --guests and --light out" in output
