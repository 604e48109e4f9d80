"""One security-group rule of Neutron as rules of a v3 NetworkPolicy, or the reason why there is none.

The law of this file: the written rule allows no packet that Neutron's rule does not. What cannot be said in a form that
Felix accepts (upstream's Felix drops the *whole* policy for one bad rule) is refused as a value; it is never widened.
The form is upstream's (its driver's resync compares it): protocol names become numbers, decimal text stays text, ICMP
is `ICMP`/`ICMPv6`, a port range is `"8000:8100"`, prefixes are as the user typed them.

| Neutron says | written |
|---|---|
| no protocol, `any`, `0`, `ip` (Neutron's iptables and OVN drivers: any protocol) | no `protocol` |
| `icmp`, `1`, `ipv6-icmp`, `icmpv6`, `58` | `ICMP` or `ICMPv6`, by ethertype |
| ports with tcp, udp, sctp | `destination.ports` |
| ports with dccp, udplite; ICMP type 255; `hopopt`; two remotes; families that disagree | refused |
| remote address group | `nets` of the rule's family, 256 per rule; none of that family: no rule |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from calico_openstack.model.names import sg_label
from calico_openstack.model.net import parse_net
from calico_openstack.neutron.translate.document import JsonObject, Refusal

NETS_PER_RULE: Final = 256
"""Upstream's API schema allows this many `nets` in one rule."""

# neutron-lib, constants.IP_PROTOCOL_MAP; `hopopt` and `ip` (0) are treated apart.
PROTOCOL_NUMBERS: Final[Mapping[str, int]] = {
    "ah": 51,
    "dccp": 33,
    "egp": 8,
    "esp": 50,
    "gre": 47,
    "icmp": 1,
    "icmpv6": 58,
    "igmp": 2,
    "ipip": 4,
    "ipv6-encap": 41,
    "ipv6-frag": 44,
    "ipv6-icmp": 58,
    "ipv6-nonxt": 59,
    "ipv6-opts": 60,
    "ipv6-route": 43,
    "ospf": 89,
    "pgm": 113,
    "rsvp": 46,
    "sctp": 132,
    "tcp": 6,
    "udp": 17,
    "udplite": 136,
    "vrrp": 112,
}

_ANY_PROTOCOL: Final = frozenset({"any", "0", "ip"})
_WITH_PORTS: Final = frozenset({6, 17, 132})
_ICMP: Final = 1
_ICMPV6: Final = 58
_VERSIONS: Final = {"IPv4": 4, "IPv6": 6}
_ID: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,62}\Z")


