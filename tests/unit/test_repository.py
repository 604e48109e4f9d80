"""The repository tests itself: links in pages, paths that design pages claim, files grown too long, the lock file."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(p for p in ROOT.rglob("*.md") if ".venv" not in p.parts and ".git" not in p.parts)
SOURCES = sorted((ROOT / "src").rglob("*.py"))

LONGEST = 400
"""Lines. Files should stay around 100 to 250; beyond this a file has more than one role."""


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())

    missing = [link for link in links if not (page.parent / link).exists()]

    assert missing == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs/design").glob("*.md")), ids=lambda p: p.name)
def test_a_design_page_says_which_existing_paths_it_applies_to(page: Path) -> None:
    text = page.read_text()
    found = re.search(r"Applies to[:*\s#]*(.*?)\n(?:\n?#|\n\n)", text + "\n\n", re.DOTALL)

    assert found, f"{page.name} has no 'Applies to'"
    paths = [p for p in re.findall(r"`([^`]+)`", found.group(1)) if "/" in p]
    assert paths, f"{page.name} names no path in 'Applies to'"
    assert [p for p in paths if not list(ROOT.glob(p.rstrip("/")))] == []


def test_no_source_file_is_long_unnoticed() -> None:
    long = {str(p.relative_to(ROOT)): n for p in SOURCES if (n := len(p.read_text().splitlines())) > LONGEST}

    assert long == {}


def test_every_module_opens_with_its_story() -> None:
    silent = [
        str(p.relative_to(ROOT))
        for p in SOURCES
        if (text := p.read_text().strip()) and not re.match(r'(#![^\n]*\n|#[^\n]*\n)*r?"""', text)
    ]

    assert silent == []


def test_every_room_has_a_line_in_the_design_overview() -> None:
    overview = (ROOT / "docs/design/README.md").read_text()
    rooms = [p.name for p in (ROOT / "src/calico_openstack").iterdir() if p.is_dir() and list(p.rglob("*.py"))]

    assert [room for room in rooms if room != "__pycache__" and f"`{room}/`" not in overview] == []


def test_every_direct_dependency_is_pinned_with_a_hash() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lock = (ROOT / "requirements/lock.txt").read_text()
    wanted = list(project["project"]["dependencies"]) + list(project["dependency-groups"]["dev"])
    for extra in project["project"]["optional-dependencies"].values():
        wanted += [need for need in extra if not need.startswith("calico-openstack")]

    names = [re.split(r"[^a-zA-Z0-9-]", need)[0].lower() for need in wanted]

    pinned = {name.lower() for name in re.findall(r"^(\S+?)==.*\\\n\s+--hash=sha256:", lock, re.MULTILINE)}

    assert [name for name in names if name not in pinned] == []


def test_nothing_speaks_of_a_document_that_does_not_ship() -> None:
    pages = {page.name for page in PAGES}
    texts = [*SOURCES, *(ROOT / "tests").rglob("*.py"), *PAGES]

    named = {(str(p.relative_to(ROOT)), page) for p in texts for page in re.findall(r"[\w-]+\.md\b", p.read_text())}

    assert (
        sorted((path, page) for path, page in named if page not in pages and path != "tests/unit/test_repository.py")
        == []
    )


def test_change_notes_are_one_short_paragraph() -> None:
    notes = [p for p in (ROOT / "changes").glob("*.md") if p.name != "README.md"]

    assert [p.name for p in notes if len(p.read_text().strip()) > 700 or "\n\n" in p.read_text().strip()] == []
