"""What one endpoint's QoS settings are in the firewall: packet rates, numbers of connections, a DSCP mark.

Each limit is a chain of the endpoint's own, so its token bucket or count lives as long as the endpoint keeps that
limit, whatever else changes; verdict maps (interface to chain) lead there. The maps and the rules that ask them exist
only while some endpoint is listed. Marks are shared: one chain per code point.

    rate          before known flows are accepted, since every packet counts
    connections   after the policies allowed the flow: what is denied takes no slot
    mark          of packets that leave the cloud, known flows too

Units are those of the document: packets per second, packets, connections. What upstream's API refuses is brought
into the kernel's bounds; a code point that nobody knows marks nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from calico_openstack.felix.ruleset import fields, named_sets, translation
from calico_openstack.felix.ruleset.draft import Draft
from calico_openstack.felix.ruleset.endpoints import Claim
from calico_openstack.felix.ruleset.fields import byte, ifname
from calico_openstack.felix.ruleset.names import short_hash
from calico_openstack.felix.ruleset.objects import Chain, Rule
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.ruleset.statements import (
    DROP,
    NEW,
    CtState,
    Equal,
    MoreConnections,
    Rate,
    Reset,
    SetDscp,
    Statement,
    goto,
    jump,
)
from calico_openstack.felix.wanted.state import WantedEndpoint
from calico_openstack.model.endpoint import EndpointKey

DEFAULT_BURST = 5
"""Packets; upstream's."""
_MOST = (1 << 32) - 1

CODE_POINTS = {
    "DF": 0, "EF": 46,
    "AF11": 10, "AF12": 12, "AF13": 14, "AF21": 18, "AF22": 20, "AF23": 22,
    "AF31": 26, "AF32": 28, "AF33": 30, "AF41": 34, "AF42": 36, "AF43": 38,
    "CS0": 0, "CS1": 8, "CS2": 16, "CS3": 24, "CS4": 32, "CS5": 40, "CS6": 48,
}  # fmt: skip
"""The names that upstream's API takes, in any case (RFC 2474, 2597, 3246)."""


class Limits(NamedTuple):
    """`chains` of the endpoint's own; `mark` the code point; `claims` on the maps that lead to them."""

    chains: tuple[Chain, ...] = ()
    mark: int | None = None
    claims: tuple[Claim, ...] = ()


def limits(endpoint: WantedEndpoint) -> Limits:
    qos = endpoint.qos
    if qos is None:
        return Limits()
    name, owner = ifname(endpoint.interface), short_hash(repr(endpoint.key))
    chains: list[Chain] = []
    claims: list[Claim] = []
    for direction, rate, burst, connections in (
        ("ingress", qos.ingress_packet_rate, qos.ingress_packet_burst, qos.ingress_max_connections),
        ("egress", qos.egress_packet_rate, qos.egress_packet_burst, qos.egress_max_connections),
    ):
        if rate > 0:
            bucket = Rate(min(rate, _MOST), "second", min(burst, _MOST) if burst > 0 else DEFAULT_BURST, over=True)
            chains.append(Chain(f"{direction}-rate-{owner}", (Rule((bucket, DROP)),)))
            claims.append(Claim(named_sets.INET, named_sets.RATES[direction], name, jump(chains[-1].name)))
        if connections > 0:
            tcp = (Equal(fields.L4PROTO, byte(fields.TCP)), CtState(NEW))
            rule = Rule((*tcp, MoreConnections(min(connections, _MOST)), Reset()))
            chains.append(Chain(f"{direction}-connections-{owner}", (rule,)))
            claims.append(Claim(named_sets.INET, named_sets.CONNECTIONS[direction], name, jump(chains[-1].name)))
    mark = code_point(qos.dscp)
    if mark is not None:
        claims.append(Claim(named_sets.INET, named_sets.MARKS, name, goto(_mark_chain(mark))))
    return Limits(tuple(chains), mark, tuple(claims))


def code_point(dscp: int | str | None) -> int | None:
    """The six bits that a number or a name means; None for what means none."""
    if isinstance(dscp, str):
        word = dscp.strip().upper()
        return CODE_POINTS[word] if word in CODE_POINTS else code_point(int(word)) if word.isdecimal() else None
    return dscp if dscp is not None and 0 <= dscp < 64 else None


class LimitChains:
    """Who has which of these chains, so that a chain goes with its last user."""

    def __init__(self, draft: Draft, settings: RulesetSettings) -> None:
        self._draft = draft
        self._settings = settings
        self._limits: dict[EndpointKey, Limits] = {}
        self._marked: dict[int, set[EndpointKey]] = defaultdict(set)

    def replace(self, owner: EndpointKey, new: Limits) -> None:
        """The owner has exactly `new`; a chain that stays as it is keeps its bucket or count."""
        old = self._limits.pop(owner, Limits())
        kept = {chain.name for chain in new.chains}
        for chain in old.chains:
            if chain.name not in kept:
                self._draft.drop_chain(chain.name)
        for chain in new.chains:
            self._draft.put_chain(chain)
        if new != Limits():
            self._limits[owner] = new
        if old.mark is not None:
            self._marked[old.mark].discard(owner)
        if new.mark is not None:
            self._marked[new.mark].add(owner)

    def write_marks(self, used: named_sets.Used) -> None:
        """The chains of all code points in use: what "leaves the cloud" means depends on the pools that there are."""
        for mark in sorted(self._marked):
            if self._marked[mark]:
                self._draft.put_chain(Chain(_mark_chain(mark), tuple(self._mark(mark, used))))
            else:
                del self._marked[mark]
                self._draft.drop_chain(_mark_chain(mark))

    def _mark(self, mark: int, used: named_sets.Used) -> Iterator[Rule]:
        for version in (4, 6):
            family: Statement = Equal(fields.NFPROTO, fields.FAMILY_OF[version])
            yield Rule((family, *translation.leaves_cloud(version, self._settings, used), SetDscp(version, mark)))


def _mark_chain(mark: int) -> str:
    return f"dscp-{mark}"
