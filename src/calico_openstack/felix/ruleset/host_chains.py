"""The fixed rules for host endpoints: where packets of the host's own interfaces meet policies, and what passes before.

    arrives  raw           untracked: what is allowed here is not tracked, marked, and settled
             mangle        pre-DNAT: what is allowed here is marked, and settled for the host
             filter input  marked, or of a known flow, or a failsafe port: accepted; else the endpoint's policies
    passes   filter forward  policies with applyOnForward; those of guests are asked as well
    leaves   raw, filter  as for what arrives. What gets another destination is asked about after that (mangle
                          postrouting), when it is known through which interface it leaves.

Each stage is there while some endpoint has a say in it, so a host without host endpoints pays nothing. Interfaces
without an endpoint, guests' interfaces and the loopback are none of these rules' business. Neighbour discovery, router
advertisements and multicast listeners' reports of IPv6 pass as failsafe ports do: without them there is no IPv6. Both
are sets, so that a packet costs the same for one failsafe port and for many.
"""

from __future__ import annotations

from collections.abc import Iterator

from calico_openstack.felix.ruleset import fields
from calico_openstack.felix.ruleset.fields import Field, byte, joined, last_address, port
from calico_openstack.felix.ruleset.objects import Chain, Hook, Key, Rule, SetSpec
from calico_openstack.felix.ruleset.ranges import disjoint
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.ruleset.statements import (
    ACCEPT,
    DROP,
    ESTABLISHED,
    INVALID,
    RELATED,
    ByMap,
    CtState,
    Equal,
    HasMark,
    InSet,
    NoTrack,
    Reject,
    SetMark,
    Statement,
    Translated,
    jump,
)
from calico_openstack.model.failsafe import NEIGHBOUR_DISCOVERY

UNTRACKED = {d: SetSpec(f"host-untracked-{d}", (fields.IFNAME,), value=fields.VERDICT) for d in ("ingress", "egress")}
PRE_DNAT = SetSpec("host-pre-dnat", (fields.IFNAME,), value=fields.VERDICT)
FORWARD = {d: spec._replace(name=f"host-forward-{d}") for d, spec in UNTRACKED.items()}
NORMAL = {d: spec._replace(name=f"host-{d}") for d, spec in UNTRACKED.items()}
TRANSLATED = PRE_DNAT._replace(name="host-translated")

DISCOVERY = SetSpec("host-discovery", (fields.ICMPV6_TYPE,))
FAILSAFE = {d: SetSpec(f"failsafe-{d}", (fields.PROTOCOL, fields.PORT)) for d in ("ingress", "egress")}
FAILSAFE_OF = {
    (d, v): SetSpec(f"failsafe-{d}{v}", (fields.PROTOCOL, fields.PORT, fields.ADDRESS[v]), interval=True)
    for d in FAILSAFE
    for v in (4, 6)
}
"""Failsafe ports that are open to some networks only."""

SETS = (
    *UNTRACKED.values(), PRE_DNAT, *FORWARD.values(), *NORMAL.values(), TRANSLATED,
    DISCOVERY, *FAILSAFE.values(), *FAILSAFE_OF.values(),
)  # fmt: skip

Used = frozenset[str]
_Statements = tuple[Statement, ...]


def passing(settings: RulesetSettings) -> Iterator[tuple[SetSpec, Key]]:
    """Elements that are there while there are host endpoints: what passes whatever policies say."""
    for kind in sorted(NEIGHBOUR_DISCOVERY):
        yield DISCOVERY, byte(kind)
    for direction, failsafes in (("ingress", settings.failsafe_in), ("egress", settings.failsafe_out)):
        for failsafe in failsafes:
            if failsafe.net is None:
                yield FAILSAFE[direction], joined(byte(failsafe.protocol), port(failsafe.port))
        for protocol, number in sorted({failsafe[:2] for failsafe in failsafes}):
            nets = (one.net for one in failsafes if one.net is not None and one[:2] == (protocol, number))
            for net in disjoint(nets):
                ends = (joined(byte(protocol), port(number), end) for end in (net.packed, last_address(net)))
                yield FAILSAFE_OF[direction, net.version], (next(ends), next(ends))


def before_anything(settings: RulesetSettings, used: Used) -> Iterator[Rule]:
    """At the very beginning of what arrives, from guests as well: marks of somebody else's mean nothing to us."""
    if _marks(used) or NORMAL["egress"].name in used:
        yield Rule((SetMark(settings.mark | settings.mark << 1, clear=True),))


def of_raw_prerouting(settings: RulesetSettings, used: Used) -> Iterator[Rule]:
    """After those for guests' interfaces, which end there."""
    if UNTRACKED["ingress"].name in used:
        yield from _passing("ingress", used, replies=True)
        yield Rule((ByMap((fields.IN,), UNTRACKED["ingress"].name),))
        yield Rule((NoTrack(), SetMark(settings.mark), ACCEPT))


def of_input(settings: RulesetSettings, used: Used) -> Iterator[Rule]:
    """After those for guests' interfaces, which end there."""
    if NORMAL["ingress"].name in used:
        yield from _settled(settings, used)
        yield from _passing("ingress", used)
        yield Rule((ByMap((fields.IN,), NORMAL["ingress"].name),))
        yield from _no_invalid(settings)


