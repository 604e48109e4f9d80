"""The selector language: which labels a policy, a rule or a set is about.

    has(sg.projectcalico.org/openstack-0a1b) && !(env in {"dev", "test"})

`parse` turns text into a `Selector`, a value that matches label maps, prints itself in upstream's canonical form
and is equal to every other selector of the same canonical form. Source: upstream libcalico-go/lib/selector.
"""

from calico_openstack.model.selector.nodes import (
    All,
    And,
    Contains,
    EndsWith,
    Equals,
    Global,
    Has,
    In,
    Node,
    Not,
    NotEquals,
    NotIn,
    Or,
    StartsWith,
)
from calico_openstack.model.selector.parser import parse
from calico_openstack.model.selector.selector import Selector, conjunction, negation
from calico_openstack.model.selector.tokens import SelectorError

__all__ = [
    "All",
    "And",
    "Contains",
    "EndsWith",
    "Equals",
    "Global",
    "Has",
    "In",
    "Node",
    "Not",
    "NotEquals",
    "NotIn",
    "Or",
    "Selector",
    "SelectorError",
    "StartsWith",
    "conjunction",
    "negation",
    "parse",
]
