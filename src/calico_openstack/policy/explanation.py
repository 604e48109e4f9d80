"""May a new flow be opened, and because of what: the verdicts of both ends, and what else stands in the way.

Each end that is an endpoint is asked for its own side: the sender's host for egress, the receiver's for ingress. An end
outside the cloud has no side here. Where nothing allowed the flow, the nearest rules are found: those that would have
allowed it but for the fewest conditions.

What the hosts' settings add (which endpoints a host does not program, which packets it never lets pass) comes in as a
`HostView`, because it is not policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

from calico_openstack.model.endpoint import Endpoint, EndpointKey
from calico_openstack.model.net import Net, host_net
from calico_openstack.model.policy import Match, Policy, PolicyKey, Profile, Rule
from calico_openstack.policy.closed_tiers import in_force, why_closed
from calico_openstack.policy.known import Known
from calico_openstack.policy.matching import rule_matches
from calico_openstack.policy.parties import Party, Unanswerable
from calico_openstack.policy.state import Packet, State
from calico_openstack.policy.verdict import AppliedTier, Direction, Verdict, applied_tiers, verdict

NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}
_ECHO = {4: (1, (8, 0)), 6: (58, (128, 0))}
_EPHEMERAL = 40000
"""Stands for any source port. Security groups cannot ask for one; another policy may."""

_METADATA = (host_net("169.254.169.254"), host_net("fe80::a9fe:a9fe"))
_NEAREST = 3

Cause = Literal["rule", "end of tier", "no policy", "end of profiles", "absent", "spoofed", "forbidden"]


class Flow(NamedTuple):
    """`icmp` (an echo request), `tcp`, `udp` or `sctp`; `port` is the destination's, 0 for ICMP."""

    protocol: str
    port: int = 0

    def packet(self, source: Net, destination: Net) -> Packet:
        if self.protocol == "icmp":
            number, kind = _ECHO[source.version]
            return Packet(source, destination, number, icmp=kind)
        return Packet(source, destination, NUMBERS[self.protocol], _EPHEMERAL, self.port)


class HostView(NamedTuple):
    """How one host sees the cloud, by its settings: endpoints of its own that it does not program, with the reason;
    whether endpoints that may send from foreign prefixes exist for it; why a packet of a guest never passes, if so.
    """

    refused: Mapping[EndpointKey, str] = {}
    spoofing: bool = False
    forbids: Callable[[Packet], str | None] = lambda packet: None


class Near(NamedTuple):
    """A rule that would have allowed the flow, but for these conditions. `number` counts from 0."""

    source: PolicyKey | str
    number: int
    rule: Rule
    misses: tuple[str, ...]


class Side(NamedTuple):
    """One end's answer. `packet` is as that end's policy sees it; None if no address of the ends is known.

    `reason` is for the causes that no policy decides. `tiers` are those asked, `rule` the one that decided.
    """

    direction: Direction
    party: Party
    cause: Cause
    allowed: bool = False
    packet: Packet | None = None
    reason: str = ""
    verdict: Verdict | None = None
    rule: Rule | None = None
    stand_in: str = ""
    tiers: tuple[AppliedTier, ...] = ()
    near: tuple[Near, ...] = ()


class Explanation(NamedTuple):
    """Both sides; None for an end that is outside."""

    flow: Flow
    version: int | None
    source: Party
    destination: Party
    egress: Side | None
    ingress: Side | None

    @property
    def allowed(self) -> bool:
        return all(side.allowed for side in (self.egress, self.ingress) if side is not None)


def explain(
    known: Known,
    source: Party,
    destination: Party,
    flow: Flow,
    version: int | None = None,
    view: Callable[[str], HostView] = lambda host: HostView(),
) -> Explanation:
    """May `source` open `flow` to `destination`? Unanswerable if policies do not decide that, or nobody is meant."""
    _check(known, source, destination)
    version = _version(source, destination, version)
    sent = source.fixed(version) if version else None
    received = destination.fixed(version) if version else None
    egress = ingress = None
    if source.key is not None:
        # A floating IP is translated where its endpoint is; until there the sender's policy sees the floating IP.
        same_host = destination.key is not None and destination.key.host == source.key.host
        seen = received if same_host or destination.floating is None else destination.floating
        packet = flow.packet(sent, seen) if sent and seen else None
        egress = _side(known, "egress", source, packet, view(source.key.host))
    if destination.key is not None:
        packet = flow.packet(sent, received) if sent and received else None
        ingress = _side(known, "ingress", destination, packet, view(destination.key.host))
    return Explanation(flow, version, source, destination, egress, ingress)


