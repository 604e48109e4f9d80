"""What wanted state means for a packet, written as plainly as the policy model reads: no table, no merging,
no order of chains.

This is the other side of the packet law (a rendered ruleset must say the same), and what `explain` can
answer from. Slow on purpose: every set is a scan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from calico_openstack.felix.wanted.state import (
    Member,
    PortMember,
    SetId,
    Wanted,
    WantedEndpoint,
    WantedHostEndpoint,
    WantedMatch,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.net import Net
from calico_openstack.model.policy import Action, Icmp

Direction = Literal["ingress", "egress"]

_PROTOCOLS_WITH_PORTS = {6, 17, 33, 132, 136}


@dataclass(frozen=True, slots=True)
class Flow:
    """The first packet of a flow. `ports` (source, destination) where the protocol has them, `icmp` (type,
    code)."""

    source: Net
    destination: Net
    protocol: int
    ports: tuple[int, int] | None = None
    icmp: tuple[int, int] | None = None


def allows(wanted: Wanted, endpoint: WantedEndpoint | WantedHostEndpoint, direction: Direction, flow: Flow) -> bool:
    """Do the endpoint's tiers and profiles let the flow pass in this direction?"""
    decided = decides(wanted, endpoint.tiers, direction, flow)
    if decided is not None:
        return decided
    for name in endpoint.profiles:
        profile = wanted.profiles.get(name)
        if profile is None:
            continue
        verdict = _first(wanted, profile.ingress if direction == "ingress" else profile.egress, flow)
        if verdict in ("allow", "deny"):
            return verdict == "allow"
    return False


def decides(wanted: Wanted, tiers: Iterable[WantedTier], direction: Direction, flow: Flow) -> bool | None:
    """What the tiers say of the flow; None if they let it go on to what comes after them."""
    for tier in tiers:
        policies = tier.ingress if direction == "ingress" else tier.egress
        if not policies:
            continue
        verdict: Action | None = None
        for key in policies:
            policy = wanted.policies.get(key)
            if policy is None:
                return False
            rules = policy.ingress if direction == "ingress" else policy.egress
            verdict = _first(wanted, rules or (), flow)
            if verdict:
                break
        if verdict in ("allow", "deny"):
            return verdict == "allow"
        if verdict is None and not tier.default_pass:
            return False
    return None


def spent(endpoint: WantedEndpoint, direction: Direction, protocol: int, tokens: bool, connections: int) -> bool:
    """Has a new flow's packet no room in the endpoint's limits, when its token bucket has (`tokens`) or has not one
    left and there are so many other connections?"""
    qos = endpoint.qos
    if qos is None:
        return False
    ingress = direction == "ingress"
    rate = qos.ingress_packet_rate if ingress else qos.egress_packet_rate
    most = qos.ingress_max_connections if ingress else qos.egress_max_connections
    return (rate > 0 and not tokens) or (protocol == 6 and 0 < most <= connections)


def leaves_cloud(wanted: Wanted, destination: Net, *, to_tap: bool) -> bool:
    """Is it outside all pools of its family? Where there are none: does it go to no guest of this host?"""
    pools = [pool.cidr for pool in wanted.pools.values() if pool.cidr.version == destination.version]
    return not any(pool.contains(destination) for pool in pools) if pools else not to_tap


def is_translated(wanted: Wanted, source: Net, destination: Net) -> bool:
    """Does natOutgoing of some pool give the packet another source?"""
    return leaves_cloud(wanted, destination, to_tap=False) and any(
        pool.nat_outgoing and pool.cidr.contains(source) for pool in wanted.pools.values()
    )


def _first(wanted: Wanted, rules: Iterable[WantedRule], flow: Flow) -> Action | None:
    for rule in rules:
        if rule.action != "log" and matches(wanted, rule, flow):
            return rule.action
    return None


def matches(wanted: Wanted, rule: WantedRule, flow: Flow) -> bool:
    version = flow.source.version
    own_icmp = 1 if version == 4 else 58
    if rule.version not in (None, version):
        return False
    if rule.protocol not in (None, flow.protocol) or rule.not_protocol == flow.protocol:
        return False
    if rule.icmp is not None and not _is_icmp(rule.icmp, flow, own_icmp):
        return False
    if rule.not_icmp is not None and _is_icmp(rule.not_icmp, flow, own_icmp):
        return False
    has_ports = flow.ports is not None and flow.protocol in _PROTOCOLS_WITH_PORTS
    source, destination = flow.ports if flow.ports and has_ports else (None, None)
    return _side(wanted, rule, rule.source, flow.source, flow.protocol, source) and _side(
        wanted, rule, rule.destination, flow.destination, flow.protocol, destination
    )


def _is_icmp(icmp: Icmp, flow: Flow, protocol: int) -> bool:
    if flow.protocol != protocol or flow.icmp is None:
        return False
    return flow.icmp[0] == icmp.type and icmp.code in (None, flow.icmp[1])


def _side(wanted: Wanted, rule: WantedRule, side: WantedMatch, address: Net, protocol: int, port: int | None) -> bool:
    asked = (*side.sets, *side.not_sets, *side.port_sets, *side.not_port_sets)
    unknown = [set_id for set_id in asked if set_id not in wanted.sets]
    # Named-port sets are alternatives to numeric ports; everything else is needed.
    if rule.action != "deny" and set(unknown) - set(side.port_sets):
        return False
    if side.nets and not any(net.contains(address) for net in side.nets):
        return False
    if any(net.contains(address) for net in side.not_nets):
        return False
    known = {s: wanted.sets[s] for s in (*side.sets, *side.not_sets) if s in wanted.sets}
    if any(s in known and not _holds(known[s], address) for s in side.sets):
        return False
    if any(s in known and _holds(known[s], address) for s in side.not_sets):
        return False
    if (side.ports or side.port_sets) and not _port_matches(wanted, rule, side, address, protocol, port):
        return False
    if port is None:
        return True
    if any(first <= port <= last for first, last in side.not_ports):
        return False
    return not any(_has_port(wanted.sets.get(s, ()), address, protocol, port) for s in side.not_port_sets)


def _port_matches(
    wanted: Wanted, rule: WantedRule, side: WantedMatch, address: Net, protocol: int, port: int | None
) -> bool:
    if rule.action == "deny" and any(s not in wanted.sets for s in side.port_sets):
        return True
    if port is None:
        return False
    if any(first <= port <= last for first, last in side.ports):
        return True
    return any(_has_port(wanted.sets.get(s, ()), address, protocol, port) for s in side.port_sets)


def _holds(members: Iterable[Member], address: Net) -> bool:
    return any(not isinstance(member, PortMember) and member.contains(address) for member in members)


def _has_port(members: Iterable[Member], address: Net, protocol: int, port: int) -> bool:
    return any(
        isinstance(member, PortMember)
        and member.net.contains(address)
        and (member.protocol, member.port) == (protocol, port)
        for member in members
    )


def set_ids(rule: WantedRule) -> set[SetId]:
    """Every set that the rule names."""
    return {
        set_id
        for side in (rule.source, rule.destination)
        for set_id in (*side.sets, *side.not_sets, *side.port_sets, *side.not_port_sets)
    }
