"""Which sets the active rules refer to: selectors and named ports become set ids.

A set is named by what it means, so rules of many policies that say the same share one. A rule's positive and negative
selector are one set, `(selector) && !(not selector)`; a negative one alone is a set that the address must not be in
(upstream rule_scanner.go). A set lives as long as some active policy or profile refers to it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from calico_openstack.felix.calc.set_members import NamedPortOf, SetDefinition, SetMembers
from calico_openstack.felix.calc.set_names import NAMED_PORT_PROTOCOLS, named_port_set_id
from calico_openstack.felix.wanted.state import ANYONE, SetId, WantedMatch, WantedRule
from calico_openstack.model.policy import ANY, Match, Rule
from calico_openstack.model.selector import All, Selector, conjunction, negation

Owner = Hashable
Definitions = dict[SetId, SetDefinition]

_EVERYONE = Selector(All())


class ReferencedSets:
    """Counts who refers to which set, and tells `SetMembers` what to collect."""

    def __init__(self, members: SetMembers) -> None:
        self._members = members
        self._used_by: dict[Owner, Definitions] = {}
        self._users: dict[SetId, int] = {}
        self._unused: set[SetId] = set()
        self._new: dict[SetId, None] = {}

    def refer(self, owner: Owner, definitions: Definitions) -> None:
        """`owner` (a policy or profile) refers to exactly these sets now."""
        before = self._used_by.get(owner, {})
        for set_id, definition in definitions.items():
            if set_id not in before:
                if set_id not in self._users:
                    self._users[set_id] = 0
                    self._new[set_id] = None
                    self._members.define(set_id, definition)
                self._users[set_id] += 1
                self._unused.discard(set_id)
        for set_id in before:
            if set_id not in definitions:
                self._users[set_id] -= 1
                if not self._users[set_id]:
                    self._unused.add(set_id)
        if definitions:
            self._used_by[owner] = definitions
        else:
            self._used_by.pop(owner, None)

    def take_new(self) -> Iterable[SetId]:
        """The sets that came into use since the last call."""
        new, self._new = self._new, {}
        return new

    def retire(self) -> set[SetId]:
        """Forget the sets that nobody refers to any more; which they were. A set that lost its last user and found
        another in the same batch was never away.
        """
        retired, self._unused = self._unused, set()
        for set_id in retired:
            del self._users[set_id]
            self._new.pop(set_id, None)
            self._members.forget(set_id)
        return retired


def resolve(rules: tuple[Rule, ...] | None, definitions: Definitions) -> tuple[WantedRule, ...] | None:
    """Rules with set ids in place of selectors and named ports; the sets are added to `definitions`."""
    if rules is None:
        return None
    return tuple(
        WantedRule(
            action=rule.action,
            version=rule.version,
            protocol=rule.protocol,
            not_protocol=rule.not_protocol,
            icmp=rule.icmp,
            not_icmp=rule.not_icmp,
            source=_resolve_match(rule.source, rule.protocol, definitions),
            destination=_resolve_match(rule.destination, rule.protocol, definitions),
        )
        for rule in rules
    )


def _resolve_match(match: Match, protocol: int | None, definitions: Definitions) -> WantedMatch:
    if match == ANY:
        return ANYONE
    positive, negative = match.selector, match.not_selector
    if positive is not None and negative is not None:
        positive, negative = conjunction(positive, negation(negative)), None

    def named(names: tuple[str, ...]) -> tuple[SetId, ...]:
        selector = positive or _EVERYONE
        # Without a protocol, any that has ports; members carry theirs, so nothing is mixed up.
        protocols = NAMED_PORT_PROTOCOLS if protocol is None else (protocol,)
        ids = []
        for name in names:
            for number in protocols:
                set_id = named_port_set_id(selector, number, name)
                definitions[set_id] = SetDefinition(selector, NamedPortOf(number, name))
                ids.append(set_id)
        return tuple(ids)

    def selected(selector: Selector | None) -> tuple[SetId, ...]:
        if selector is None:
            return ()
        set_id = SetId(selector.unique_id)
        definitions[set_id] = SetDefinition(selector)
        return (set_id,)

    return WantedMatch(
        nets=match.nets,
        not_nets=match.not_nets,
        sets=selected(positive),
        not_sets=selected(negative),
        ports=match.ports,
        port_sets=named(match.named_ports),
        not_ports=match.not_ports,
        not_port_sets=named(match.not_named_ports),
    )
