"""Ended TCP and UDP flows must not come back by the other side's hand. Needs CAP_NET_ADMIN.

Conntrack takes a TCP packet from the middle of an unknown flow for the first of a new one, in its direction
(`nf_conntrack_tcp_loose`; a guest that has migrated needs it). So a server that may send to anybody, and goes on
sending after a client's flow was ended, would make that flow anew, and the client's packets would pass as answers. For
as long as TCP repeats itself, packets in the answering direction of an ended flow are therefore no new flow: a table of
its own, before the firewall's chains, drops them. Everything else, above all a new connection between the same two,
goes on to the firewall. The table is made when it is first needed, and holds what ended lately, whichever process ended
it.

A UDP answer cannot be told from the first datagram of a flow that the server opens itself with the same two ports, so
those count as answers for the time after which Linux forgets a UDP flow; then the server's own policy decides about
them. Other protocols need no such care: nothing but a request begins a flow of ICMP, nothing but INIT one of SCTP.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from calico_openstack.felix.kernel.nft import NftRefused, NftTables
from calico_openstack.felix.ruleset import fields
from calico_openstack.felix.ruleset.difference import as_read
from calico_openstack.felix.ruleset.fields import byte, joined, port
from calico_openstack.felix.ruleset.objects import (
    AddChain,
    AddElements,
    AddSet,
    AddTable,
    Chain,
    DropElements,
    DropTable,
    Hook,
    NamedSet,
    NftChanges,
    Operation,
    Rule,
    SetRules,
    SetSpec,
    Table,
    TableContent,
    in_order,
)
from calico_openstack.felix.ruleset.statements import DROP, NEW, CtState, Equal, InSet
from calico_openstack.netlink.conntrack import Tracked

TABLE = Table("inet", "calico-ended")

PERIOD = 1200.0
"""Seconds, for TCP; Linux gives up repeating after about 925 (tcp_retries2, net/ipv4/tcp_timer.c)."""

UDP_PERIOD = 120.0
"""Seconds, for UDP: `nf_conntrack_udp_timeout_stream`."""

_PERIODS = {fields.TCP: PERIOD, fields.UDP: UDP_PERIOD}
_NAMES = {fields.TCP: "ended", fields.UDP: "ended-udp"}
_SETS = {
    (protocol, v): SetSpec(f"{name}{v}", (fields.ADDRESS[v], fields.PORT, fields.ADDRESS[v], fields.PORT))
    for protocol, name in _NAMES.items()
    for v in (4, 6)
}


class Packet(NamedTuple):
    """`key`: in the set of that protocol and IP version: source, port, destination, port."""

    protocol: int
    version: int
    key: bytes


def _chain() -> Chain:
    rules = (
        Rule(
            (
                CtState(NEW),
                Equal(fields.NFPROTO, fields.FAMILY_OF[version]),
                Equal(fields.L4PROTO, byte(protocol)),
                InSet(
                    (
                        fields.SOURCE[version],
                        fields.SOURCE_PORT,
                        fields.DESTINATION[version],
                        fields.DESTINATION_PORT,
                    ),
                    spec.name,
                ),
                DROP,
            )
        )
        for (protocol, version), spec in _SETS.items()
    )
    return Chain("forward", tuple(rules), Hook("filter", "forward", -5))


class Barred:
    """`transactions` counts those of nf_tables that succeeded. The methods raise OSError when the kernel refuses."""

    def __init__(self, tables: NftTables | None = None) -> None:
        self._tables = tables
        self._made = self._adopted = False
        self._until: dict[Packet, float] = {}
        self.transactions = 0

    def adopt(self, now: float) -> None:
        """What a former process barred stays so, for the whole of its time: nothing tells since when. To be called
        before the others; again, it does nothing."""
        if self._adopted:
            return
        self._adopted = True
        actual = self._opened().read_table(TABLE)
        sets = {spec.name: actual.sets.get(spec.name, NamedSet(spec)) for spec in _SETS.values()}
        found = {
            Packet(protocol, version, key)
            for (protocol, version), spec in _SETS.items()
            for key in (sets[spec.name].elements if sets[spec.name].spec == spec else ())
            if isinstance(key, bytes)
        }
        chain = _chain()
        right = as_read({TABLE: TableContent({chain.name: chain}, sets)})[TABLE]
        if actual == right:
            self._made = True
        elif found:
            self._make(found)
        self._until = {packet: now + _PERIODS[packet.protocol] for packet in found}

    def bar(self, flows: Iterable[Tracked], now: float) -> None:
        """From now on, and for their protocol's time, the answers of these flows are no new flow."""
        packets = {packet for flow in flows for packet in answers(flow)}
        fresh = packets - self._until.keys()
        if packets and not self._made:
            self._make(packets)
        else:
            self._change(fresh, add=True)
        self._until.update({packet: now + _PERIODS[packet.protocol] for packet in packets})

    def expire(self, now: float) -> None:
        """Forget what is long enough ago."""
        over = {packet for packet, until in self._until.items() if until <= now}
        self._change(over, add=False)
        for packet in over:
            del self._until[packet]

    def wake_at(self) -> float | None:
        return min(self._until.values(), default=None)

    def close(self) -> None:
        if self._tables is not None:
            self._tables.close()

    def _make(self, packets: set[Packet]) -> None:
        """The whole table, with these in it, in place of what may be there."""
        chain = _chain()
        made: list[Operation] = [AddTable(TABLE), *(AddSet(TABLE, spec) for spec in _SETS.values())]
        made += [AddChain(TABLE, chain.name, chain.hook), SetRules(TABLE, chain.name, chain.rules, fresh=True)]
        # Adding what may be there, so that dropping cannot fail.
        self._commit([AddTable(TABLE)])
        self._commit([DropTable(TABLE), *made, *_elements(packets, add=True)])
        self._made = True

    def _change(self, packets: set[Packet], *, add: bool) -> None:
        operations = _elements(packets, add=add)
        if operations:
            self._commit(operations)

    def _commit(self, operations: Iterable[Operation]) -> None:
        changes: NftChanges = in_order(operations)
        try:
            self._opened().apply(changes)
        except NftRefused as refused:
            self._forget()
            raise OSError(refused.error.errno, str(refused)) from refused
        self.transactions += 1

    def _opened(self) -> NftTables:
        if self._tables is None:
            self._tables = NftTables()
        return self._tables

    def _forget(self) -> None:
        """Somebody may have removed the table: make it anew the next time."""
        self._made = False
        self._until = {}


def _elements(packets: set[Packet], *, add: bool) -> list[Operation]:
    operations: list[Operation] = []
    for kind, spec in _SETS.items():
        keys = tuple(sorted(packet.key for packet in packets if packet[:2] == kind))
        if keys and add:
            operations.append(AddElements(TABLE, spec, tuple((key, None) for key in keys)))
        elif keys:
            operations.append(DropElements(TABLE, spec, keys))
    return operations


def answers(flow: Tracked) -> set[Packet]:
    """The packets in answer to a flow's first, as the chain sees them: with and without translation."""
    first, back = flow.original, flow.reply
    if first.protocol not in _PERIODS or first.ports is None or back.ports is None:
        return set()
    targets = {(back.destination, back.ports[1]), (first.source, first.ports[0])}
    begin = joined(back.source.packed, port(back.ports[0]))
    return {
        Packet(first.protocol, first.source.version, begin + joined(address.packed, port(number)))
        for address, number in targets
    }
