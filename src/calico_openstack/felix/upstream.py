"""What the upstream Felix leaves in packet filters, by name. Pure.

Its chains in others' tables (`cali-...`, and the names of older versions), the rules in foreign chains that lead
there or bear its comment (`cali:` and a hash; felix/iptables), its own tables (nft mode, suppression of ARP), its
ipsets and the devices of its bandwidth limits (felix/rules/rule_defs.go, felix/ipsets, felix/dataplane/linux/qos).
Chains of the old DHCP agent (`calico-...`) are not Felix's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from calico_openstack.felix.foreign import ForeignChain, ForeignRule, ForeignTable, Place

TABLES = frozenset((ForeignTable("ip", "calico"), ForeignTable("ip6", "calico"), ForeignTable("arp", "calico-arp")))
"""Whole tables of its own."""

IPTABLES = ("filter", "nat", "mangle", "raw")
"""Tables of others, `ip` and `ip6`, in which it makes chains."""

_CHAIN = re.compile(r"cali-|felix-|cali(fw|tw|fh|th|pi|po)-")
_COMMENT = re.compile(r"cali:[\w-]{8,}")
_SET = re.compile(r"cali[46]0|cali[46]t\d|felix-")
_OLD_SET = re.compile(r"--match-set (felix-|cali[46]0)")
_DEVICE = re.compile(r"bwcali|bwp")


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What is there: whole tables; chains; rules in chains of others, by their addresses in order."""

    tables: tuple[ForeignTable, ...] = ()
    chains: frozenset[Place] = frozenset()
    rules: Mapping[Place, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.tables or self.chains or self.rules)

    def __str__(self) -> str:
        rules = sum(len(addresses) for addresses in self.rules.values())
        return f"{len(self.tables)} tables, {len(self.chains)} chains, {rules} rules in chains of others"


def leftovers(tables: Iterable[ForeignTable], chains: Iterable[ForeignChain]) -> Leftovers:
    """What of these is upstream's."""
    listed = [chain for chain in chains if chain.place.family in ("ip", "ip6") and chain.place.table in IPTABLES]
    owned = frozenset(chain.place for chain in listed if is_chain(chain.place.chain))
    rules = {}
    for chain in listed:
        if chain.place not in owned:
            found = tuple(rule.address for rule in chain.rules if _is_rule(chain, rule))
            if found:
                rules[chain.place] = found
    return Leftovers(tuple(table for table in tables if table in TABLES), owned, rules)


def served(leftovers: Leftovers, chains: Iterable[ForeignChain]) -> frozenset[str]:
    """How the interfaces begin that its rules are for [InterfacePrefix]; empty if they do not say."""
    mine = (
        chain
        for chain in chains
        if chain.place in leftovers.chains or ForeignTable(chain.place.family, chain.place.table) in leftovers.tables
    )
    names = (name for chain in mine for rule in chain.rules for name in (rule.into, rule.out))
    return frozenset(name[:-1] for name in names if name.endswith("*"))


def is_chain(name: str) -> bool:
    return _CHAIN.match(name) is not None


def is_set(name: str) -> bool:
    """Whether an ipset of this name is upstream's."""
    return _SET.match(name) is not None


def is_shaping_device(name: str) -> bool:
    """Whether an `ifb` of this name carries one of its bandwidth limits, or of the plug-in that it followed."""
    return _DEVICE.match(name) is not None


def _is_rule(chain: ForeignChain, rule: ForeignRule) -> bool:
    """A jump to its chains, a rule with its mark, or one of an old version that asks its ipsets."""
    return bool(
        (rule.target and is_chain(rule.target))
        or any(_COMMENT.match(comment) for comment in rule.comments)
        or (chain.place.layer == "legacy" and _OLD_SET.search(rule.address))
    )
