"""A selector means what its text says, however it is spelled: held to an evaluation without parser and tree."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.model.selector import conjunction, negation, parse

LABELS = ("a", "in", "has", "not", "projectcalico.org/name-space", "0_x")
VALUES = ("", "x", "xy", "yx", "it's", 'say "x"', "in {")

Meaning = Callable[[Mapping[str, str]], bool]


class Spelled(NamedTuple):
    """One of the texts of a selector, and what it means."""

    text: str
    meaning: Meaning


def quoted(value: str, double: bool) -> str:
    if "'" in value or (double and '"' not in value):
        return f'"{value}"'
    return f"'{value}'"


blanks = st.sampled_from(("", " ", "\t", "  "))
gaps = st.sampled_from((" ", "\t", " \t "))
labels = st.sampled_from(LABELS)
maps = st.dictionaries(labels, st.sampled_from(VALUES), max_size=4)


@st.composite
def comparisons(draw: st.DrawFn) -> Spelled:
    label, value, before, after = draw(labels), draw(st.sampled_from(VALUES)), draw(blanks), draw(blanks)
    operator = draw(st.sampled_from(("==", "!=", "contains", "starts with", "ends with")))
    if operator[0].isalpha():
        before = draw(gaps)
        spelling = operator.replace(" ", draw(blanks))
    else:
        spelling = operator
    meanings: dict[str, Meaning] = {
        "==": lambda found: label in found and found[label] == value,
        "!=": lambda found: not (label in found and found[label] == value),
        "contains": lambda found: label in found and value in found[label],
        "starts with": lambda found: label in found and found[label][: len(value)] == value,
        "ends with": lambda found: (
            label in found
            and found[label][len(found[label]) - len(value) :] == value
            and len(found[label]) >= len(value)
        ),
    }
    return Spelled(f"{label}{before}{spelling}{after}{quoted(value, draw(st.booleans()))}", meanings[operator])


@st.composite
def memberships(draw: st.DrawFn) -> Spelled:
    label, values = draw(labels), draw(st.lists(st.sampled_from(VALUES), max_size=3))
    positive = draw(st.booleans())
    word = "in" if positive else f"not{draw(blanks)}in"
    texts = [quoted(value, draw(st.booleans())) for value in values]
    comma = "," if values and draw(st.booleans()) else ""
    text = f"{label}{draw(gaps)}{word}{draw(blanks)}{{{f',{draw(blanks)}'.join(texts)}{comma}}}"
    return Spelled(text, lambda found: (label in found and found[label] in values) is positive)


@st.composite
def words(draw: st.DrawFn) -> Spelled:
    label, inner = draw(labels), draw(blanks)
    return draw(
        st.sampled_from(
            (
                Spelled(f"has({inner}{label}{inner})", lambda found: label in found),
                Spelled(f"all({inner})", lambda found: True),
                Spelled(f"global({inner})", lambda found: True),
            )
        )
    )


def negated(inner: Spelled, marks: int, blank: str) -> Spelled:
    # `!` binds to the next primary only, so whatever is longer gets parentheses.
    text = f"{'!' * marks}{blank}({inner.text})"
    return Spelled(text, lambda found: inner.meaning(found) is (marks % 2 == 0))


def joined(parts: list[tuple[bool, Spelled]], first: Spelled) -> Spelled:
    """`first && b || c ...` without parentheses around the whole: `&&` binds tighter."""
    text, alternatives = first.text, [[first.meaning]]
    for both, part in parts:
        text += f" {'&&' if both else '||'} {part.text}"
        if both:
            alternatives[-1].append(part.meaning)
        else:
            alternatives.append([part.meaning])
    return Spelled(text, lambda found: any(all(one(found) for one in group) for group in alternatives))


atoms = st.one_of(comparisons(), memberships(), words())
spelled = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds(negated, inner, st.integers(1, 3), blanks),
        st.builds(
            joined,
            st.lists(st.tuples(st.booleans(), inner.map(lambda s: Spelled(f"({s.text})", s.meaning))), max_size=3),
            inner.map(lambda s: Spelled(f"({s.text})", s.meaning)),
        ),
        st.builds(joined, st.lists(st.tuples(st.booleans(), atoms), max_size=3), atoms),
    ),
    max_leaves=8,
)


@given(spelled, st.lists(maps, min_size=1, max_size=6))
def test_a_selector_matches_what_its_text_says(selector: Spelled, labelled: list[dict[str, str]]) -> None:
    parsed = parse(selector.text)

    for found in labelled:
        assert parsed.matches(found) is selector.meaning(found), (parsed.canonical, found)


@given(spelled)
def test_a_canonical_text_is_its_own_canonical_text(selector: Spelled) -> None:
    parsed = parse(selector.text)
    again = parse(parsed.canonical)

    assert (again, again.canonical, again.unique_id) == (parsed, parsed.canonical, parsed.unique_id)


@given(spelled, spelled, maps)
def test_selectors_put_together_mean_both_and_the_opposite(one: Spelled, two: Spelled, found: dict[str, str]) -> None:
    first, second = parse(one.text), parse(two.text)

    assert conjunction(first, second).matches(found) is (one.meaning(found) and two.meaning(found))
    assert negation(first).matches(found) is not one.meaning(found)
    assert parse(conjunction(first, negation(second)).canonical) == conjunction(first, negation(second))
