"""A parsed selector as a value: equal, hashed and named by its canonical text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from calico_openstack.model.selector.nodes import And, Node, Not


class Selector:
    """What a selector text means. Immutable; two texts with the same canonical form make equal selectors."""

    __slots__ = ("_unique_id", "canonical", "root")

    def __init__(self, root: Node) -> None:
        self.root = root
        self.canonical = str(root)
        self._unique_id: str | None = None

    def matches(self, labels: Mapping[str, str]) -> bool:
        return self.root.matches(labels)

    @property
    def unique_id(self) -> str:
        """`s:` and base64url of SHA-224 over `s:` and the canonical text, without padding (upstream

        selector.UniqueID).
        """
        if self._unique_id is None:
            digest = hashlib.sha224(f"s:{self.canonical}".encode()).digest()
            self._unique_id = "s:" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return self._unique_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selector) and self.canonical == other.canonical

    def __hash__(self) -> int:
        return hash(self.canonical)

    def __str__(self) -> str:
        return self.canonical

    def __repr__(self) -> str:
        return f"Selector({self.canonical})"


def conjunction(first: Selector, second: Selector) -> Selector:
    """Both must match. Neighbouring `&&` groups become one, as upstream's parser does for text without parentheses."""
    parts = [
        part for root in (first.root, second.root) for part in (root.operands if isinstance(root, And) else (root,))
    ]
    return Selector(And(tuple(parts)))


def negation(selector: Selector) -> Selector:
    """Must not match; a double negation is none."""
    root = selector.root
    return Selector(root.operand if isinstance(root, Not) else Not(root))
