import re
from pathlib import Path

from calico_openstack.sandbox.plan.etcd import RIGHTS
from calico_openstack.sandbox.spec_file import read_spec

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sandbox.md"


def test_the_example_cloud_of_the_page_is_a_valid_spec() -> None:
    example = PAGE.read_text().split("```yaml")[1].split("```")[0]

    spec = read_spec(example)

    assert [guest.name for guest in spec.guests] == ["web-1", "client"]


def test_every_verb_is_on_the_page() -> None:
    from calico_openstack.sandbox.commands import sandbox

    page = PAGE.read_text()

    assert [verb for verb in sandbox.commands if f"sandbox {verb}" not in page] == []


def test_the_rights_in_the_sandbox_are_those_that_the_installation_asks_for() -> None:
    rows = [line for line in (PAGE.parent / "install.md").read_text().splitlines() if line.startswith("| `")]

    asked = {
        row.split("|")[1].strip(" `"): {
            (right, prefix)
            for right, cell in zip(("readwrite", "read"), row.split("|")[2:4], strict=True)
            for prefix in re.findall("`([^`]+)`", cell)
        }
        for row in rows
    }

    assert {user: set(rights) for user, rights in RIGHTS.items()} == asked