def _check(known: Known, source: Party, destination: Party) -> None:
    if source.key is None and destination.key is None:
        raise Unanswerable(f"neither {source.text} nor {destination.text} is an address of an endpoint in etcd")
    if source.key == destination.key and destination.floating is None:
        raise Unanswerable(
            f"{source.text} and {destination.text} are the same endpoint; such packets stay in the guest"
        )
    if source.key is not None and destination.key is None and destination.address in _METADATA:
        raise Unanswerable(
            f"{destination.text} is the metadata service: its host answers, which policies do not decide "
            "(docs/design/ruleset.md, what a guest may ask of the host)"
        )
    for party, other in ((source, destination), (destination, source)):
        host = known.hosts.get(party.address) if party.key is None and party.address else None
        if host is not None and other.key is not None and other.key.host == host:
            raise Unanswerable(
                f"{party.text} is host {host} itself, where {other.text} runs; policies do not decide what passes "
                "between a host and its own guests (docs/design/ruleset.md, what a guest may ask of the host)"
            )
    endpoint, address = destination.endpoint, destination.address
    if endpoint is not None and address is not None and not any(net.contains(address) for net in endpoint.addresses):
        listed = ", ".join(net.address if net.is_host else str(net) for net in endpoint.addresses)
        raise Unanswerable(f"{address.address} is no address of {_port(destination)}; it has {listed or 'none'}")


def _version(source: Party, destination: Party, wanted: int | None) -> int | None:
    """The family of the flow; None if neither end's address is known."""
    readable = [party for party in (source, destination) if not party.broken or party.address is not None]
    shared = set.intersection(*(party.versions() for party in readable)) if readable else set()
    if readable and not shared:
        raise Unanswerable(f"{source.text} and {destination.text} have no address of the same family")
    if wanted is not None and readable and wanted not in shared:
        without = next(party.text for party in readable if wanted not in party.versions())
        raise Unanswerable(f"{without} has no IPv{wanted} address; ask with --version {min(shared)}")
    return wanted or min(shared, default=None)


def _side(known: Known, direction: Direction, party: Party, packet: Packet | None, view: HostView) -> Side:
    assert party.key is not None
    endpoint = party.endpoint
    if endpoint is None:
        return Side(direction, party, "absent", packet=packet, reason=party.broken)
    if party.key in view.refused:
        return Side(direction, party, "absent", packet=packet, reason=view.refused[party.key])
    if packet is None:
        return Side(direction, party, "absent", reason="the other end's address is not known")
    if direction == "egress":
        if not any(net.contains(packet.source) for net in (*endpoint.addresses, *endpoint.spoof)):
            reason = f"{packet.source.address} is none of its addresses or allowed address pairs"
            return Side(direction, party, "spoofed", packet=packet, reason=reason)
        forbidden = view.forbids(packet)
        if forbidden is not None:
            return Side(direction, party, "forbidden", packet=packet, reason=forbidden)
    return _decide(known, direction, party, endpoint, packet, view)


def _decide(
    known: Known, direction: Direction, party: Party, endpoint: Endpoint, packet: Packet, view: HostView
) -> Side:
    state = holders(known.state, packet, view.spoofing)
    found = verdict(state, endpoint, direction, packet)
    tiers = applied_tiers(state, endpoint, direction)
    side = Side(direction, party, "rule", found.allowed, packet, verdict=found, tiers=tiers)
    if found.decided_by is not None and found.rule is not None:
        stand_in = known.stand_ins.get(found.decided_by, "") or _closed(state, found)
        side = side._replace(rule=_rules_of(state, found.decided_by, direction)[found.rule], stand_in=stand_in)
    elif found.tier is not None:
        side = side._replace(cause="end of tier")
    else:
        side = side._replace(cause="end of profiles" if tiers or endpoint.profiles else "no policy")
    return side if found.allowed else side._replace(near=_nearest(state, endpoint, side))


