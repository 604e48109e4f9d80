"""BGPFilter rules as BIRD statements.

PURE. A rule becomes one `if ... then { ...; accept; }`; the first that matches decides, as upstream says.
User functions that return values are spelt differently in BIRD 2.0 and 2.14, so there are none: the
statements stand in the session's own filter. What is known when the text is made (iBGP or eBGP) is decided
here and leaves no trace in it.
"""

from __future__ import annotations

from typing import Literal

from calico_openstack.bgp.sessions import Session
from calico_openstack.model.bgp_filter import AddCommunity, BgpFilter, FilterRule, Operation, PrependPath
from calico_openstack.model.net import Net

PRIORITY_BASE = 2**31 - 1
"""LOCAL_PREF carries this minus the route's metric, as upstream."""


def accept_rules(
    bgp_filter: BgpFilter, direction: Literal["import", "export"], session: Session, before_accept: str
) -> list[str]:
    """The statements of one filter; `before_accept` goes in front of every "accept"."""
    lines = []
    for rule in bgp_filter.rules(direction, session.version):
        if rule.peer_type is not None and (rule.peer_type == "iBGP") != session.internal:
            continue
        condition = " && ".join(_conditions(rule)) or "true"
        if not rule.accept:
            lines.append(f"if {condition} then reject;")
            continue
        steps = [_operation(operation) for operation in rule.operations]
        body = " ".join([*steps, before_accept, "accept;"] if before_accept else [*steps, "accept;"])
        lines.append(f"if {condition} then {{ {body} }}")
    return lines


def match_net(net: Net) -> str:
    return f"net ~ [ {net}+ ]"


def add_community(text: str) -> str:
    attribute, value = _community(text)
    return f"{attribute}.add({value});"


def _community(text: str) -> tuple[str, str]:
    """BIRD's attribute and value for `65000:1` (RFC 1997) or `65000:1:2` (RFC 8092)."""
    parts = text.split(":")
    return "bgp_community" if len(parts) == 2 else "bgp_large_community", f"({','.join(parts)})"


def _conditions(rule: FilterRule) -> list[str]:
    conditions = []
    if rule.cidr is not None:
        conditions.append(_cidr(rule, rule.cidr))
    if rule.learned:
        conditions.append("source = RTS_BGP")
    if rule.interface is not None:
        conditions.append(f'ifname ~ "{rule.interface}"')
    if rule.community is not None:
        attribute, value = _community(rule.community)
        conditions.append(f"{value} ~ {attribute}")
    if rule.path_prefix:
        conditions.append(f"bgp_path ~ [= {' '.join(map(str, rule.path_prefix))} * =]")
    if rule.priority is not None:
        conditions.append(f"bgp_local_pref = {PRIORITY_BASE - rule.priority}")
    return conditions


def _cidr(rule: FilterRule, cidr: Net) -> str:
    if rule.operator in ("Equal", "NotEqual"):
        return f"net {'=' if rule.operator == 'Equal' else '!='} {cidr}"
    if rule.min_length is None and rule.max_length is None:
        pattern = f"{cidr}+"
    else:
        low = max(cidr.length, rule.min_length or 0)
        high = cidr.width if rule.max_length is None else rule.max_length
        pattern = f"{cidr}{{{low},{max(low, high)}}}"
        if high < low:
            # No prefix inside the network can be that short: the condition never holds.
            return "false" if rule.operator == "In" else "true"
    return f"net {'~' if rule.operator == 'In' else '!~'} [ {pattern} ]"


def _operation(operation: Operation) -> str:
    if isinstance(operation, AddCommunity):
        return add_community(operation.value)
    if isinstance(operation, PrependPath):
        # Each prepend goes to the front, so the last number of the list is prepended first.
        return " ".join(f"bgp_path.prepend({number});" for number in reversed(operation.prefix))
    return f"bgp_local_pref = {PRIORITY_BASE - operation.value};"
