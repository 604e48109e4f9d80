"""nf_tables of other software, read as `foreign` wants them. Needs CAP_NET_ADMIN; writes nothing.

Also what `iptables-nft` makes: tables `ip filter` and so on, whose rules are partly of old matches (`xt match`).
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator

from calico_openstack.felix.foreign import ForeignChain, ForeignRule, ForeignTable, Place, read_reached
from calico_openstack.felix.kernel import nft_decode as decode
from calico_openstack.felix.kernel.barred import TABLE as ENDED
from calico_openstack.felix.ruleset.named_sets import ARP, BOOT, INET
from calico_openstack.netlink import nftables as nft
from calico_openstack.netlink.socket import NetlinkSocket
from calico_openstack.netlink.wire import Message, attribute_list, attributes, read_be32, read_be64, read_text, text

FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_IP_HOOKS = {number: name for name, number in nft.HOOKS.items()}
_OTHER_HOOKS = {"arp": {number: name for name, number in nft.ARP_HOOKS.items()}, "netdev": {0: "ingress", 1: "egress"}}
_INTERFACE = {6: "into", 7: "out"}  # NFT_META_IIFNAME, NFT_META_OIFNAME
_ASKS_NOTHING = frozenset(("counter", "log", "immediate", "reject", "target", "notrack", "objref", "last"))
_VERDICTS = {nft.ACCEPT: "accept", nft.DROP: "drop", nft.RETURN: "return", nft.JUMP: "jump", nft.GOTO: "goto"}

_STRUCTURE = frozenset(
    (nft.NEW_TABLE, nft.DELETE_TABLE, nft.NEW_CHAIN, nft.DELETE_CHAIN, nft.NEW_RULE, nft.DELETE_RULE)
)


OURS = frozenset(ForeignTable(*table) for table in (INET, ARP, BOOT, ENDED))


def is_ours(table: ForeignTable) -> bool:
    return table in OURS


def our_tables(connection: NetlinkSocket) -> list[ForeignTable]:
    """Those of ours that are there."""
    return [table for table in _tables(connection) if is_ours(table)]


def foreign_tables(connection: NetlinkSocket) -> list[ForeignTable]:
    """All tables but ours."""
    return [table for table in _tables(connection) if not is_ours(table)]


def _tables(connection: NetlinkSocket) -> Iterator[ForeignTable]:
    for answer in connection.dump(nft.message(nft.GET_TABLE, "", b"")):
        family = FAMILIES.get(answer.body[0], "")
        if family in nft.FAMILIES:
            yield ForeignTable(family, read_text(attributes(answer.body, decode.GENMSG)[1]))


def read_chains(connection: NetlinkSocket, tables: Collection[ForeignTable], whole: bool) -> list[ForeignChain]:
    """The chains of these tables with their rules, as `read_reached` has it."""
    return [chain for table in tables for chain in _read_table(connection, table, whole)]


def changes_others(event: Message) -> bool:
    """Whether an event of nf_tables is about a table, chain or rule that is not ours. Elements of sets do not count."""
    if nft.kind_of(event.kind) not in _STRUCTURE:
        return False
    body = event.body
    # The first attribute of tables, chains and rules is the table's name.
    length = int.from_bytes(body[decode.GENMSG : decode.GENMSG + 2], sys.byteorder)
    name = read_text(body[decode.GENMSG + 4 : decode.GENMSG + length])
    return not is_ours(ForeignTable(FAMILIES.get(body[0], ""), name))


def _read_table(connection: NetlinkSocket, table: ForeignTable, whole: bool) -> list[ForeignChain]:
    named = text(1, table.name)
    hooks = _OTHER_HOOKS.get(table.family, _IP_HOOKS)
    chains: dict[str, ForeignChain] = {}
    for answer in connection.dump(nft.message(nft.GET_CHAIN, table.family, named)):
        found = attributes(answer.body, decode.GENMSG)
        if read_text(found[1]) != table.name:
            continue
        chain = ForeignChain(Place("nft", table.family, table.name, read_text(found[3])))
        if 4 in found:
            hook = attributes(found[4])
            priority = read_be32(hook[2])
            chain = chain._replace(
                hook=hooks.get(read_be32(hook[1]), "?"),
                priority=priority - (1 << 32) if priority >> 31 else priority,
                accepts=5 not in found or read_be32(found[5]) == nft.ACCEPT,
            )
        chains[chain.place.chain] = chain

    def rules(chain: str) -> Iterator[ForeignRule]:
        place = named + text(2, chain)
        for answer in connection.dump(nft.message(nft.GET_RULE, table.family, place)):
            found = attributes(answer.body, decode.GENMSG)
            if (read_text(found[1]), read_text(found[2])) == (table.name, chain):
                yield read_rule(found)

    return read_reached(chains, rules, whole)


def read_rule(found: dict[int, bytes]) -> ForeignRule:
    """A rule of a dump, by its attributes."""
    rule = ForeignRule(str(read_be64(found[3])), comments=_comments(found.get(7, b"")))
    interface = ""
    for _, element in attribute_list(found.get(4, b"")):
        parts = attributes(element)
        name, data = read_text(parts[1]), attributes(parts.get(2, b""))
        if name == "meta" and 1 in data and read_be32(data.get(2, b"\0\0\0\0")) in _INTERFACE:
            interface = _INTERFACE[read_be32(data[2])]
        elif name == "cmp" and interface and read_be32(data[2]) == nft.EQUAL:
            value = attributes(data[3])[1]
            shown = read_text(value) + ("" if value.endswith(b"\0") else "*")
            rule = rule._replace(into=shown) if interface == "into" else rule._replace(out=shown)
            interface = ""
        elif name == "match" and read_text(data[1]) == "comment":
            rule = rule._replace(comments=(*rule.comments, read_text(data.get(3, b""))))
        else:
            rule = _verdict(rule, name, data)
            rule = rule if name in _ASKS_NOTHING else rule._replace(conditional=True)
    return rule


def _verdict(rule: ForeignRule, name: str, data: dict[int, bytes]) -> ForeignRule:
    if name == "reject" or (name == "target" and read_text(data[1]) == "REJECT"):
        return rule._replace(verdict="reject")
    if name != "immediate" or read_be32(data[1]) != 0:
        return rule
    said = attributes(attributes(data[2])[2])
    code = read_be32(said[1])
    return rule._replace(
        verdict=_VERDICTS.get(code - (1 << 32) if code >> 31 else code, ""), target=read_text(said.get(2, b""))
    )


def _comments(userdata: bytes) -> tuple[str, ...]:
    """NFTNL_UDATA_RULE_COMMENT: a kind, a length, the text."""
    if len(userdata) < 3 or userdata[0] != 0:
        return ()
    return (read_text(userdata[2 : 2 + userdata[1]]),)
