"""What the pages for operators say is so: settings with their sections and defaults, names of figures and events."""

import re
from contextlib import suppress
from pathlib import Path

import pytest

from calico_openstack.felix.parameters import LOCAL
from calico_openstack.felix.settings import TYPED, FelixSettings

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = (ROOT / "docs/settings/felix.md").read_text()
OPERATE = (ROOT / "docs/operate.md").read_text()
SOURCE = "".join(path.read_text() for path in sorted((ROOT / "src/calico_openstack").rglob("*.py")))


def rows(text: str) -> dict[str, str]:
    """Parameter -> its default as the table has it; of a row for several, the whole cell."""
    cells = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    return {name: row[2].strip() for row in cells for name in re.findall(r"`(\w+)`", row[1])}


HOSTS_OWN, EVERYWHERE = (rows(part) for part in SETTINGS.split("From everywhere:"))


def test_every_setting_with_an_effect_is_on_the_page_where_it_belongs() -> None:
    assert HOSTS_OWN.keys() == TYPED.keys() & LOCAL
    assert EVERYWHERE.keys() == TYPED.keys() - LOCAL


@pytest.mark.parametrize("name", [*HOSTS_OWN, *EVERYWHERE])
def test_the_default_on_the_page_is_the_built_in_one(name: str) -> None:
    cell = {**HOSTS_OWN, **EVERYWHERE}[name].split(" (upstream")[0]
    said = re.findall("`([^`]+)`", cell)
    attribute = TYPED[name].attribute
    built_in = getattr(FelixSettings("host"), attribute)
    if not said or (not built_in and built_in is not False):
        assert "none" in cell or "all addresses" in cell or name == "FelixHostname"
        return
    listed = [",".join(said)] if name.startswith("Failsafe") else said
    understood = []
    for text in listed:
        with suppress(ValueError):
            understood.append(TYPED[name].convert(text))
    if isinstance(built_in, str):
        assert built_in.lower() in [str(value).lower() for value in understood]
    else:
        assert built_in in understood


def test_figures_and_log_lines_of_the_page_exist() -> None:
    figures = re.findall(r"\b(?:calico_openstack_)?felix_[a-z_]+[a-z]", OPERATE)
    families = {"kernel_table_entries": 'f"{OURS}kernel_table_{figure}"'}
    for figure in figures:
        name = figure.removeprefix("calico_openstack_felix_")
        assert families.get(name, name) in SOURCE, figure
    events = set(re.findall(r"`([a-z_]+\.[a-z_]+)\b[^`/]*`", OPERATE)) - {
        "before.rules",
        "nftables.service",
        "net.netfilter",
    }
    assert {event for event in events if f'"{event}"' not in SOURCE} == set()
