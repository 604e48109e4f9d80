import subprocess
import sys

import pytest
from click.testing import CliRunner

from calico_openstack.ops import main
from calico_openstack.ops.main import VERBS


def test_help_lists_every_verb() -> None:
    result = CliRunner().invoke(main.main, ["--help"])

    assert result.exit_code == 0
    for verb in VERBS:
        assert verb in result.output


def test_help_imports_no_verb() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom calico_openstack.ops.main import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "print([name for name in sys.modules if name.startswith('calico_openstack.sandbox')])"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_a_verb_whose_packages_are_missing_says_what_to_install() -> None:
    # None in sys.modules makes the import fail as if the package were not there.
    code = (
        "import sys\nsys.modules['yaml'] = None\nfrom click.testing import CliRunner\n"
        "from calico_openstack.ops.main import main\n"
        "result = CliRunner().invoke(main, ['sandbox', '--help'])\nprint(result.exit_code, result.output)"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.startswith("1 ")
    assert "pip install 'calico-openstack[sandbox]'" in result.stdout


def test_an_unknown_verb_is_refused() -> None:
    result = CliRunner().invoke(main.main, ["sandpit"])

    assert result.exit_code == 2
    assert "No such command" in result.output


@pytest.mark.parametrize("verb", ["explain", "plan"])
def test_a_compute_hosts_verbs_need_nothing_but_its_extra(verb: str) -> None:
    foreign = ("neutron", "neutron_lib", "oslo_config", "yaml", "rich", "openstack", "hypothesis")
    code = (
        f"import sys\nfor name in {foreign!r}: sys.modules[name] = None\n"
        "from click.testing import CliRunner\nfrom calico_openstack.ops.main import main\n"
        f"print(CliRunner().invoke(main, [{verb!r}, '--help']).exit_code)"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "0"
