"""docs/conformance.md and the tests that it names say the same: nothing there is claimed that no test carries."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text()

LIST = {"S": 1, "C": 11, "D": 3, "P": 24, "A": 4, "H": 12, "R": 15, "N": 3, "Q": 6, "K": 11}
"""How many lines each section of the list has."""

IDS = {f"{letter}{number}" for letter, count in LIST.items() for number in range(1, count + 1)}
ROW = re.compile(r"^\| ([A-Z]\d+) \| (.+?) \| (.+) \|$", re.MULTILINE)
NAMED = re.compile(r"`(\S+\.py)`: ((?:`\w+`(?:, )?)+)")


def shown() -> dict[str, set[tuple[str, str]]]:
    """By ID: the tests that the page names, as (file below tests, function)."""
    found: dict[str, set[tuple[str, str]]] = {}
    for name, _, where in ROW.findall(PAGE.partition("## Left out")[0]):
        assert name not in found, f"{name} is on the page twice"
        found[name] = {
            (file, function) for file, functions in NAMED.findall(where) for function in re.findall(r"\w+", functions)
        }
    return found


def left_out() -> dict[str, str]:
    """By ID: the reason."""
    return {name: reason for name, _, reason in ROW.findall(PAGE.partition("## Left out")[2])}


def marked() -> dict[str, set[tuple[str, str]]]:
    """By ID: the tests that carry it. Nothing is imported for this."""
    found: dict[str, set[tuple[str, str]]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path == Path(__file__):
            continue
        for function, name in _marks(ast.parse(path.read_text())):
            found.setdefault(name, set()).add((str(path.relative_to(ROOT / "tests")), function))
    return found


def _marks(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Pairs of test function and ID: marks of the function, and those of the whole file (`pytestmark`)."""
    tests = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    used = 0
    for test in tests:
        for decorator in test.decorator_list:
            for name in _ids(decorator):
                used += 1
                yield test.name, name
    for node in module.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            for name in _ids(node.value):
                used += 1
                yield from ((test.name, name) for test in tests)
    assert used == len(list(_ids(module))), "a mark sits where pytest or this test does not see it"


def _ids(node: ast.AST) -> Iterator[str]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.conformance":
            yield from map(ast.literal_eval, call.args)


def test_every_line_of_the_list_is_either_shown_or_left_out_with_a_reason() -> None:
    assert set(shown()) | set(left_out()) == IDS
    assert set(shown()) & set(left_out()) == set()
    assert all(len(reason) > 20 for reason in left_out().values())


def test_the_page_names_exactly_the_tests_that_carry_an_id() -> None:
    page, tests = shown(), marked()

    wrong = {name for name in page | tests.keys() if page.get(name, set()) != tests.get(name, set())}

    assert wrong == set(), "\n".join(
        f"{name}: the page has {sorted(page.get(name, ()))}, the tests {sorted(tests.get(name, ()))}" for name in wrong
    )
    assert all(page.values()), "an ID that is shown has a test"
