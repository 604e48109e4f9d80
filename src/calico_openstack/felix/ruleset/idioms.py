"""Conditions and forms of rules that several chains share: a family, a UDP port pair, packets that come from a tap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from calico_openstack.felix.ruleset import fields
from calico_openstack.felix.ruleset.fields import byte, port
from calico_openstack.felix.ruleset.objects import Rule
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.ruleset.statements import DROP, Equal, Reject, Statement

METADATA4 = bytes((169, 254, 169, 254))
METADATA6 = bytes.fromhex("fe80000000000000" + "00000000a9fea9fe")


def deny(settings: RulesetSettings) -> Statement:
    return Reject() if settings.deny == "reject" else DROP


def rules(lists: Iterable[tuple[Statement, ...]]) -> tuple[Rule, ...]:
    return tuple(Rule(statements) for statements in lists)


def from_taps(settings: RulesetSettings, *then: Statement) -> Iterator[Rule]:
    for prefix in settings.tap_prefixes:
        yield Rule((Equal(fields.IN, prefix.encode()), *then))


def udp(source: int, destination: int) -> tuple[Statement, ...]:
    return (
        Equal(fields.L4PROTO, byte(fields.UDP)),
        Equal(fields.SOURCE_PORT, port(source)),
        Equal(fields.DESTINATION_PORT, port(destination)),
    )


def to_port(protocol: int, destination: int) -> tuple[Statement, ...]:
    return Equal(fields.L4PROTO, byte(protocol)), Equal(fields.DESTINATION_PORT, port(destination))


def is_version(version: int) -> Equal:
    return Equal(fields.NFPROTO, fields.FAMILY_OF[version])


ICMPV6 = (is_version(6), Equal(fields.L4PROTO, byte(fields.ICMPV6)))