def of_forward(settings: RulesetSettings, used: Used, direction: str) -> Iterator[Rule]:
    """Ingress: before the rules for guests; egress: after those, which end there for packets to guests. What an early
    policy has allowed was allowed on the interface where it arrived; the other one is asked all the same."""
    if FORWARD[direction].name in used:
        unmarked: _Statements = ()
        others: _Statements = ()
        if direction == "ingress":
            if _marks(used):
                unmarked = (HasMark(settings.mark, negate=True),)
            others = tuple(Equal(fields.IN, prefix.encode(), negate=True) for prefix in settings.tap_prefixes)
        yield Rule((*unmarked, *others, jump(FORWARD[direction].name)))


def chains(settings: RulesetSettings, used: Used) -> Iterator[Chain]:
    """Those that are for host endpoints alone."""
    to_taps = [Rule((Equal(fields.OUT, prefix.encode()), ACCEPT)) for prefix in settings.tap_prefixes]
    if _marks(used):
        rules = [Rule((SetMark(settings.mark, clear=True),))]
        if UNTRACKED["egress"].name in used:
            rules += to_taps
            rules += _passing("egress", used, replies=True)
            rules.append(Rule((ByMap((fields.OUT,), UNTRACKED["egress"].name),)))
            rules.append(Rule((NoTrack(), SetMark(settings.mark), ACCEPT)))
        yield Chain("raw-output", tuple(rules), Hook("filter", "output", -300))
    if PRE_DNAT.name in used:
        rules = [Rule((Equal(fields.IN, prefix.encode()), ACCEPT)) for prefix in settings.tap_prefixes]
        rules += _settled(settings, used)
        rules += _passing("ingress", used)
        rules.append(Rule((ByMap((fields.IN,), PRE_DNAT.name),)))
        rules.append(Rule((SetMark(settings.mark), ACCEPT)))
        yield Chain("mangle-prerouting", tuple(rules), Hook("filter", "prerouting", -150))
    for direction, field in (("ingress", fields.IN), ("egress", fields.OUT)):
        if FORWARD[direction].name in used:
            yield Chain(FORWARD[direction].name, (Rule((ByMap((field,), FORWARD[direction].name),)),))
    if NORMAL["egress"].name in used:
        later = settings.mark << 1
        rules = [Rule((SetMark(later, clear=True),)), *to_taps, *_settled(settings, used)]
        # Another way than the one that is known here may be found for its new destination.
        rules.append(Rule((Translated(), SetMark(later), ACCEPT)))
        rules += _passing("egress", used)
        rules.append(Rule((ByMap((fields.OUT,), NORMAL["egress"].name),)))
        rules += _no_invalid(settings)
        yield Chain("output", tuple(rules), Hook("filter", "output", 0))
        rules = [Rule((HasMark(later, negate=True), ACCEPT)), *to_taps, *_passing("egress", used)]
        rules.append(Rule((ByMap((fields.OUT,), TRANSLATED.name),)))
        yield Chain("mangle-postrouting", tuple(rules), Hook("filter", "postrouting", -150))


def _marks(used: Used) -> bool:
    return bool(used & {PRE_DNAT.name, *(spec.name for spec in UNTRACKED.values())})


def _settled(settings: RulesetSettings, used: Used) -> Iterator[Rule]:
    if _marks(used):
        yield Rule((HasMark(settings.mark), ACCEPT))
    yield Rule((CtState(ESTABLISHED | RELATED), ACCEPT))


def _no_invalid(settings: RulesetSettings) -> Iterator[Rule]:
    """What a policy allows, and yet belongs to no flow and can begin none."""
    if settings.drop_invalid:
        yield Rule((CtState(INVALID), Reject() if settings.deny == "reject" else DROP))


def _passing(direction: str, used: Used, *, replies: bool = False) -> Iterator[Rule]:
    """Failsafe ports and neighbour discovery. `replies`: no flows are known here, so the answers of failsafe ports in
    the other direction pass, too."""
    icmp = (Equal(fields.NFPROTO, fields.FAMILY_OF[6]), Equal(fields.L4PROTO, byte(fields.ICMPV6)))
    yield Rule((*icmp, InSet((fields.TYPE6,), DISCOVERY.name), ACCEPT), "neighbour discovery")
    peers = fields.SOURCE if direction == "ingress" else fields.DESTINATION
    yield from _ports(direction, fields.DESTINATION_PORT, peers, used)
    if replies:
        other = "egress" if direction == "ingress" else "ingress"
        yield from _ports(other, fields.SOURCE_PORT, peers, used)


def _ports(failsafes: str, where: Field, peers: dict[int, Field], used: Used) -> Iterator[Rule]:
    if FAILSAFE[failsafes].name in used:
        yield Rule((InSet((fields.L4PROTO, where), FAILSAFE[failsafes].name), ACCEPT), "failsafe")
    for version, peer in peers.items():
        spec = FAILSAFE_OF[failsafes, version]
        if spec.name in used:
            family = Equal(fields.NFPROTO, fields.FAMILY_OF[version])
            yield Rule((family, InSet((fields.L4PROTO, where, peer), spec.name), ACCEPT), "failsafe")
