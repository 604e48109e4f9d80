"""Packet filters of other software, as far as it matters to guests. Pure values; nothing is ever written back.

A rule of another's is reduced to what can be asked of it here: what it does, to whom (all packets, those of an
interface, or somebody else), and which comments it bears. `kernel.foreign_tables` and `kernel.legacy_tables` read them,
`obstacles` asks who stands in the guests' way, `upstream` asks what the upstream Felix left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

Layer = Literal["nft", "legacy"]
"""nf_tables (by whichever program), or the older ip_tables, which only the `iptables-legacy` programs reach."""


DEPTH = 16
"""So deep may chains jump in the kernel (NFT_JUMP_STACK_SIZE)."""


class ForeignRule(NamedTuple):
    """`verdict`: accept, drop, reject, jump, goto, return; empty for anything else. `target`: where a jump leads.

    `into`, `out`: the one interface that the rule asks for (`tap*`: all that begin so); `conditional`: it asks for
    anything beside that. `address`: how its own layer calls it, a handle or the rule's text.
    """

    address: str
    verdict: str = ""
    target: str = ""
    into: str = ""
    out: str = ""
    conditional: bool = False
    comments: tuple[str, ...] = ()


class ForeignTable(NamedTuple):
    """A table of nf_tables, with any family of nft's (ip, ip6, inet, arp, netdev)."""

    family: str
    name: str


class Place(NamedTuple):
    """A chain's address; old tables have the families ip and ip6."""

    layer: Layer
    family: str
    table: str
    chain: str

    def __str__(self) -> str:
        program = {"ip": "iptables-legacy", "ip6": "ip6tables-legacy"}.get(self.family, "legacy")
        where = f"table {self.family} {self.table}" if self.layer == "nft" else f"{program} table {self.table}"
        return f"chain {self.chain} of {where}"


class ForeignChain(NamedTuple):
    """`hook` is empty for a chain that is only jumped to; `priority` says when it comes, `accepts` its policy."""

    place: Place
    rules: tuple[ForeignRule, ...] = ()
    hook: str = ""
    priority: int = 0
    accepts: bool = True


Chains = Mapping[Place, ForeignChain]


def read_reached(
    chains: Mapping[str, ForeignChain], rules: Callable[[str], Iterable[ForeignRule]], whole: bool
) -> list[ForeignChain]:
    """Chains of one table with their rules, which are asked for by chain. Unless it is to be the `whole` table, only
    those are asked for to which rules lead that ask for no more than an interface; the others stay empty."""
    waiting = [name for name, chain in chains.items() if chain.hook or whole]
    found = dict(chains)
    seen = set(waiting)
    while waiting:
        name = waiting.pop()
        found[name] = chains[name]._replace(rules=tuple(rules(name)))
        for rule in found[name].rules:
            if rule.target in chains and rule.target not in seen and not rule.conditional:
                seen.add(rule.target)
                waiting.append(rule.target)
    return list(found.values())


def by_place(chains: Iterable[ForeignChain]) -> dict[Place, ForeignChain]:
    return {chain.place: chain for chain in chains}


def without(chains: Chains, unwanted: set[Place], rules: Mapping[Place, set[str]]) -> dict[Place, ForeignChain]:
    """The same without some chains, and without some rules of others (by address)."""
    return {
        place: chain._replace(rules=tuple(one for one in chain.rules if one.address not in rules.get(place, ())))
        for place, chain in chains.items()
        if place not in unwanted
    }


def fate(chains: Chains, chain: ForeignChain, concerns: Callable[[ForeignRule], bool], depth: int = 0) -> str:
    """What a chain says of a packet that only the rules that `concerns` picks apply to: accept, drop, reject; empty if
    it says nothing."""
    for rule in chain.rules:
        if not concerns(rule):
            continue
        if rule.verdict in ("accept", "drop", "reject"):
            return rule.verdict
        if rule.verdict == "return":
            return ""
        there = chains.get(chain.place._replace(chain=rule.target)) if rule.target else None
        said = fate(chains, there, concerns, depth + 1) if there is not None and depth < DEPTH else ""
        if said or (there is not None and rule.verdict == "goto"):
            return said
    return ""
