"""An explanation as facts: one ordered mapping per side, for people (lines) and programs (JSON) alike.

Says the verdict, what decided it in Neutron's and in Calico's names, and for a denial what came nearest and what would
allow it.
"""

from __future__ import annotations

from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.policy.explanation import Explanation, Near, Side
from calico_openstack.policy.parties import Party
from calico_openstack.policy.state import Packet
from calico_openstack.policy.verdict import Direction
from calico_openstack.policy.words import (
    PROTOCOLS,
    Groups,
    group_of,
    packet_words,
    policy_words,
    resource_words,
    rule_words,
)

Facts = dict[str, str | bool | int | list[str]]


def party_words(party: Party) -> str:
    """`port 0a1b... (tap0a1b on compute-01), 10.65.0.3`."""
    address = f", {party.address.address}" if party.address else ""
    floating = f" (floating {party.floating.address})" if party.floating else ""
    if party.key is None:
        return f"{party.text}, outside"
    interface = f"{party.endpoint.interface} on " if party.endpoint else ""
    return f"port {party.key.endpoint} ({interface}{party.key.host}){address}{floating}"


def side_facts(side: Side, groups: Groups) -> Facts:
    """What one end says, and why."""
    facts: Facts = {"allowed": side.allowed}
    verdict = side.verdict
    if verdict is not None and verdict.tier is not None:
        facts["tier"] = verdict.tier
    if verdict is not None and verdict.decided_by is not None and verdict.rule is not None and side.rule is not None:
        facts["policy"] = policy_words(verdict.decided_by, groups)
        facts["resource"] = resource_words(verdict.decided_by)
        facts["rule"] = verdict.rule + 1
        facts["says"] = rule_words(side.rule, groups)
    if not side.allowed:
        facts["why"] = _why(side, groups)
        facts["nearest"] = [_near(near, groups) for near in side.near]
        facts["would"] = _would(side, groups)
    return facts


def headline(explanation: Explanation) -> str:
    sides = (explanation.egress, explanation.ingress)
    packet = next((side.packet for side in sides if side is not None and side.packet is not None), None)
    flow = packet_words(packet) if packet else f"{explanation.flow.protocol} to port {explanation.flow.port}"
    return f"{'allowed' if explanation.allowed else 'denied'}: {flow}"


def _why(side: Side, groups: Groups) -> str:
    port = side.party.key.endpoint if side.party.key else side.party.text
    match side.cause:
        case "rule":
            broken = f"; it stands in for a document that cannot be used: {side.stand_in}" if side.stand_in else ""
            return f"the rule denies it{broken}"
        case "end of tier":
            tier = next(tier for tier in side.tiers if side.verdict and tier.name == side.verdict.tier)
            asked = ", ".join(policy_words(policy.key, groups) for policy in tier.policies)
            broken = "".join(
                f"; {policy_words(p.key, groups)} is broken: {p.broken}" for p in tier.policies if p.broken
            )
            return f"end of tier {tier.name}: no rule of {asked} matches{broken}"
        case "end of profiles":
            listed = side.party.endpoint.profiles if side.party.endpoint else ()
            profiles = f"; no rule of its profiles ({', '.join(listed)}) matches" if listed else "; it lists no profile"
            return f"end of all tiers without a decision{profiles}"
        case "no policy":
            return f"no security group or other policy governs {side.direction} of port {port}, and it lists no profile"
        case "absent":
            return f"port {port} passes nothing: {side.reason}" if side.packet or side.party.broken else side.reason
        case "spoofed":
            return f"anti-spoofing on host {side.party.key.host if side.party.key else ''}: {side.reason}"
        case "forbidden":
            return side.reason


def _near(near: Near, groups: Groups) -> str:
    conditions = " and ".join(near.misses)
    return f"rule {near.number + 1} of {policy_words(near.source, groups)}, but for the {conditions}: " + rule_words(
        near.rule, groups
    )


def _would(side: Side, groups: Groups) -> str:
    """What an operator could do. Whether it should be allowed is for them to know."""
    port = side.party.key.endpoint if side.party.key else ""
    match side.cause:
        case "rule" if side.stand_in:
            return "correct the document; nothing else can be said about it"
        case "rule":
            return "remove that rule, or have a rule before it allow the flow"
        case "end of tier" if group := _group(side):
            return _command(side.packet, side.direction, group) if side.packet else ""
        case "end of tier":
            tier = side.verdict.tier if side.verdict else ""
            return f"a rule that allows the flow (or passes it on) in a policy of tier {tier}"
        case "end of profiles" | "no policy":
            return f"a security group with a rule for it: openstack port set --security-group GROUP {port}"
        case "absent" if side.party.broken:
            return "correct the document; the Neutron driver's resync writes it anew"
        case "absent":
            return ""
        case "spoofed" if side.packet:
            address = side.packet.source.address
            return f"openstack port set --allowed-address ip-address={address} {port}"
        case _:
            return ""


def _group(side: Side) -> str | None:
    """A security group of the tier that denied: the first asked. Any of them would do."""
    tier = next((tier for tier in side.tiers if side.verdict and tier.name == side.verdict.tier), None)
    found = [group for policy in (tier.policies if tier else ()) if (group := group_of(policy.key))]
    return found[0] if found else None


def _command(packet: Packet, direction: Direction, group: str) -> str:
    """Neutron's command for a rule that allows exactly this."""
    peer = packet.source if direction == "ingress" else packet.destination
    protocol = {58: "ipv6-icmp"}.get(packet.protocol, PROTOCOLS.get(packet.protocol, str(packet.protocol)))
    port = f" --dst-port {packet.destination_port}" if packet.icmp is None else f" --icmp-type {packet.icmp[0]}"
    return (
        f"openstack security group rule create --{direction} --ethertype IPv{packet.version} --protocol {protocol}"
        f"{port} --remote-ip {peer} {group}"
    )


def identity(key: EndpointKey | None) -> dict[str, str] | None:
    """An endpoint for programs."""
    return dict(key._asdict()) if key is not None else None
