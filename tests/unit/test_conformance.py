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
    """Pairs of test function and ID; decorators of the functions themselves only."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.conformance":
                    assert node.name.startswith("test_"), f"pytest does not collect {node.name}"
                    for argument in decorator.args:
                        yield node.name, ast.literal_eval(argument)


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
