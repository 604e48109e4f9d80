"""What a policy says, after every check: rules, tiers, profiles, network sets.

Selectors are parsed and already restricted to the policy's namespace where the v3 model says so; networks are masked;
protocols are numbers. `None` as a rule list means "does not govern this direction", an empty tuple means "governs it
and says nothing".
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import msgspec

from calico_openstack.model.net import Net
from calico_openstack.model.selector import Selector

Action = Literal["allow", "deny", "pass", "log"]


class PolicyKey(NamedTuple):
    """Identity of a policy. `kind` is the v3 kind; `namespace` is empty for global kinds. `name` is the key's name."""

    kind: str
    namespace: str
    name: str


class PortRange(NamedTuple):
    first: int
    last: int


class Icmp(NamedTuple):
    type: int
    code: int | None = None


class Match(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One side of a rule. All given conditions must hold; inside a tuple any one is enough (`not_`: none may)."""

    nets: tuple[Net, ...] = ()
    not_nets: tuple[Net, ...] = ()
    selector: Selector | None = None
    not_selector: Selector | None = None
    ports: tuple[PortRange, ...] = ()
    named_ports: tuple[str, ...] = ()
    not_ports: tuple[PortRange, ...] = ()
    not_named_ports: tuple[str, ...] = ()


ANY = Match()


class Rule(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    action: Action
    version: int | None = None
    protocol: int | None = None
    not_protocol: int | None = None
    icmp: Icmp | None = None
    not_icmp: Icmp | None = None
    source: Match = ANY
    destination: Match = ANY


class Policy(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A NetworkPolicy or GlobalNetworkPolicy. `broken` holds the reason when this is a fail-closed stand-in."""

    key: PolicyKey
    tier: str = "default"
    order: float = math.inf
    selector: Selector
    ingress: tuple[Rule, ...] | None = None
    egress: tuple[Rule, ...] | None = None
    do_not_track: bool = False
    pre_dnat: bool = False
    apply_on_forward: bool = False
    staged: bool = False
    always_programmed: bool = False
    broken: str | None = None


class Tier(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`broken` holds the reason when the stored tier cannot be read: then its place is not known."""

    name: str
    order: float = math.inf
    default_pass: bool = False
    broken: str | None = None


class Profile(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    name: str
    labels_to_apply: dict[str, str] = {}
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    broken: str | None = None


class NetworkSetKey(NamedTuple):
    """`namespace` is empty for a GlobalNetworkSet."""

    namespace: str
    name: str


class NetworkSet(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    key: NetworkSetKey
    nets: tuple[Net, ...] = ()
    labels: dict[str, str] = {}
    profiles: tuple[str, ...] = ()
