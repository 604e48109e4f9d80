"""The kernel's nf_tables: read our tables back, and change them in one transaction per batch. Needs
CAP_NET_ADMIN.

Ours are the tables `inet calico` and `arp calico` (and `inet calico-boot`, which the first transaction
removes); no other table is ever touched. One long-lived socket. A failed transaction changed nothing; the
caller reads again and applies the difference.

    read       -> Actual            own dumps, consistent by the generation number; nothing is decoded that
    is not compared apply      -> None              one batch, all or nothing; raises NftRefused naming the
    operation synchronise(ruleset)            read, difference, apply; recreates the tables if the kernel
    refuses even that
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from types import TracebackType

from calico_openstack.felix.kernel import nft_decode as decode
from calico_openstack.felix.kernel.nft_encode import requests
from calico_openstack.felix.ruleset.difference import (
    Actual,
    ActualChain,
    ActualTable,
    difference,
    recreate,
)
from calico_openstack.felix.ruleset.named_sets import ARP, BOOT, INET
from calico_openstack.felix.ruleset.objects import NamedSet, NftChanges, Operation, Ruleset, Table
from calico_openstack.netlink import nftables as nft
from calico_openstack.netlink.socket import NETFILTER, NetlinkError, NetlinkSocket
from calico_openstack.netlink.wire import attribute_list, attributes, read_be32, read_text, text

_READ_TRIES = 5
_GET_GENERATION = 16


class NftRefused(Exception):
    """A transaction did not happen, or its answer was lost (time-out, overrun): read again. `error` has the
    kernel's words, `operation` is the one at fault if the kernel named it."""

    def __init__(self, error: OSError, operation: Operation | None = None) -> None:
        shown = "" if operation is None else f", at {operation!r}"
        super().__init__(
            f"nftables transaction refused: {error}" + (shown if len(shown) < 300 else shown[:300] + "...")
        )
        self.error = error
        self.operation = operation


class NftTables:
    """One connection to nf_tables of the current network namespace. `transactions` counts those that were
    sent, `refusals` those of them that did not happen, `readings` whole read-backs, `failed_readings` those without
    an end."""

    def __init__(self) -> None:
        self.transactions = 0
        self.refusals = 0
        self.readings = 0
        self.failed_readings = 0
        self._socket = NetlinkSocket(NETFILTER, buffer=64 << 20)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> NftTables:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self) -> Actual:
        """Our tables as they are. NetlinkError EINTR when somebody changes the tables faster than we read."""
        self.readings += 1
        try:
            return self._read_consistently()
        except OSError:
            self.failed_readings += 1
            raise

    def read_table(self, table: Table) -> ActualTable:
        """One table, whosever it is; empty if it is not there."""
        content = ActualTable()
        try:
            self._read_chains(table, content)
            self._read_sets(table, content)
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
            return ActualTable()
        return content

    def _read_consistently(self) -> Actual:
        for _ in range(_READ_TRIES):
            before = self.generation()
            try:
                found = self._read()
            except NetlinkError as error:
                if error.errno != errno.ENOENT:  # a set vanished between two dumps
                    raise
                continue
            if self.generation() == before:
                return found
        raise NetlinkError(errno.EINTR, f"the tables changed during each of {_READ_TRIES} readings")

    def apply(self, changes: NftChanges) -> None:
        """One transaction. Nothing is sent for no changes."""
        try:
            messages = requests(changes)
        except ValueError as error:
            self.refusals += 1
            raise NftRefused(OSError(errno.EMSGSIZE, str(error)), _unwritable(changes)) from error
        if not messages:
            return
        self.transactions += 1
        try:
            self._socket.send_transaction(nft.BEGIN, messages, nft.END)
        except NetlinkError as error:
            self.refusals += 1
            raise NftRefused(error, _at_fault(changes, error.index)) from error
        except OSError as error:
            self.refusals += 1
            raise NftRefused(error) from error

    def synchronise(self, wanted: Ruleset, look: Callable[[Actual], None] = lambda actual: None) -> NftChanges:
        """Bring the kernel to `wanted`, whatever it has; the operations that this took (none if it was right).
        `look` sees what it has, before anything is changed."""
        actual = self.read()
        look(actual)
        changes = difference(wanted, actual)
        try:
            self.apply(changes)
        except NftRefused:
            changes = recreate(wanted, self.read())
            self.apply(changes)
        return changes

    def generation(self) -> int:
        """The number of the last transaction of anybody in this namespace."""
        answers = self._socket.request(nft.message(_GET_GENERATION, "", b""))
        return read_be32(attributes(answers[0].body, decode.GENMSG)[1]) if answers else 0

    def _read(self) -> Actual:
        found: Actual = {}
        for answer in self._socket.dump(nft.message(nft.GET_TABLE, "", b"")):
            name = read_text(attributes(answer.body, decode.GENMSG)[1])
            for table in (INET, ARP, BOOT):
                if table == (decode.family(answer.body), name):
                    found[table] = ActualTable()
        for table, content in found.items():
            if table != BOOT:
                self._read_chains(table, content)
                self._read_sets(table, content)
        return found

    def _read_chains(self, table: Table, content: ActualTable) -> None:
        named = text(1, table.name)
        for answer in self._socket.dump(nft.message(nft.GET_CHAIN, table.family, named)):
            found = attributes(answer.body, decode.GENMSG)
            if read_text(found[1]) == table.name:
                hook = decode.hook(found, arp=table.family == "arp")
                content.chains[read_text(found[3])] = ActualChain((), hook)
        rules: dict[str, list[str]] = {}
        for answer in self._socket.dump(nft.message(nft.GET_RULE, table.family, named)):
            found = attributes(answer.body, decode.GENMSG)
            if read_text(found[1]) == table.name:
                rules.setdefault(read_text(found[2]), []).append(decode.rule_digest(found))
        for chain, digests in rules.items():
            if chain in content.chains:
                content.chains[chain] = content.chains[chain]._replace(rules=tuple(digests))

    def _read_sets(self, table: Table, content: ActualTable) -> None:
        named = text(1, table.name)
        for answer in self._socket.dump(nft.message(nft.GET_SET, table.family, named)):
            found = attributes(answer.body, decode.GENMSG)
            if read_text(found[1]) == table.name:
                spec = decode.set_spec(found)
                content.sets[spec.name] = NamedSet(spec)
        for name, named_set in content.sets.items():
            if named_set.spec.dynamic:
                continue
            elements: list[bytes] = []
            place = named + text(2, name)
            for answer in self._socket.dump(nft.message(nft.GET_ELEMENTS, table.family, place)):
                listed = attributes(answer.body, decode.GENMSG).get(3, b"")
                elements += [element for _, element in attribute_list(listed)]
            named_set.elements = decode.elements(named_set.spec, elements)


def _at_fault(changes: NftChanges, index: int | None) -> Operation | None:
    """The operation to which the refused message belongs."""
    if index is None:
        return None
    for operation in changes.operations:
        size = len(requests(NftChanges((operation,))))
        if index < size:
            return operation
        index -= size
    return None


def _unwritable(changes: NftChanges) -> Operation | None:
    """The operation that does not fit into netlink."""
    for operation in changes.operations:
        try:
            requests(NftChanges((operation,)))
        except ValueError:
            return operation
    return None
