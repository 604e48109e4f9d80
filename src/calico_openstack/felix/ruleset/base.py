"""The fixed part: hooks, the way of a packet, and what a guest may do before any policy is asked.

Everything here depends on the settings alone; endpoints only add elements to its sets and maps
(`endpoints.py`) and chains to which the maps point (`policies.py`, `limits.py`). The reason for each allowance is in
docs/design/ruleset.md. A rule that asks one of the optional sets is there while that set has an element, so that what
nobody uses costs nothing.

    inet prerouting  raw     tap? -> source: own MAC and address, or one of the few things said without; else drop
    inet prerouting  dstnat  metadata, floating IPs
    inet forward     mangle  marks of what leaves the cloud (only while some endpoint has one)
    inet forward     filter  unlisted tap drops; packet rates; established accepts; from-tap (sender), then to-tap
                             (receiver): their policies, then their limits of connections
    inet input       filter  tap? -> to-host: allowances, the sender's policy, then what the host wants of the rest
    inet output      dstnat  floating IPs for the host's own packets
    inet postrouting srcnat  a guest that reaches itself through its floating IP; what leaves the cloud
    arp  input       filter  senders own what they claim
    arp  output      filter  the host never claims a guest's own address towards that guest
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from calico_openstack.felix.ruleset import fields, floods, host_chains
from calico_openstack.felix.ruleset.fields import byte, port
from calico_openstack.felix.ruleset.objects import Chain, Hook, Key, Rule, SetSpec, Table, Value
from calico_openstack.felix.ruleset.settings import BOOT_TABLE, INET_TABLE, RulesetSettings
from calico_openstack.felix.ruleset.statements import (
    ACCEPT,
    DROP,
    ESTABLISHED,
    INVALID,
    RELATED,
    ByMap,
    CtState,
    Dnat,
    Equal,
    InSet,
    Masquerade,
    NatByMap,
    Reject,
    Snat,
    Statement,
    Within,
    goto,
    jump,
)

INET, ARP, BOOT = Table("inet", INET_TABLE), Table("arp", INET_TABLE), Table("inet", BOOT_TABLE)

TAPS = SetSpec("taps", (fields.IFNAME,))
GUESTS = SetSpec("guests", (fields.IFNAME, fields.ETHER))
GUESTS_WIDE = SetSpec("guests-wide", (fields.IFNAME, fields.ETHER), interval=True)
SOURCES = {v: SetSpec(f"source{v}", (fields.IFNAME, fields.ETHER, fields.ADDRESS[v])) for v in (4, 6)}
SOURCES_WIDE = {v: spec._replace(name=f"{spec.name}-wide", interval=True) for v, spec in SOURCES.items()}
EGRESS = SetSpec("egress", (fields.IFNAME,), value=fields.VERDICT)
INGRESS = SetSpec("ingress", (fields.IFNAME,), value=fields.VERDICT)
FLOATING = {v: SetSpec(f"floating{v}", (fields.ADDRESS[v],), value=fields.ADDRESS[v]) for v in (4, 6)}
HAIRPIN = {v: SetSpec(f"hairpin{v}", (fields.ADDRESS[v],) * 2, value=fields.ADDRESS[v]) for v in (4, 6)}
LINK_ICMPV6 = SetSpec("link-icmpv6", (fields.ICMPV6_TYPE,))
HOST_ICMPV6 = SetSpec("host-icmpv6", (fields.ICMPV6_TYPE,))
ARP_OWNED = SetSpec("owned", (fields.IFNAME, fields.ETHER, fields.IPV4))
ARP_OWNED_WIDE = ARP_OWNED._replace(name="owned-wide", interval=True)
ARP_SELF = SetSpec("self", (fields.IFNAME, fields.IPV4))

INET_SETS = (
    TAPS, GUESTS, GUESTS_WIDE, EGRESS, INGRESS, LINK_ICMPV6, HOST_ICMPV6,
    *SOURCES.values(), *SOURCES_WIDE.values(), *FLOATING.values(), *HAIRPIN.values(), *floods.INET_SETS,
)  # fmt: skip

RATES = {d: SetSpec(f"{d}-rate", (fields.IFNAME,), value=fields.VERDICT) for d in ("ingress", "egress")}
CONNECTIONS = {d: SetSpec(f"{d}-connections", (fields.IFNAME,), value=fields.VERDICT) for d in ("ingress", "egress")}
MARKS = SetSpec("marks", (fields.IFNAME,), value=fields.VERDICT)
POOLS = {v: SetSpec(f"pools{v}", (fields.ADDRESS[v],), interval=True) for v in (4, 6)}
TRANSLATED = {v: spec._replace(name=f"nat-outgoing{v}") for v, spec in POOLS.items()}
HOSTS = {v: spec._replace(name=f"hosts{v}") for v, spec in POOLS.items()}
OUTBOUND = {v: SetSpec(f"outbound{v}", (fields.ADDRESS[v],), value=fields.ADDRESS[v]) for v in (4, 6)}

OPTIONAL_SETS = (
    *RATES.values(), *CONNECTIONS.values(), MARKS,
    *POOLS.values(), *TRANSLATED.values(), *HOSTS.values(), *OUTBOUND.values(), *host_chains.SETS,
)  # fmt: skip
Used = frozenset[str]
"""Names of those optional sets that have elements."""

ARP_SETS = (GUESTS, GUESTS_WIDE, ARP_OWNED, ARP_OWNED_WIDE, ARP_SELF, *floods.ARP_SETS)

# ICMPv6: MLD query, report, done; router solicitation; neighbour solicitation and advertisement; MLDv2
# report (RFC 3810).
_LINK_TYPES = (130, 131, 132, 133, 135, 136, 143)
_ROUTER_ADVERTISEMENT = 134

ELEMENTS: dict[str, dict[Key, Value]] = {
    LINK_ICMPV6.name: {byte(kind): None for kind in _LINK_TYPES},
    HOST_ICMPV6.name: {byte(kind): None for kind in _LINK_TYPES},
    EGRESS.name: {b"": DROP},
    INGRESS.name: {b"": DROP},
}
"""Elements that no endpoint owns. The verdict maps drop what they do not list: an interface nobody vouches
for passes nothing."""

_METADATA4 = bytes((169, 254, 169, 254))
_METADATA6 = bytes.fromhex("fe80000000000000" + "00000000a9fea9fe")
_LINK_LOCAL = bytes.fromhex("fe80").ljust(16, b"\0")


def inet_chains(settings: RulesetSettings, used: Used = frozenset()) -> list[Chain]:
    marking = Chain("marking", (Rule((ByMap((fields.IN,), MARKS.name),)),), Hook("filter", "forward", -150))
    return [
        *([marking] if MARKS.name in used else []),
        Chain(
            "raw-prerouting",
            (
                *host_chains.before_anything(settings, used),
                *_from_taps(settings, goto("source")),
                *host_chains.of_raw_prerouting(settings, used),
            ),
            Hook("filter", "prerouting", -300),
        ),
        Chain("source", _rules(_source())),
        Chain("source4", _rules(_source4(settings))),
        Chain("source6", _rules(_source6(settings))),
        Chain("link-local", _rules(_link_local(settings))),
        Chain("link-source", _rules(floods.link_source(limit=settings.limit_floods))),
        Chain("unspecified", _rules(_unspecified())),
        Chain("nat-prerouting", _rules(_nat_prerouting(settings)), Hook("nat", "prerouting", -100)),
        Chain("nat-output", _rules(_floating()), Hook("nat", "output", -100)),
        Chain("nat-postrouting", _rules(_source_nat(settings, used)), Hook("nat", "postrouting", 100)),
        Chain("forward", tuple(_forward(settings, used)), Hook("filter", "forward", 0)),
        Chain("from-tap", _rules(_from_tap(settings, used))),
        Chain("to-tap", _rules(_to_tap(settings, used))),
        Chain(
            "input",
            (*_from_taps(settings, goto("to-host")), *host_chains.of_input(settings, used)),
            Hook("filter", "input", 0),
        ),
        Chain("to-host", _rules(_to_host(settings, used))),
        *host_chains.chains(settings, used),
    ]


def arp_chains(settings: RulesetSettings) -> list[Chain]:
    sender = (fields.IN, fields.ARP_SENDER_MAC, fields.ARP_SENDER)
    probe = Equal(fields.ARP_SENDER, bytes(4))
    from_tap: list[tuple[Statement, ...]] = [
        *(floods.arp() if settings.limit_floods else ()),
        (InSet(sender, ARP_OWNED.name), ACCEPT),
        (InSet(sender, ARP_OWNED_WIDE.name), ACCEPT),
        # A probe (RFC 5227) asks without an address of its own.
        (probe, InSet(sender[:2], GUESTS.name), ACCEPT),
        (probe, InSet(sender[:2], GUESTS_WIDE.name), ACCEPT),
        (DROP,),
    ]
    reply = Equal(fields.ARP_OPERATION, b"\0\x02")
    claims = [(reply, InSet((fields.OUT, fields.ARP_SENDER), ARP_SELF.name), DROP)]
    return [
        Chain("input", tuple(_from_taps(settings, goto("from-tap"))), Hook("filter", "input", 0)),
        Chain("from-tap", _rules(from_tap)),
        Chain("output", _rules(claims), Hook("filter", "output", 0)),
    ]


def deny(settings: RulesetSettings) -> Statement:
    return Reject() if settings.deny == "reject" else DROP


def _rules(lists: Iterable[tuple[Statement, ...]]) -> tuple[Rule, ...]:
    return tuple(Rule(statements) for statements in lists)


def _from_taps(settings: RulesetSettings, *then: Statement) -> Iterator[Rule]:
    for prefix in settings.tap_prefixes:
        yield Rule((Equal(fields.IN, prefix.encode()), *then))


def _udp(source: int, destination: int) -> tuple[Statement, ...]:
    return (
        Equal(fields.L4PROTO, byte(fields.UDP)),
        Equal(fields.SOURCE_PORT, port(source)),
        Equal(fields.DESTINATION_PORT, port(destination)),
    )


def _to_port(protocol: int, destination: int) -> tuple[Statement, ...]:
    return Equal(fields.L4PROTO, byte(protocol)), Equal(fields.DESTINATION_PORT, port(destination))


def _is(version: int) -> Equal:
    return Equal(fields.NFPROTO, fields.FAMILY_OF[version])


_ICMPV6 = (_is(6), Equal(fields.L4PROTO, byte(fields.ICMPV6)))


def _source() -> Iterator[tuple[Statement, ...]]:
    yield _is(4), goto("source4")
    yield _is(6), goto("source6")
    yield (DROP,)


def _source4(settings: RulesetSettings) -> Iterator[tuple[Statement, ...]]:
    # The original destination: after the metadata translation 127.0.0.1 is legitimate, and route_localnet
    # lets it in.
    yield _is(4), Within(fields.DESTINATION4, bytes((127, 0, 0, 0)), 8), DROP
    yield _is(4), *_udp(67, 68), DROP
    sender = (fields.IN, fields.MAC_SOURCE, fields.SOURCE4)
    yield _is(4), InSet(sender, SOURCES[4].name), ACCEPT
    # A network that a guest may send from may be 0.0.0.0/0: with route_localnet the kernel takes loopback sources.
    yield _is(4), Within(fields.SOURCE4, bytes((127, 0, 0, 0)), 8), DROP
    yield _is(4), Within(fields.SOURCE4, bytes((224, 0, 0, 0)), 3), DROP
    yield _is(4), InSet(sender, SOURCES_WIDE[4].name), ACCEPT
    if settings.dhcp:
        discover = (_is(4), Equal(fields.SOURCE4, bytes(4)), *_udp(68, 67))
        yield *discover, InSet(sender[:2], GUESTS.name), ACCEPT
        yield *discover, InSet(sender[:2], GUESTS_WIDE.name), ACCEPT
    yield (DROP,)


def _source6(settings: RulesetSettings) -> Iterator[tuple[Statement, ...]]:
    yield *_ICMPV6, Equal(fields.TYPE6, byte(_ROUTER_ADVERTISEMENT)), DROP
    yield _is(6), *_udp(547, 546), DROP
    sender = (fields.IN, fields.MAC_SOURCE, fields.SOURCE6)
    yield _is(6), InSet(sender, SOURCES[6].name), ACCEPT
    for source, chain in (
        (Within(fields.SOURCE6, _LINK_LOCAL, 10), "link-local"),
        (Equal(fields.SOURCE6, bytes(16)), "unspecified"),
    ):
        for guests in (GUESTS, GUESTS_WIDE):
            yield _is(6), source, InSet(sender[:2], guests.name), goto(chain)
    # After those, because a network that a guest may send from may be ::/0.
    for never in (Within(fields.SOURCE6, b"\xff".ljust(16, b"\0"), 8), Equal(fields.SOURCE6, bytes(15) + b"\1")):
        yield _is(6), never, DROP
    yield _is(6), InSet(sender, SOURCES_WIDE[6].name), ACCEPT
    yield (DROP,)


def _link_local(settings: RulesetSettings) -> Iterator[tuple[Statement, ...]]:
    yield _is(6), Within(fields.DESTINATION6, _LINK_LOCAL, 10), goto("link-source")
    yield *_ICMPV6, InSet((fields.TYPE6,), LINK_ICMPV6.name), goto("link-source")
    if settings.dhcp:
        yield _is(6), *_udp(546, 547), goto("link-source")
    yield (DROP,)


def _unspecified() -> Iterator[tuple[Statement, ...]]:
    yield *_ICMPV6, InSet((fields.TYPE6,), LINK_ICMPV6.name), ACCEPT
    yield (DROP,)


def _nat_prerouting(settings: RulesetSettings) -> Iterator[tuple[Statement, ...]]:
    if settings.metadata and not settings.metadata_proxy and settings.metadata.address.version == 4:
        asked = (_is(4), Equal(fields.DESTINATION4, _METADATA4), *_to_port(fields.TCP, 80))
        target = Dnat(4, settings.metadata.address.packed, settings.metadata.port)
        for prefix in settings.tap_prefixes:
            yield Equal(fields.IN, prefix.encode()), *asked, target
    yield from _floating()


def _floating() -> Iterator[tuple[Statement, ...]]:
    for version in (4, 6):
        destination = (fields.DESTINATION[version],)
        yield _is(version), NatByMap("dnat", version, destination, FLOATING[version].name)


def _source_nat(settings: RulesetSettings, used: Used) -> Iterator[tuple[Statement, ...]]:
    yield from _hairpin()
    for version in (4, 6):
        if OUTBOUND[version].name in used and POOLS[version].name in used:
            outside = (_is(version), *_not_to_taps(settings), *leaves_cloud(version, settings, used))
            yield *outside, NatByMap("snat", version, (fields.SOURCE[version],), OUTBOUND[version].name)
    for version in (4, 6):
        if TRANSLATED[version].name in used:
            yield from _nat_outgoing(version, settings, used)


def _nat_outgoing(version: int, settings: RulesetSettings, used: Used) -> Iterator[tuple[Statement, ...]]:
    condition: tuple[Statement, ...] = (
        _is(version),
        InSet((fields.SOURCE[version],), TRANSLATED[version].name),
        *leaves_cloud(version, settings, used),
    )
    if HOSTS[version].name in used:
        condition += (InSet((fields.DESTINATION[version],), HOSTS[version].name, negate=True),)
    if settings.nat_interface:
        beginning = settings.nat_interface.endswith("+")
        name = settings.nat_interface.removesuffix("+")
        if name:
            condition += (Equal(fields.OUT, name.encode() if beginning else fields.ifname(name)),)
    if settings.nat_ports:
        for protocol in (fields.TCP, fields.UDP):
            yield *condition, Equal(fields.L4PROTO, byte(protocol)), _translation(version, settings, settings.nat_ports)
    yield *condition, _translation(version, settings, None)


def _translation(version: int, settings: RulesetSettings, ports: tuple[int, int] | None) -> Masquerade | Snat:
    address = settings.nat_address
    if address is not None and address.version == version:
        return Snat(version, address.packed, ports)
    return Masquerade(ports)


def leaves_cloud(version: int, settings: RulesetSettings, used: Used) -> tuple[Statement, ...]:
    """Is the destination outside all pools? Where there is no pool to ask: is the next hop no guest of this host?"""
    if POOLS[version].name in used:
        return (InSet((fields.DESTINATION[version],), POOLS[version].name, negate=True),)
    return _not_to_taps(settings)


def _not_to_taps(settings: RulesetSettings) -> tuple[Statement, ...]:
    return tuple(Equal(fields.OUT, prefix.encode(), negate=True) for prefix in settings.tap_prefixes)


def _hairpin() -> Iterator[tuple[Statement, ...]]:
    for version in (4, 6):
        ends = (fields.SOURCE[version], fields.DESTINATION[version])
        yield _is(version), NatByMap("snat", version, ends, HAIRPIN[version].name)


def _asked(where: fields.Field, spec: SetSpec, used: Used) -> list[tuple[Statement, ...]]:
    """The look-up in an optional map, if there is anything to find."""
    return [(ByMap((where,), spec.name),)] if spec.name in used else []


def _forward(settings: RulesetSettings, used: Used) -> Iterator[Rule]:
    for prefix in settings.tap_prefixes:
        # Before the accept of known flows: not even those may reach a tap that nobody vouches for. From
        # such a tap nothing gets here (chain `source`).
        yield Rule((Equal(fields.OUT, prefix.encode()), InSet((fields.OUT,), TAPS.name, negate=True), DROP))
    yield from _rules(_asked(fields.IN, RATES["egress"], used))
    yield from _rules(_asked(fields.OUT, RATES["ingress"], used))
    yield Rule((CtState(ESTABLISHED | RELATED), ACCEPT))
    yield from host_chains.of_forward(settings, used, "ingress")
    yield from _from_taps(settings, jump("from-tap"))
    for prefix in settings.tap_prefixes:
        yield Rule((Equal(fields.OUT, prefix.encode()), goto("to-tap")))
    yield from host_chains.of_forward(settings, used, "egress")


def _from_tap(settings: RulesetSettings, used: Used) -> Iterator[tuple[Statement, ...]]:
    if settings.drop_invalid:
        yield CtState(INVALID), deny(settings)
    if not settings.allow_vxlan:
        yield *_to_port(fields.UDP, settings.vxlan_port), deny(settings)
    if not settings.allow_ipip:
        yield Equal(fields.L4PROTO, byte(fields.IPIP)), deny(settings)
    yield (ByMap((fields.IN,), EGRESS.name),)
    yield from _asked(fields.IN, CONNECTIONS["egress"], used)


def _to_tap(settings: RulesetSettings, used: Used) -> Iterator[tuple[Statement, ...]]:
    if settings.drop_invalid:
        yield CtState(INVALID), deny(settings)
    yield (ByMap((fields.OUT,), INGRESS.name),)
    yield from _asked(fields.OUT, CONNECTIONS["ingress"], used)


def _to_host(settings: RulesetSettings, used: Used) -> Iterator[tuple[Statement, ...]]:
    yield InSet((fields.IN,), TAPS.name, negate=True), DROP
    discovery = (*_ICMPV6, InSet((fields.TYPE6,), HOST_ICMPV6.name))
    if settings.limit_floods:
        yield from floods.to_host(discovery, dhcp=settings.dhcp, dns=settings.dns)
    rate = _asked(fields.IN, RATES["egress"], used)
    if not rate:
        yield CtState(ESTABLISHED | RELATED), ACCEPT
    yield *discovery, ACCEPT
    if settings.dhcp:
        yield _is(4), *_udp(68, 67), ACCEPT
        yield _is(6), *_udp(546, 547), ACCEPT
    if rate:
        # A guest that spends its packets keeps its address and its gateway.
        yield from rate
        yield CtState(ESTABLISHED | RELATED), ACCEPT
    if settings.dns:
        yield *_to_port(fields.UDP, 53), ACCEPT
        yield *_to_port(fields.TCP, 53), ACCEPT
    if settings.metadata_proxy:
        for version, address in ((4, _METADATA4), (6, _METADATA6)):
            host = Equal(fields.DESTINATION[version], address)
            yield _is(version), host, *_to_port(fields.TCP, 80), ACCEPT
    elif settings.metadata and settings.metadata.address.version == 4:
        host = Equal(fields.DESTINATION4, settings.metadata.address.packed)
        yield _is(4), host, *_to_port(fields.TCP, settings.metadata.port), ACCEPT
    yield (jump("from-tap"),)
    if settings.endpoint_to_host == "accept":
        yield (ACCEPT,)
    elif settings.endpoint_to_host == "drop":
        yield (DROP,)
