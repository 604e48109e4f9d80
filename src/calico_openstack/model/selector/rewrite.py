"""Selectors about something else than the endpoint itself: its namespace's labels, its service account's.

Those labels reach an endpoint with a prefix on their keys (upstream: `pcns.`, `pcsa.`), so a selector on them gets
the same prefix.
"""

from __future__ import annotations

import msgspec

from calico_openstack.model.selector.nodes import All, And, Global, Node, Not, Or
from calico_openstack.model.selector.selector import Selector


def with_label_prefix(selector: Selector, prefix: str) -> Selector:
    """The same selector with every label key prefixed."""
    return Selector(_prefixed(selector.root, prefix))


def _prefixed(node: Node, prefix: str) -> Node:
    if isinstance(node, And):
        return And(tuple(_prefixed(operand, prefix) for operand in node.operands))
    if isinstance(node, Or):
        return Or(tuple(_prefixed(operand, prefix) for operand in node.operands))
    if isinstance(node, Not):
        return Not(_prefixed(node.operand, prefix))
    if isinstance(node, All | Global):
        return node
    return msgspec.structs.replace(node, label=prefix + node.label)
