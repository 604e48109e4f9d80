import pytest

from calico_openstack.model.selector import SelectorError, conjunction, negation, parse

LABELS = {"env": "prod", "role": "web-server", "in": "x", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matched"),
    [
        ("", True),
        (" \t", True),
        ("all()", True),
        ("global()", True),
        ("has(env)", True),
        ("has( env )", True),
        ("has(nothing)", False),
        ("env == 'prod'", True),
        ('env == "prod"', True),
        ("env=='test'", False),
        ("env != 'test'", True),
        ("nothing != 'x'", True),
        ("nothing == ''", False),
        ("empty == ''", True),
        ("env in {'prod', 'test'}", True),
        ("env in {'prod',}", True),
        ("env in {}", False),
        ("nothing in {'x'}", False),
        ("env not in {'test'}", True),
        ("env notin {'prod'}", False),
        ("nothing not in {'x'}", True),
        ("role contains 'b-s'", True),
        ("nothing contains ''", False),
        ("role starts with 'web'", True),
        ("role startswith 'server'", False),
        ("role ends   with 'server'", True),
        ("!has(env)", False),
        ("!!has(env)", True),
        ("!env == 'test'", True),
        ("!nothing != 'x'", False),
        ("has(env) && has(nothing)", False),
        ("has(nothing) || has(env)", True),
        ("has(env) || has(env) && has(nothing)", True),
        ("(has(env) || has(env)) && has(nothing)", False),
        ("in in {'x'}", True),
        ("in == 'x'", True),
    ],
)
def test_a_selector_matches_labels_as_upstream_does(text: str, matched: bool) -> None:
    assert parse(text).matches(LABELS) is matched


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", "all()"),
        ("a=='b'", 'a == "b"'),
        ("a == 'say \"x\"'", "a == 'say \"x\"'"),
        ("a in {'z','a','z'}", 'a in {"a", "z"}'),
        ("a notin{'z'}", 'a not in {"z"}'),
        ("has(a)&&has(b)&&has(c)", "(has(a) && has(b) && has(c))"),
        ("has(a)||has(b)&&!has(c)", "(has(a) || (has(b) && !has(c)))"),
        ("((has(a)))", "has(a)"),
        ("a startswith 'x'", 'a starts with "x"'),
        ("!!!all()", "!all()"),
    ],
)
def test_the_canonical_text_is_upstreams(text: str, canonical: str) -> None:
    assert parse(text).canonical == canonical
    assert parse(canonical).canonical == canonical


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("a", 1),
        ("a =", 2),
        ("a = 'b'", 2),
        ("a == b", 5),
        ("a == 'b", 5),
        ("a == 'b' &", 9),
        ("a == 'b' && ", 12),
        ("a == 'b' c == 'd'", 9),
        ("(a == 'b'", 9),
        ("a == 'b')", 8),
        ("a in 'b'", 5),
        ("a in {,}", 6),
        ("a in {'b' 'c'}", 10),
        ("has ('a')", 4),
        ("has('a')", 4),
        ("has()", 4),
        ("all ()", 4),
        ("a\n== 'b'", 1),
        ("a == 'b' # x", 9),
        ("anotin{'b'}", 6),
    ],
)
def test_what_is_no_selector_is_refused_with_its_position(text: str, position: int) -> None:
    with pytest.raises(SelectorError) as caught:
        parse(text)

    assert caught.value.position == position
    assert f"position {position}" in str(caught.value)


def test_labels_have_a_length_limit_and_nesting_has_a_depth_limit() -> None:
    assert parse(f"has({'a' * 512})").matches({"a" * 512: ""})
    with pytest.raises(SelectorError, match="longer than 512"):
        parse(f"has({'a' * 513})")
    assert parse("(" * 100 + "all()" + ")" * 100).canonical == "all()"
    with pytest.raises(SelectorError, match="nested deeper"):
        parse("(" * 5000 + "all()" + ")" * 5000)


def test_selectors_are_equal_by_meaning_text_and_usable_as_keys() -> None:
    assert parse("a in {'x','y'}") == parse("a in { 'y', 'x' }")
    assert len({parse("has(a)"), parse(" has( a )")}) == 1
    assert parse("has(a)") != "has(a)"


def test_the_unique_id_is_upstreams_hash_of_the_canonical_text() -> None:
    # printf 's:all()' | openssl dgst -sha224 -binary | base64 | tr '+/' '-_'
    assert parse(" ").unique_id == "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug"


def test_conjunction_joins_groups_and_negation_undoes_itself() -> None:
    both = conjunction(parse("has(a) && has(b)"), parse("c == 'd'"))

    assert both.canonical == '(has(a) && has(b) && c == "d")'
    assert negation(negation(both)) == both
    assert not both.matches({"a": "", "b": ""})
    assert both.matches({"a": "", "b": "", "c": "d"})
