"""The tree of a selector: what each operator means, and how it prints.

A label that is absent makes `!=` and `not in` true and everything else false (upstream parser/ast.go). Printing is
upstream's canonical form: double quotes unless the text holds one, sorted and unique set members, parentheses
around `&&` and `||` groups.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

Labels = Mapping[str, str]


def quoted(text: str) -> str:
    """A string as upstream prints it. There are no escapes, so a text with both quotes cannot be written at all."""
    return f"'{text}'" if '"' in text else f'"{text}"'


class _Leaf(msgspec.Struct, frozen=True, gc=False):
    label: str


class Has(_Leaf, frozen=True, gc=False):
    def matches(self, labels: Labels) -> bool:
        return self.label in labels

    def __str__(self) -> str:
        return f"has({self.label})"


class _Comparison(_Leaf, frozen=True, gc=False):
    value: str


class Equals(_Comparison, frozen=True, gc=False):
    def matches(self, labels: Labels) -> bool:
        return labels.get(self.label) == self.value

    def __str__(self) -> str:
        return f"{self.label} == {quoted(self.value)}"


class NotEquals(_Comparison, frozen=True, gc=False):
    def matches(self, labels: Labels) -> bool:
        return labels.get(self.label) != self.value

    def __str__(self) -> str:
        return f"{self.label} != {quoted(self.value)}"


class Contains(_Comparison, frozen=True, gc=False):
    def matches(self, labels: Labels) -> bool:
        found = labels.get(self.label)
        return found is not None and self.value in found

    def __str__(self) -> str:
        return f"{self.label} contains {quoted(self.value)}"


class StartsWith(_Comparison, frozen=True, gc=False):
    def matches(self, labels: Labels) -> bool:
        found = labels.get(self.label)
        return found is not None and found.startswith(self.value)

    def __str__(self) -> str:
        return f"{self.label} starts with {quoted(self.value)}"


class EndsWith(_Comparison, frozen=True, gc=False):
    def matches(self, labels: Labels) -> bool:
        found = labels.get(self.label)
        return found is not None and found.endswith(self.value)

    def __str__(self) -> str:
        return f"{self.label} ends with {quoted(self.value)}"


class _Membership(_Leaf, frozen=True, gc=False):
    values: frozenset[str]

    def _members(self) -> str:
        return "{" + ", ".join(quoted(value) for value in sorted(self.values)) + "}"


class In(_Membership, frozen=True, gc=False):
    def matches(self, labels: Labels) -> bool:
        return labels.get(self.label) in self.values

    def __str__(self) -> str:
        return f"{self.label} in {self._members()}"


class NotIn(_Membership, frozen=True, gc=False):
    def matches(self, labels: Labels) -> bool:
        return labels.get(self.label) not in self.values

    def __str__(self) -> str:
        return f"{self.label} not in {self._members()}"


class All(msgspec.Struct, frozen=True, gc=False):
    def matches(self, labels: Labels) -> bool:
        return True

    def __str__(self) -> str:
        return "all()"


class Global(msgspec.Struct, frozen=True, gc=False):
    """As `all()`; it has a meaning of its own only inside a `namespaceSelector`."""

    def matches(self, labels: Labels) -> bool:
        return True

    def __str__(self) -> str:
        return "global()"


class Not(msgspec.Struct, frozen=True, gc=False):
    operand: Node

    def matches(self, labels: Labels) -> bool:
        return not self.operand.matches(labels)

    def __str__(self) -> str:
        return f"!{self.operand}"


class And(msgspec.Struct, frozen=True, gc=False):
    operands: tuple[Node, ...]

    def matches(self, labels: Labels) -> bool:
        return all(operand.matches(labels) for operand in self.operands)

    def __str__(self) -> str:
        return f"({' && '.join(map(str, self.operands))})"


class Or(msgspec.Struct, frozen=True, gc=False):
    operands: tuple[Node, ...]

    def matches(self, labels: Labels) -> bool:
        return any(operand.matches(labels) for operand in self.operands)

    def __str__(self) -> str:
        return f"({' || '.join(map(str, self.operands))})"


Node = Has | Equals | NotEquals | Contains | StartsWith | EndsWith | In | NotIn | All | Global | Not | And | Or
