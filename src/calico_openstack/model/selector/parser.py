"""Selector text to a tree, by recursive descent.

    selector := <empty> | or            or  := and ( "||" and )*           and := unary ( "&&" unary )*
    unary    := "!"* primary            `!` binds only to the next primary; any number collapses to none or one

Empty text means `all()`. Parsed selectors are remembered, because a cloud has thousands of policies that repeat a few.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from calico_openstack.model.selector import nodes
from calico_openstack.model.selector.nodes import Node
from calico_openstack.model.selector.selector import Selector
from calico_openstack.model.selector.tokens import SelectorError, Token, tokens

DEEPEST = 100
"""How deep parentheses may nest; deeper text is refused rather than risking the interpreter's stack."""

_COMPARISONS: dict[str, Callable[[str, str], Node]] = {
    "==": nodes.Equals,
    "!=": nodes.NotEquals,
    "contains": nodes.Contains,
    "starts with": nodes.StartsWith,
    "ends with": nodes.EndsWith,
}
_MEMBERSHIPS: dict[str, Callable[[str, frozenset[str]], Node]] = {"in": nodes.In, "not in": nodes.NotIn}


@lru_cache(maxsize=65536)
def parse(text: str) -> Selector:
    """The selector that `text` spells. Raises SelectorError, which names the position."""
    return Selector(_Parser(text).selector())


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.token = next(self.tokens)
        self.depth = 0

    def selector(self) -> Node:
        if self.token.kind == "end":
            return nodes.All()
        tree = self.alternatives()
        if self.token.kind != "end":
            raise self.unexpected("the end or an operator")
        return tree

    def alternatives(self) -> Node:
        operands = [self.conjunction()]
        while self.accept("||"):
            operands.append(self.conjunction())
        return operands[0] if len(operands) == 1 else nodes.Or(tuple(operands))

    def conjunction(self) -> Node:
        operands = [self.unary()]
        while self.accept("&&"):
            operands.append(self.unary())
        return operands[0] if len(operands) == 1 else nodes.And(tuple(operands))

    def unary(self) -> Node:
        negated = False
        while self.accept("!"):
            negated = not negated
        primary = self.primary()
        if not negated:
            return primary
        # `!(!x)` prints as `!!x`, which reads as `x`: the tree must say the same.
        return primary.operand if isinstance(primary, nodes.Not) else nodes.Not(primary)

    def primary(self) -> Node:
        if self.accept("("):
            return self.group()
        if self.accept("has("):
            label = self.expect("label").value
            self.expect(")")
            return nodes.Has(label)
        for kind, node in (("all(", nodes.All()), ("global(", nodes.Global())):
            if self.accept(kind):
                self.expect(")")
                return node
        return self.comparison(self.expect("label").value)

    def group(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise SelectorError(self.text, self.token.position, f"parentheses nested deeper than {DEEPEST}")
        tree = self.alternatives()
        self.expect(")")
        self.depth -= 1
        return tree

    def comparison(self, label: str) -> Node:
        operator = self.token.kind
        if compare := _COMPARISONS.get(operator):
            self.advance()
            return compare(label, self.expect("string").value)
        if member := _MEMBERSHIPS.get(operator):
            self.advance()
            return member(label, self.members())
        raise self.unexpected("an operator after the label")

    def members(self) -> frozenset[str]:
        self.expect("{")
        found: set[str] = set()
        while self.token.kind == "string":
            found.add(self.advance().value)
            if not self.accept(","):
                break
        self.expect("}")
        return frozenset(found)

    def advance(self) -> Token:
        token = self.token
        if token.kind != "end":
            self.token = next(self.tokens)
        return token

    def accept(self, kind: str) -> bool:
        if self.token.kind != kind:
            return False
        self.advance()
        return True

    def expect(self, kind: str) -> Token:
        if self.token.kind != kind:
            raise self.unexpected({"label": "a label", "string": "a string"}.get(kind, repr(kind)))
        return self.advance()

    def unexpected(self, wanted: str) -> SelectorError:
        found = "the end" if self.token.kind == "end" else repr(self.token.value)
        return SelectorError(self.text, self.token.position, f"{wanted} is expected, not {found},")
