"""Does a rule match a packet?

All conditions of a rule must hold; inside a list one is enough, in a `not_` list none may.

A side that selects by labels matches an address that any selected endpoint or network set holds. A named port
matches if the address, protocol and port are those of an endpoint that the side selects (any endpoint, if it
selects none).
"""

from __future__ import annotations

from calico_openstack.model.net import Net
from calico_openstack.model.policy import Icmp, Match, Rule
from calico_openstack.policy.state import Packet, State


def rule_matches(state: State, rule: Rule, packet: Packet) -> bool:
    if rule.version is not None and rule.version != packet.version:
        return False
    if rule.protocol is not None and rule.protocol != packet.protocol:
        return False
    if rule.not_protocol is not None and rule.not_protocol == packet.protocol:
        return False
    if rule.icmp is not None and not _icmp_matches(rule.icmp, packet):
        return False
    if rule.not_icmp is not None and _icmp_matches(rule.not_icmp, packet):
        return False
    return side_matches(state, rule.source, packet, packet.source, packet.source_port) and side_matches(
        state, rule.destination, packet, packet.destination, packet.destination_port
    )


def side_matches(state: State, match: Match, packet: Packet, address: Net, port: int) -> bool:
    """One side of a rule against the packet's address and port on that side."""
    if match.nets and not any(net.contains(address) for net in match.nets):
        return False
    if any(net.contains(address) for net in match.not_nets):
        return False
    if not _selected(state, match, address):
        return False
    if (match.ports or match.named_ports) and not (
        any(first <= port <= last for first, last in match.ports)
        or any(_has_named_port(state, match, name, packet, address, port) for name in match.named_ports)
    ):
        return False
    if any(first <= port <= last for first, last in match.not_ports):
        return False
    return not any(_has_named_port(state, match, name, packet, address, port) for name in match.not_named_ports)


def _icmp_matches(icmp: Icmp, packet: Packet) -> bool:
    if packet.icmp is None:
        return False
    return icmp.type == packet.icmp[0] and icmp.code in (None, packet.icmp[1])


def _selected(state: State, match: Match, address: Net) -> bool:
    """With a positive selector: one who matches it, and not the negative one, has the address. With a negative one
    alone: nobody who matches it has the address.
    """
    if match.selector is None and match.not_selector is None:
        return True
    for who in state.everyone():
        if not any(net.contains(address) for net in who.addresses):
            continue
        excluded = match.not_selector is not None and match.not_selector.matches(who.labels)
        if match.selector is None:
            if excluded:
                return False
        elif match.selector.matches(who.labels) and not excluded:
            return True
    return match.selector is None


def _has_named_port(state: State, match: Match, name: str, packet: Packet, address: Net, port: int) -> bool:
    for who in state.everyone():
        if (name, packet.protocol, port) not in who.ports or not any(n.contains(address) for n in who.addresses):
            continue
        if match.selector is not None and not match.selector.matches(who.labels):
            continue
        if match.selector is not None and match.not_selector is not None and match.not_selector.matches(who.labels):
            continue
        return True
    return False
