"""What a BGPFilter says: ordered rules for each direction and family; the first rule that matches decides.

Everything is parsed and checked here, so that a renderer prints only numbers, networks and checked words. A filter with
one rule that cannot be understood is bad as a whole: leaving out a "reject" would let routes out.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

import msgspec

from calico_openstack.model.bgp import as_number, community
from calico_openstack.model.net import Net, parse_net

Operator = Literal["Equal", "NotEqual", "In", "NotIn"]

MAX_OPERATIONS = 10
"""As upstream's API allows."""


class AddCommunity(NamedTuple):
    value: str


class PrependPath(NamedTuple):
    prefix: tuple[int, ...]


class SetPriority(NamedTuple):
    value: int


Operation = AddCommunity | PrependPath | SetPriority


class FilterRule(msgspec.Struct, frozen=True, kw_only=True):
    """All given conditions must hold. `min_length`/`max_length` restrict the prefix length inside `cidr`."""

    accept: bool
    cidr: Net | None = None
    operator: Operator = "In"
    min_length: int | None = None
    max_length: int | None = None
    learned: bool = False
    interface: str | None = None
    peer_type: Literal["eBGP", "iBGP"] | None = None
    community: str | None = None
    path_prefix: tuple[int, ...] = ()
    priority: int | None = None
    operations: tuple[Operation, ...] = ()


class BgpFilter(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    import4: tuple[FilterRule, ...] = ()
    export4: tuple[FilterRule, ...] = ()
    import6: tuple[FilterRule, ...] = ()
    export6: tuple[FilterRule, ...] = ()

    def rules(self, direction: Literal["import", "export"], version: int) -> tuple[FilterRule, ...]:
        if direction == "import":
            return self.import4 if version == 4 else self.import6
        return self.export4 if version == 4 else self.export6


def read_filter(name: str, value: bytes) -> BgpFilter:
    """ValueError with a sentence that names the rule and the field."""
    try:
        spec = msgspec.json.decode(value, type=dict[str, Any]).get("spec") or {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a JSON object: {error}") from error
    if not isinstance(spec, dict):
        raise ValueError("spec is not an object")
    return BgpFilter(
        name=name,
        import4=_rules(spec, "importV4", 4),
        export4=_rules(spec, "exportV4", 4),
        import6=_rules(spec, "importV6", 6),
        export6=_rules(spec, "exportV6", 6),
    )


def _rules(spec: dict[str, Any], field: str, version: int) -> tuple[FilterRule, ...]:
    rules = []
    listed = spec.get(field) or []
    if not isinstance(listed, list):
        raise ValueError(f"spec.{field} is not a list")
    for place, raw in enumerate(listed):
        try:
            rules.append(_rule(raw, version))
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"spec.{field}[{place}]: {error}") from error
    return tuple(rules)


_KNOWN = frozenset(
    {
        "action", "cidr", "matchOperator", "prefixLength", "source", "interface", "peerType", "communities",
        "asPathPrefix", "priority", "operations",
    }
)  # fmt: skip


def _rule(raw: dict[str, Any], version: int) -> FilterRule:
    unknown = sorted(set(raw) - _KNOWN)
    if unknown:
        # A condition that we do not know would make the rule match more than was meant.
        raise ValueError(f"unknown field {unknown[0]!r}")
    action = _one_of(raw, "action", ("Accept", "Reject"))
    if action is None:
        raise ValueError("action is missing; expected Accept or Reject")
    operations = tuple(_operation(item) for item in raw.get("operations") or ())
    if operations and (action != "Accept" or len(operations) > MAX_OPERATIONS):
        raise ValueError(f"operations need action Accept, and at most {MAX_OPERATIONS} of them")
    cidr = raw.get("cidr")
    net = parse_net(str(cidr)) if cidr else None
    if net is not None and net.version != version:
        raise ValueError(f"cidr {cidr!r} is not IPv{version}")
    operator = _one_of(raw, "matchOperator", ("Equal", "NotEqual", "In", "NotIn"))
    lengths = raw.get("prefixLength") or {}
    if (operator is None) != (net is None) or (lengths and net is None):
        raise ValueError("cidr and matchOperator need each other, and prefixLength needs both")
    values = (raw.get("communities") or {}).get("values") or []
    if "communities" in raw and len(values) != 1:
        raise ValueError("communities.values must have exactly one value")
    return FilterRule(
        accept=action == "Accept",
        cidr=net,
        operator=operator or "In",  # type: ignore[arg-type]
        min_length=_number(lengths, "min", 0, 32 if version == 4 else 128),
        max_length=_number(lengths, "max", 0, 32 if version == 4 else 128),
        learned=_one_of(raw, "source", ("RemotePeers",)) is not None,
        interface=_interface(raw.get("interface")),
        peer_type=_one_of(raw, "peerType", ("eBGP", "iBGP")),  # type: ignore[arg-type]
        community=community(str(values[0])) if values else None,
        path_prefix=tuple(as_number(item) for item in raw.get("asPathPrefix") or ()),
        priority=_number(raw, "priority", 1, 2147483646),
        operations=operations,
    )


def _operation(raw: dict[str, Any]) -> Operation:
    if len(raw) != 1:
        raise ValueError("each operation must have exactly one of addCommunity, prependASPath, setPriority")
    (kind, body), *_ = raw.items()
    if kind == "addCommunity":
        return AddCommunity(community(str(body["value"])))
    if kind == "prependASPath":
        return PrependPath(tuple(as_number(item) for item in body["prefix"]))
    if kind == "setPriority":
        priority = _number(body, "value", 1, 2147483646)
        if priority is not None:
            return SetPriority(priority)
    raise ValueError(f"operation {kind!r} is not known or has no value")


def _one_of(raw: dict[str, Any], field: str, choices: tuple[str, ...]) -> str | None:
    value = raw.get(field)
    if value in (None, ""):
        return None
    if value not in choices:
        raise ValueError(f"{field} {value!r} is not one of {', '.join(choices)}")
    return str(value)


def _number(raw: dict[str, Any], field: str, low: int, high: int) -> int | None:
    value = raw.get(field)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{field} {value!r} is not a whole number from {low} to {high}")
    return value


def _interface(value: object) -> str | None:
    if value in (None, ""):
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._*-]{1,15}", value):
        raise ValueError(f"interface {value!r} is not an interface name or pattern")
    return value
