"""What a guest may say: under its own MAC and addresses, or one of the few things that are said without an address.

    inet source    its own addresses; DHCP and discovery before it has one; nothing that only servers and routers say
    arp  input     senders own what they claim
    arp  output    the host never claims a guest's own address towards that guest

The reason for each allowance is in docs/design/ruleset.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from calico_openstack.felix.ruleset import fields, floods
from calico_openstack.felix.ruleset.fields import byte
from calico_openstack.felix.ruleset.idioms import ICMPV6, from_taps, is_version, rules, udp
from calico_openstack.felix.ruleset.named_sets import (
    ARP_OWNED,
    ARP_OWNED_WIDE,
    ARP_SELF,
    GUESTS,
    GUESTS_WIDE,
    LINK_ICMPV6,
    SOURCES,
    SOURCES_WIDE,
)
from calico_openstack.felix.ruleset.objects import Chain, Hook
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.ruleset.statements import ACCEPT, DROP, Equal, InSet, Statement, Within, goto

_LINK_LOCAL = bytes.fromhex("fe80").ljust(16, b"\0")
_ROUTER_ADVERTISEMENT = 134


def source_chains(settings: RulesetSettings) -> tuple[Chain, ...]:
    return (
        Chain("source", rules(_source())),
        Chain("source4", rules(_source4(settings))),
        Chain("source6", rules(_source6(settings))),
        Chain("link-local", rules(_link_local(settings))),
        Chain("link-source", rules(floods.link_source(limit=settings.limit_floods))),
        Chain("unspecified", rules(_unspecified())),
    )


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
        Chain("input", tuple(from_taps(settings, goto("from-tap"))), Hook("filter", "input", 0)),
        Chain("from-tap", rules(from_tap)),
        Chain("output", rules(claims), Hook("filter", "output", 0)),
    ]


def _source() -> Iterator[tuple[Statement, ...]]:
    yield is_version(4), goto("source4")
    yield is_version(6), goto("source6")
    yield (DROP,)


def _source4(settings: RulesetSettings) -> Iterator[tuple[Statement, ...]]:
    # The original destination: after the metadata translation 127.0.0.1 is legitimate, and route_localnet
    # lets it in.
    yield is_version(4), Within(fields.DESTINATION4, bytes((127, 0, 0, 0)), 8), DROP
    yield is_version(4), *udp(67, 68), DROP
    sender = (fields.IN, fields.MAC_SOURCE, fields.SOURCE4)
    yield is_version(4), InSet(sender, SOURCES[4].name), ACCEPT
    # A network that a guest may send from may be 0.0.0.0/0: with route_localnet the kernel takes loopback sources.
    yield is_version(4), Within(fields.SOURCE4, bytes((127, 0, 0, 0)), 8), DROP
    yield is_version(4), Within(fields.SOURCE4, bytes((224, 0, 0, 0)), 3), DROP
    yield is_version(4), InSet(sender, SOURCES_WIDE[4].name), ACCEPT
    if settings.dhcp:
        discover = (is_version(4), Equal(fields.SOURCE4, bytes(4)), *udp(68, 67))
        yield *discover, InSet(sender[:2], GUESTS.name), ACCEPT
        yield *discover, InSet(sender[:2], GUESTS_WIDE.name), ACCEPT
    yield (DROP,)


def _source6(settings: RulesetSettings) -> Iterator[tuple[Statement, ...]]:
    yield *ICMPV6, Equal(fields.TYPE6, byte(_ROUTER_ADVERTISEMENT)), DROP
    yield is_version(6), *udp(547, 546), DROP
    sender = (fields.IN, fields.MAC_SOURCE, fields.SOURCE6)
    yield is_version(6), InSet(sender, SOURCES[6].name), ACCEPT
    for source, chain in (
        (Within(fields.SOURCE6, _LINK_LOCAL, 10), "link-local"),
        (Equal(fields.SOURCE6, bytes(16)), "unspecified"),
    ):
        for guests in (GUESTS, GUESTS_WIDE):
            yield is_version(6), source, InSet(sender[:2], guests.name), goto(chain)
    # After those, because a network that a guest may send from may be ::/0.
    for never in (Within(fields.SOURCE6, b"\xff".ljust(16, b"\0"), 8), Equal(fields.SOURCE6, bytes(15) + b"\1")):
        yield is_version(6), never, DROP
    yield is_version(6), InSet(sender, SOURCES_WIDE[6].name), ACCEPT
    yield (DROP,)


def _link_local(settings: RulesetSettings) -> Iterator[tuple[Statement, ...]]:
    yield is_version(6), Within(fields.DESTINATION6, _LINK_LOCAL, 10), goto("link-source")
    yield *ICMPV6, InSet((fields.TYPE6,), LINK_ICMPV6.name), goto("link-source")
    if settings.dhcp:
        yield is_version(6), *udp(546, 547), goto("link-source")
    yield (DROP,)


def _unspecified() -> Iterator[tuple[Statement, ...]]:
    yield *ICMPV6, InSet((fields.TYPE6,), LINK_ICMPV6.name), ACCEPT
    yield (DROP,)
