from pathlib import Path

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
