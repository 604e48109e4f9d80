"""Selector text as tokens.

Two context rules decide what a word is (upstream tokenizer.go): a word operator (`contains`, `in`, `not in`,
`starts with`, `ends with`) is recognised only directly after a label, and `has(`, `all(`, `global(` only when the
parenthesis follows at once. So a label may be spelled like a keyword: `in in {'a'}` is legal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

LABEL_LIMIT = 512


class SelectorError(ValueError):
    """The text is not a selector; the message names the text, the position (from 0) and what is wrong there."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        shown = text if len(text) <= 200 else f"{text[:200]}..."
        super().__init__(f"selector {shown!r}: {problem} at position {position}")
        self.position = position


class Token(NamedTuple):
    """`kind` is a symbol or word operator itself, or `label`, `string`, `has(`, `all(`, `global(`, `end`."""

    kind: str
    value: str
    position: int


_BLANK = re.compile(r"[ \t]*")
_SYMBOL = re.compile(r"==|!=|&&|\|\||[(){},!]")
_STRING = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_LABEL = re.compile(r"[A-Za-z0-9_./-]+")
_FUNCTION = re.compile(r"(has|all|global)\(")
# The last word of an operator must be followed by something that cannot continue an identifier.
_WORD = re.compile(r"(contains|starts[ \t]*with|ends[ \t]*with|in|not[ \t]*in)(?![A-Za-z0-9_./-])")
_OPERATORS = {
    "contains": "contains",
    "startswith": "starts with",
    "endswith": "ends with",
    "in": "in",
    "notin": "not in",
}


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a selector, ending with one of kind `end`. Raises SelectorError at the first thing that is none."""
    position = 0
    after_label = False
    while True:
        position = _end(_BLANK, text, position)
        if position == len(text):
            yield Token("end", "", position)
            return
        token, position = _next(text, position, after_label)
        after_label = token.kind == "label"
        yield token


def _next(text: str, at: int, after_label: bool) -> tuple[Token, int]:
    if after_label and (found := _WORD.match(text, at)):
        return Token(_OPERATORS[re.sub(r"[ \t]", "", found[1])], found[1], at), found.end()
    if found := _SYMBOL.match(text, at):
        return Token(found[0], found[0], at), found.end()
    if found := _STRING.match(text, at):
        return Token("string", found[0][1:-1], at), found.end()
    if found := _FUNCTION.match(text, at):
        return Token(found[0], found[0], at), found.end()
    if found := _LABEL.match(text, at):
        if len(found[0]) > LABEL_LIMIT:
            raise SelectorError(text, at, f"a label longer than {LABEL_LIMIT} characters")
        return Token("label", found[0], at), found.end()
    problem = "a string that does not end" if text[at] in "'\"" else f"unexpected {text[at]!r}"
    raise SelectorError(text, at, problem)


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    return found.end() if found else position
