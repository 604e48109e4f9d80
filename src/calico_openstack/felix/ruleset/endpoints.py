"""What one endpoint owns in the fixed sets and maps: its name, its addresses, its floating IPs.

Two endpoints may claim one key (a floating IP given twice by mistake, a virtual address in a hairpin): then
the lowest value counts, for every order of arrival.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import NamedTuple

from calico_openstack.felix.ruleset import fields, floods, named_sets
from calico_openstack.felix.ruleset.draft import Draft
from calico_openstack.felix.ruleset.fields import ifname, joined, last_address
from calico_openstack.felix.ruleset.objects import Key, SetSpec, Table, Value
from calico_openstack.felix.ruleset.ranges import disjoint
from calico_openstack.felix.wanted.state import WantedEndpoint
from calico_openstack.model.net import Net


class Claim(NamedTuple):
    table: Table
    spec: SetSpec
    key: Key
    value: Value = None

    @property
    def place(self) -> tuple[Table, str, Key]:
        return self.table, self.spec.name, self.key


class ClaimBook:
    """Who claims which element, so that an element goes only with its last claimant."""

    def __init__(self, drafts: Mapping[Table, Draft]) -> None:
        self._drafts = drafts
        self._claims: dict[Hashable, list[Claim]] = {}
        self._claimants: dict[tuple[Table, str, Key], dict[Hashable, Value]] = {}

    def replace(self, owner: Hashable, new: list[Claim]) -> None:
        """The owner claims exactly `new`; the elements follow."""
        old = self._claims.pop(owner, [])
        for claim in old:
            self._claimants[claim.place].pop(owner, None)
        for claim in new:
            self._claimants.setdefault(claim.place, {})[owner] = claim.value
        for claim in (*old, *new):
            draft = self._drafts[claim.table]
            if claimants := self._claimants.get(claim.place):
                draft.put_set(claim.spec)
                draft.put_element(claim.spec.name, claim.key, min(claimants.values(), key=repr))
            else:
                self._claimants.pop(claim.place, None)
                if claim.spec.name in draft.content.sets:
                    draft.drop_element(claim.spec.name, claim.key)
        if new:
            self._claims[owner] = new


def claims(endpoint: WantedEndpoint, *, floating_source: bool = False) -> Iterator[Claim]:
    """All elements of the endpoint except the verdict maps', which its policies decide."""
    name = ifname(endpoint.interface)
    yield Claim(named_sets.INET, named_sets.TAPS, name)
    for table in (named_sets.INET, named_sets.ARP):
        if endpoint.mac is None:
            yield Claim(table, named_sets.GUESTS_WIDE, (joined(name, _FIRST_MAC), joined(name, _LAST_MAC)))
        else:
            yield Claim(table, named_sets.GUESTS, joined(name, fields.mac(endpoint.mac)))
    if endpoint.mac is not None:
        own = floods.link_local_of(fields.mac(endpoint.mac))
        yield Claim(named_sets.INET, floods.LINK_OWN, joined(name, own))
    owned = tuple(dict.fromkeys((*endpoint.addresses, *endpoint.allowed_pairs)))
    for version in (4, 6):
        sources = (net for net in (*owned, *endpoint.spoof) if net.version == version)
        yield from _senders(
            named_sets.INET, named_sets.SOURCES[version], named_sets.SOURCES_WIDE[version], endpoint, sources
        )
    addresses4 = (net for net in owned if net.version == 4)
    yield from _senders(named_sets.ARP, named_sets.ARP_OWNED, named_sets.ARP_OWNED_WIDE, endpoint, addresses4)
    for net in endpoint.addresses:
        # Not for allowed pairs: the holder of a shared virtual address may be another guest of this host,
        # and then the host must answer for it.
        if net.version == 4 and net.is_host and net not in endpoint.allowed_pairs:
            yield Claim(named_sets.ARP, named_sets.ARP_SELF, joined(name, net.packed))
    for nat in endpoint.nats:
        version = nat.external.version
        yield Claim(named_sets.INET, named_sets.FLOATING[version], nat.external.packed, nat.internal.packed)
        itself = joined(nat.internal.packed, nat.internal.packed)
        yield Claim(named_sets.INET, named_sets.HAIRPIN[version], itself, nat.external.packed)
        if floating_source:
            yield Claim(named_sets.INET, named_sets.OUTBOUND[version], nat.internal.packed, nat.external.packed)


_FIRST_MAC, _LAST_MAC = bytes(6), b"\xff" * 6


def _senders(
    table: Table, exact: SetSpec, wide: SetSpec, endpoint: WantedEndpoint, nets: Iterator[Net]
) -> Iterator[Claim]:
    """(interface, MAC, address) of what the guest may send from; networks, and any MAC if none is known, as
    ranges."""
    name = ifname(endpoint.interface)
    for net in disjoint(nets):
        if net.is_host and endpoint.mac is not None:
            yield Claim(table, exact, joined(name, fields.mac(endpoint.mac), net.packed))
            continue
        first = last = fields.mac(endpoint.mac) if endpoint.mac else b""
        if not endpoint.mac:
            first, last = _FIRST_MAC, _LAST_MAC
        yield Claim(table, wide, (joined(name, first, net.packed), joined(name, last, last_address(net))))
