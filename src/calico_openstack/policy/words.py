"""Policies and rules in people's words, and by the names that Neutron has for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from calico_openstack.model.names import SG_LABEL_PREFIX, SG_POLICY_PREFIX
from calico_openstack.model.policy import Icmp, Match, PolicyKey, PortRange, Rule
from calico_openstack.model.selector import And, Equals, Has, Node, Selector
from calico_openstack.policy.state import Packet

PROTOCOLS = {1: "icmp", 4: "ipip", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 51: "ah", 58: "icmpv6", 89: "ospf",
             112: "vrrp", 132: "sctp", 136: "udplite"}  # fmt: skip
_ECHO = {(1, 8): "echo request", (1, 0): "echo reply", (58, 128): "echo request", (58, 129): "echo reply"}
_NAMESPACE = "projectcalico.org/namespace"

Groups = Mapping[str, str]
"""Names of security groups by id."""


def group_words(group: str, groups: Groups) -> str:
    """`security group web (0a1b...)`; without a name if nobody in etcd has one."""
    name = groups.get(group)
    return f"security group {name} ({group})" if name else f"security group {group}"


def group_of(policy: PolicyKey | str | None) -> str | None:
    """The id of the security group that a policy stands for; None if it stands for none."""
    if isinstance(policy, PolicyKey) and policy.name.startswith(SG_POLICY_PREFIX):
        return policy.name[len(SG_POLICY_PREFIX) :]
    return None


def resource_words(policy: PolicyKey | str) -> str:
    """Calico's name: `NetworkPolicy openstack/ossg.default.0a1b...`, `Profile open`."""
    if isinstance(policy, str):
        return f"Profile {policy}"
    where = f"{policy.namespace}/" if policy.namespace else ""
    return f"{policy.kind} {where}{policy.name}"


def policy_words(policy: PolicyKey | str, groups: Groups) -> str:
    """Neutron's name if it has one, else Calico's."""
    group = group_of(policy)
    return group_words(group, groups) if group else resource_words(policy)


def rule_words(rule: Rule, groups: Groups) -> str:
    """`allow IPv4 tcp from members of security group web (0a1b...) to port 22`."""
    return " ".join(
        [rule.action, _traffic(rule), *_side("from", rule.source, groups), *_side("to", rule.destination, groups)]
    )


def packet_words(packet: Packet) -> str:
    """`IPv4 tcp to port 22`."""
    words = f"IPv{packet.version} {protocol_words(packet.protocol)}"
    if packet.icmp is not None:
        return f"{words} {_ECHO.get((packet.protocol, packet.icmp[0]), f'type {packet.icmp[0]}')}"
    return f"{words} to port {packet.destination_port}"


def protocol_words(protocol: int) -> str:
    return PROTOCOLS.get(protocol, f"protocol {protocol}")


def _traffic(rule: Rule) -> str:
    family = f"IPv{rule.version} " if rule.version is not None else ""
    if rule.protocol is not None:
        words = family + protocol_words(rule.protocol)
    elif rule.not_protocol is not None:
        words = f"all {family}traffic except {protocol_words(rule.not_protocol)}"
    else:
        words = f"all {family}traffic"
    if rule.icmp is not None:
        words += f" {_icmp(rule.protocol, rule.icmp)}"
    if rule.not_icmp is not None:
        words += f" except {_icmp(rule.protocol, rule.not_icmp)}"
    return words


def _icmp(protocol: int | None, icmp: Icmp) -> str:
    name = _ECHO.get((protocol or 0, icmp.type)) if icmp.code in (None, 0) else None
    if name:
        return name
    return f"type {icmp.type}" + (f" code {icmp.code}" if icmp.code is not None else "")


def _side(word: str, match: Match, groups: Groups) -> Iterator[str]:
    """The peer, then its ports, each with the preposition."""
    who = []
    if match.selector is not None:
        who.append(_members(match.selector, groups))
    if match.nets:
        inside = "addresses in " if match.selector is not None else ""
        who.append(inside + _some([_net(net) for net in match.nets]))
    excluded = []
    if match.not_selector is not None:
        excluded.append(_members(match.not_selector, groups))
    if match.not_nets:
        excluded.append(_some([_net(net) for net in match.not_nets]))
    if who or excluded:
        yield f"{word} {' and '.join(who) or 'anyone'}" + (f" except {' and '.join(excluded)}" if excluded else "")
    if match.ports or match.named_ports:
        yield f"{word} {_ports(match.ports, match.named_ports)}"
    if match.not_ports or match.not_named_ports:
        yield f"{word} no {_ports(match.not_ports, match.not_named_ports)}"


def _net(net: object) -> str:
    text = str(net)
    return {"0.0.0.0/0": "any IPv4 address", "::/0": "any IPv6 address"}.get(text, text)


def _some(words: list[str], limit: int = 6) -> str:
    more = [f"{len(words) - limit} more"] if len(words) > limit else []
    return " or ".join(words[:limit] + more)


def _ports(ranges: tuple[PortRange, ...], names: tuple[str, ...]) -> str:
    words = [str(first) if first == last else f"{first}-{last}" for first, last in ranges] + [repr(n) for n in names]
    return f"{'port' if len(words) == 1 and '-' not in words[0] else 'ports'} {', '.join(words)}"


def _members(selector: Selector, groups: Groups) -> str:
    """A selector that only asks for membership in security groups, by their names; any other one as it is written."""
    members, rest = [], []
    for node in _conjuncts(selector.root):
        if isinstance(node, Has) and node.label.startswith(SG_LABEL_PREFIX):
            members.append(group_words(node.label[len(SG_LABEL_PREFIX) :], groups))
        elif not (isinstance(node, Equals) and node.label == _NAMESPACE):
            rest.append(node)
    if members and not rest:
        return f"members of {' and '.join(members)}"
    return f"endpoints and network sets with {selector.canonical}"


def _conjuncts(node: Node) -> Iterator[Node]:
    if isinstance(node, And):
        for operand in node.operands:
            yield from _conjuncts(operand)
    else:
        yield node
