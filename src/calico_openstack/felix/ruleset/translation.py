"""Addresses that become others: metadata, floating IPs both ways, a guest reaching itself, what leaves the cloud."""

from __future__ import annotations

from collections.abc import Iterator

from calico_openstack.felix.ruleset import fields
from calico_openstack.felix.ruleset.fields import byte
from calico_openstack.felix.ruleset.idioms import METADATA4, is_version, to_port
from calico_openstack.felix.ruleset.named_sets import FLOATING, HAIRPIN, HOSTS, OUTBOUND, POOLS, TRANSLATED, Used
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.ruleset.statements import Dnat, Equal, InSet, Masquerade, NatByMap, Snat, Statement


def destination_nat(settings: RulesetSettings) -> Iterator[tuple[Statement, ...]]:
    if settings.metadata and not settings.metadata_proxy and settings.metadata.address.version == 4:
        asked = (is_version(4), Equal(fields.DESTINATION4, METADATA4), *to_port(fields.TCP, 80))
        target = Dnat(4, settings.metadata.address.packed, settings.metadata.port)
        for prefix in settings.tap_prefixes:
            yield Equal(fields.IN, prefix.encode()), *asked, target
    yield from floating()


def floating() -> Iterator[tuple[Statement, ...]]:
    for version in (4, 6):
        destination = (fields.DESTINATION[version],)
        yield is_version(version), NatByMap("dnat", version, destination, FLOATING[version].name)


def source_nat(settings: RulesetSettings, used: Used) -> Iterator[tuple[Statement, ...]]:
    yield from _hairpin()
    for version in (4, 6):
        if OUTBOUND[version].name in used and POOLS[version].name in used:
            outside = (is_version(version), *_not_to_taps(settings), *leaves_cloud(version, settings, used))
            yield *outside, NatByMap("snat", version, (fields.SOURCE[version],), OUTBOUND[version].name)
    for version in (4, 6):
        if TRANSLATED[version].name in used:
            yield from _nat_outgoing(version, settings, used)


def _nat_outgoing(version: int, settings: RulesetSettings, used: Used) -> Iterator[tuple[Statement, ...]]:
    condition: tuple[Statement, ...] = (
        is_version(version),
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
        yield is_version(version), NatByMap("snat", version, ends, HAIRPIN[version].name)
