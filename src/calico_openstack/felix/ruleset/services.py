"""What kind of traffic a merged group of rules speaks of: everything, whole protocols, ports, ICMP types.

The union of any number of rules, held so that it fits a handful of nft sets: single ports apart from
ranges, because a hash set is quicker to change than an interval set, and nothing twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from calico_openstack.felix.ruleset.ranges import merge_ranges
from calico_openstack.felix.wanted.state import WantedRule


@dataclass(slots=True)
class Services:
    """`ports`: per protocol. `icmp`: (type, code), the code None for all of a type; of the one family in
    question."""

    everything: bool = False
    protocols: set[int] = field(default_factory=set)
    ports: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    icmp: set[tuple[int, int | None]] = field(default_factory=set)

    def add(self, rule: WantedRule) -> None:
        """Add what the rule says beside its peer: protocol, destination ports, ICMP type."""
        if rule.icmp is not None:
            self.icmp.add((rule.icmp.type, rule.icmp.code))
        elif rule.protocol is None:
            self.everything = True
        elif rule.destination.ports:
            ranges = self.ports.get(rule.protocol, [])
            self.ports[rule.protocol] = merge_ranges([*ranges, *rule.destination.ports])
        else:
            self.protocols.add(rule.protocol)
