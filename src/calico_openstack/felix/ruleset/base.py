"""The fixed part: hooks, and the way of a packet from one to the next.

Everything here, in `senders.py` and in `translation.py` depends on the settings alone; endpoints only add elements to
the sets and maps (`named_sets.py`), and chains to which the maps point (`policies.py`, `limits.py`). The reason for
each allowance is in docs/design/ruleset.md.

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

from collections.abc import Iterator

from calico_openstack.felix.ruleset import fields, floods, host_chains, senders, translation
from calico_openstack.felix.ruleset.fields import byte
from calico_openstack.felix.ruleset.idioms import (
    ICMPV6,
    METADATA4,
    METADATA6,
    deny,
    from_taps,
    is_version,
    rules,
    to_port,
    udp,
)
from calico_openstack.felix.ruleset.named_sets import (
    CONNECTIONS,
    EGRESS,
    HOST_ICMPV6,
    INGRESS,
    MARKS,
    RATES,
    TAPS,
    Used,
)
from calico_openstack.felix.ruleset.objects import Chain, Hook, Rule, SetSpec
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
    InSet,
    Statement,
    goto,
    jump,
)


def inet_chains(settings: RulesetSettings, used: Used = frozenset()) -> list[Chain]:
    marking = Chain("marking", (Rule((ByMap((fields.IN,), MARKS.name),)),), Hook("filter", "forward", -150))
    return [
        *([marking] if MARKS.name in used else []),
        Chain(
            "raw-prerouting",
            (
                *host_chains.before_anything(settings, used),
                *from_taps(settings, goto("source")),
                *host_chains.of_raw_prerouting(settings, used),
            ),
            Hook("filter", "prerouting", -300),
        ),
        *senders.source_chains(settings),
        Chain("nat-prerouting", rules(translation.destination_nat(settings)), Hook("nat", "prerouting", -100)),
        Chain("nat-output", rules(translation.floating()), Hook("nat", "output", -100)),
        Chain("nat-postrouting", rules(translation.source_nat(settings, used)), Hook("nat", "postrouting", 100)),
        Chain("forward", tuple(_forward(settings, used)), Hook("filter", "forward", 0)),
        Chain("from-tap", rules(_from_tap(settings, used))),
        Chain("to-tap", rules(_to_tap(settings, used))),
        Chain(
            "input",
            (*from_taps(settings, goto("to-host")), *host_chains.of_input(settings, used)),
            Hook("filter", "input", 0),
        ),
        Chain("to-host", rules(_to_host(settings, used))),
        *host_chains.chains(settings, used),
    ]


def _asked(where: fields.Field, spec: SetSpec, used: Used) -> list[tuple[Statement, ...]]:
    """The look-up in an optional map, if there is anything to find."""
    return [(ByMap((where,), spec.name),)] if spec.name in used else []


def _forward(settings: RulesetSettings, used: Used) -> Iterator[Rule]:
    for prefix in settings.tap_prefixes:
        # Before the accept of known flows: not even those may reach a tap that nobody vouches for. From
        # such a tap nothing gets here (chain `source`).
        yield Rule((Equal(fields.OUT, prefix.encode()), InSet((fields.OUT,), TAPS.name, negate=True), DROP))
    yield from rules(_asked(fields.IN, RATES["egress"], used))
    yield from rules(_asked(fields.OUT, RATES["ingress"], used))
    yield Rule((CtState(ESTABLISHED | RELATED), ACCEPT))
    yield from host_chains.of_forward(settings, used, "ingress")
    yield from from_taps(settings, jump("from-tap"))
    for prefix in settings.tap_prefixes:
        yield Rule((Equal(fields.OUT, prefix.encode()), goto("to-tap")))
    yield from host_chains.of_forward(settings, used, "egress")


def _from_tap(settings: RulesetSettings, used: Used) -> Iterator[tuple[Statement, ...]]:
    if settings.drop_invalid:
        yield CtState(INVALID), deny(settings)
    if not settings.allow_vxlan:
        yield *to_port(fields.UDP, settings.vxlan_port), deny(settings)
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
    discovery = (*ICMPV6, InSet((fields.TYPE6,), HOST_ICMPV6.name))
    if settings.limit_floods:
        yield from floods.to_host(discovery, dhcp=settings.dhcp, dns=settings.dns)
    rate = _asked(fields.IN, RATES["egress"], used)
    if not rate:
        yield CtState(ESTABLISHED | RELATED), ACCEPT
    yield *discovery, ACCEPT
    if settings.dhcp:
        yield is_version(4), *udp(68, 67), ACCEPT
        yield is_version(6), *udp(546, 547), ACCEPT
    if rate:
        # A guest that spends its packets keeps its address and its gateway.
        yield from rate
        yield CtState(ESTABLISHED | RELATED), ACCEPT
    if settings.dns:
        yield *to_port(fields.UDP, 53), ACCEPT
        yield *to_port(fields.TCP, 53), ACCEPT
    if settings.metadata_proxy:
        for version, address in ((4, METADATA4), (6, METADATA6)):
            host = Equal(fields.DESTINATION[version], address)
            yield is_version(version), host, *to_port(fields.TCP, 80), ACCEPT
    elif settings.metadata and settings.metadata.address.version == 4:
        host = Equal(fields.DESTINATION4, settings.metadata.address.packed)
        yield is_version(4), host, *to_port(fields.TCP, settings.metadata.port), ACCEPT
    yield (jump("from-tap"),)
    if settings.endpoint_to_host == "accept":
        yield (ACCEPT,)
    elif settings.endpoint_to_host == "drop":
        yield (DROP,)