def holders(state: State, packet: Packet, spoofing: bool = True) -> State:
    """The state without those who have neither address of the packet: rules see no difference, and it is quick."""

    def has(nets: tuple[Net, ...]) -> bool:
        return any(net.contains(packet.source) or net.contains(packet.destination) for net in nets)

    return State(
        {k: e for k, e in state.endpoints.items() if has(e.addresses) and (spoofing or not e.spoof)},
        {k: h for k, h in state.host_endpoints.items() if has(h.addresses)},
        state.policies,
        state.profiles,
        state.tiers,
        {k: s for k, s in state.network_sets.items() if has(s.nets)},
    )


def misses(state: State, rule: Rule, packet: Packet) -> tuple[str, ...]:
    """The conditions of a rule that a packet does not fulfil, each looked at alone; empty if it matches."""
    if rule_matches(state, rule, packet):
        return ()
    source, destination = rule.source, rule.destination
    alone = {
        "family": Rule(action=rule.action, version=rule.version),
        "protocol": Rule(action=rule.action, protocol=rule.protocol, not_protocol=rule.not_protocol),
        "ICMP type": Rule(action=rule.action, icmp=rule.icmp, not_icmp=rule.not_icmp),
        "source address": Rule(action=rule.action, source=_who(source)),
        "destination address": Rule(action=rule.action, destination=_who(destination)),
        "source port": Rule(action=rule.action, source=_ports(source)),
        "destination port": Rule(action=rule.action, destination=_ports(destination)),
    }
    return tuple(name for name, condition in alone.items() if not rule_matches(state, condition, packet))


def _who(match: Match) -> Match:
    return Match(nets=match.nets, not_nets=match.not_nets, selector=match.selector, not_selector=match.not_selector)


def _ports(match: Match) -> Match:
    return Match(
        ports=match.ports,
        named_ports=match.named_ports,
        not_ports=match.not_ports,
        not_named_ports=match.not_named_ports,
    )


def _nearest(state: State, endpoint: Endpoint, side: Side) -> tuple[Near, ...]:
    """The allowing rules with the fewest unfulfilled conditions; none of another family."""
    assert side.packet is not None
    found = []
    for source in _asked(state, endpoint, side):
        name = source.key if isinstance(source, Policy) else source.name
        for index, rule in enumerate(_rules_of(state, name, side.direction)):
            if rule.action == "allow":
                found.append(Near(name, index, rule, misses(state, rule, side.packet)))
    found = [near for near in found if near.misses and "family" not in near.misses]
    fewest = min((len(near.misses) for near in found), default=0)
    return tuple(near for near in found if len(near.misses) == fewest)[:_NEAREST]


def _asked(state: State, endpoint: Endpoint, side: Side) -> Iterator[Policy | Profile]:
    """The policies up to the tier that decided; the profiles if it came to them."""
    decided = side.verdict.tier if side.verdict else None
    for tier in side.tiers:
        yield from tier.policies
        if tier.name == decided:
            return
    for name in endpoint.profiles:
        profile = state.profile(name)
        if profile is not None:
            yield profile


def _rules_of(state: State, name: PolicyKey | str, direction: Direction) -> tuple[Rule, ...]:
    source: Policy | Profile | None
    if isinstance(name, PolicyKey):
        policy = state.policies.get(name)
        source = in_force(policy, state.tiers) if policy is not None else None
    else:
        source = state.profile(name)
    if source is None:
        return ()
    return (source.ingress if direction == "ingress" else source.egress) or ()


def _closed(state: State, found: Verdict) -> str:
    """Why the tier that decided is closed, if it is."""
    return (why_closed(found.tier, state.tiers.get(found.tier)) or "") if found.tier is not None else ""


def _port(party: Party) -> str:
    return f"port {party.key.endpoint}" if party.key else party.text