class _Refused(Exception):
    """Control flow inside this file only: `translate_rule` turns it into a `Refusal`."""

    def __init__(self, reason: str, cure: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.cure = cure


def translate_rule(
    rule: Mapping[str, Any], address_groups: Mapping[str, Sequence[str]]
) -> tuple[JsonObject, ...] | Refusal:
    """The v3 rules for one Neutron rule dict; empty when it can match nothing.

    `address_groups` has the addresses of each address group by id; an id that is not in it is refused.
    """
    try:
        return _translate(rule, address_groups)
    except _Refused as refused:
        return Refusal(f"security group rule {rule.get('id')}", refused.reason, refused.cure)


def _translate(rule: Mapping[str, Any], address_groups: Mapping[str, Sequence[str]]) -> tuple[JsonObject, ...]:
    direction = rule.get("direction")
    if direction not in ("ingress", "egress"):
        raise _Refused(f"direction {direction!r} is unknown")
    version = _VERSIONS.get(str(rule.get("ethertype")))
    if version is None:
        raise _Refused(f"ethertype {rule.get('ethertype')!r} is unknown")
    number, written = _protocol(rule.get("protocol"), version)
    ports, icmp = _ports_or_icmp(rule, number)
    if icmp is not None:
        written = "ICMP" if version == 4 else "ICMPv6"
    remotes = _remotes(rule, version, address_groups)
    return tuple(_compose(direction, version, written, ports, icmp, remote) for remote in remotes)


def _compose(
    direction: str,
    version: int,
    protocol: int | str | None,
    ports: list[int | str] | None,
    icmp: JsonObject | None,
    remote: JsonObject,
) -> JsonObject:
    result: JsonObject = {"action": "Allow", "ipVersion": version}
    if protocol is not None:
        result["protocol"] = protocol
    if icmp is not None:
        result["icmp"] = icmp
    source = dict(remote) if direction == "ingress" else {}
    destination = dict(remote) if direction == "egress" else {}
    if ports is not None:
        destination["ports"] = ports
    if source:
        result["source"] = source
    if destination:
        result["destination"] = destination
    return result


def _protocol(value: object, version: int) -> tuple[int | None, int | str | None]:
    """The protocol's number, and how it is written; None and None for any protocol."""
    if value is None or isinstance(value, bool):
        if value is None:
            return None, None
        raise _Refused(f"protocol {value!r} is unknown")
    if isinstance(value, int):
        if value in (-1, 0):
            return None, None
        return _numbered(value, value, version)
    text = str(value).strip().lower()
    if text in _ANY_PROTOCOL:
        return None, None
    if text in PROTOCOL_NUMBERS:
        number = PROTOCOL_NUMBERS[text]
        if text in ("icmp", "ipv6-icmp"):
            return _numbered(number, "ICMP" if version == 4 else "ICMPv6", version)
        return _numbered(number, number, version)
    if text.isascii() and text.isdigit():
        return _numbered(int(text), str(int(text)), version)
    raise _Refused(f"protocol {value!r} has no number that Felix knows", "use the number of the protocol, 1 to 255")


def _numbered(number: int, written: int | str, version: int) -> tuple[int, int | str]:
    if not 1 <= number <= 255:
        raise _Refused(f"protocol number {number} is not in 1 to 255")
    if version == 4 and number == _ICMPV6:
        raise _Refused("ICMPv6 does not exist in IPv4", "use ethertype IPv6")
    if version == 6 and number == _ICMP:
        # Neutron reads `icmp` of an IPv6 rule as ICMPv6 (securitygroups_db, _get_ip_proto_name_and_num).
        return _ICMPV6, "ICMPv6"
    return number, written


def _ports_or_icmp(rule: Mapping[str, Any], number: int | None) -> tuple[list[int | str] | None, JsonObject | None]:
    first, last = rule.get("port_range_min"), rule.get("port_range_max")
    if first is None and last is None:
        return None, None
    if number in (_ICMP, _ICMPV6):
        return None, _icmp(first, last)
    if number not in _WITH_PORTS:
        raise _Refused(
            "Calico matches ports of TCP, UDP and SCTP only",
            "remove the ports to allow the whole protocol, or use one of the three",
        )
    if not _in_range(first, 1, 65535) or not _in_range(last, 1, 65535) or first > last:  # type: ignore[operator]
        raise _Refused(f"port range {first} to {last} is not within 1 to 65535")
    return ([first] if first == last else [f"{first}:{last}"]), None  # type: ignore[list-item]


def _icmp(kind: object, code: object) -> JsonObject:
    if not _in_range(kind, 0, 254):
        raise _Refused(f"ICMP type {kind} is not in 0 to 254", "Felix cannot match ICMP type 255")
    if code is None:
        return {"type": kind}
    if not _in_range(code, 0, 255):
        raise _Refused(f"ICMP code {code} is not in 0 to 255")
    return {"type": kind, "code": code}


def _in_range(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _remotes(rule: Mapping[str, Any], version: int, address_groups: Mapping[str, Sequence[str]]) -> list[JsonObject]:
    """The remote side as entity matches, any of which allows; `[{}]` means anywhere, `[]` nowhere."""
    prefix, group, addresses = (
        rule.get("remote_ip_prefix"),
        rule.get("remote_group_id"),
        rule.get("remote_address_group_id"),
    )
    given = [value for value in (prefix, group, addresses) if value]
    if len(given) > 1:
        raise _Refused("more than one kind of remote", "make one rule for each remote")
    if prefix:
        _check_prefix(str(prefix), version)
        return [{"nets": [str(prefix)]}]
    if group:
        if not _ID.match(str(group)):
            raise _Refused(f"remote group id {group!r} cannot be a label")
        return [{"selector": f"has({sg_label(str(group))})"}]
    if addresses:
        return _address_group(str(addresses), version, address_groups)
    return [{}]


def _check_prefix(prefix: str, version: int) -> None:
    try:
        net = parse_net(prefix)
    except ValueError as error:
        raise _Refused(f"remote prefix {error}") from error
    if net.version != version:
        raise _Refused(f"remote prefix {prefix} is not of the rule's ethertype (IPv{version})")


def _address_group(group_id: str, version: int, address_groups: Mapping[str, Sequence[str]]) -> list[JsonObject]:
    if group_id not in address_groups:
        raise _Refused(f"address group {group_id} is not in the database")
    nets: set[Any] = set()
    for text in address_groups[group_id]:
        try:
            net = parse_net(text)
        except ValueError as error:
            raise _Refused(f"address group {group_id}: {error}") from error
        if net.version == version:
            nets.add(net)
    texts = [str(net) for net in sorted(nets)]
    return [{"nets": texts[at : at + NETS_PER_RULE]} for at in range(0, len(texts), NETS_PER_RULE)]
