import pytest

from calico_openstack.felix.ruleset import fields
from calico_openstack.felix.ruleset.match import Matcher, Statements, families
from calico_openstack.felix.ruleset.members import MemberSet, Use
from calico_openstack.felix.ruleset.objects import Rule, SetSpec
from calico_openstack.felix.ruleset.text import print_rule
from calico_openstack.felix.wanted.state import SetId, WantedMatch, WantedRule
from calico_openstack.model.net import parse_net
from calico_openstack.model.policy import Icmp, PortRange

KNOWN = SetId("s:known")


def asked(set_id: SetId, use: Use, version: int) -> list[SetSpec] | None:
    return MemberSet(set_id, use).specs(version) if set_id == KNOWN else None


def texts(rule: WantedRule) -> list[str]:
    def shown(conditions: Statements) -> str:
        return print_rule(Rule(conditions)).partition(" comment")[0].removeprefix("comment")

    return [shown(conditions).strip() for conditions in Matcher(asked, {}).matches(rule)]


def nets(*texts: str) -> WantedMatch:
    return WantedMatch(nets=tuple(parse_net(text) for text in texts))


def not_nets(*texts: str) -> WantedMatch:
    return WantedMatch(not_nets=tuple(parse_net(text) for text in texts))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (WantedRule(action="allow"), (4, 6)),
        (WantedRule(action="allow", version=6), (6,)),
        # By number alone: whoever denies 58 denies it in IPv4 packets, too, and a guest can send those.
        (WantedRule(action="allow", protocol=fields.ICMP), (4, 6)),
        (WantedRule(action="allow", protocol=fields.ICMPV6), (4, 6)),
        (WantedRule(action="allow", protocol=fields.ICMP, version=6), (6,)),
        (WantedRule(action="allow", protocol=fields.ICMP, icmp=Icmp(8)), (4,)),
        (WantedRule(action="allow", protocol=fields.ICMPV6, icmp=Icmp(8), version=4), ()),
        (WantedRule(action="allow", source=nets("10.0.0.0/8")), (4,)),
        (WantedRule(action="allow", source=nets("10.0.0.0/8"), destination=nets("::/0")), ()),
        # Upstream leaves these rules out for IPv6; "not in 10.0.0.0/8" is true of every IPv6 packet.
        (WantedRule(action="allow", source=not_nets("10.0.0.0/8")), (4, 6)),
        (WantedRule(action="allow", source=not_nets("0.0.0.0/0")), (6,)),
    ],
)
def test_a_rule_matches_in_the_families_that_it_can_speak_of(rule: WantedRule, expected: tuple[int, ...]) -> None:
    assert families(rule) == expected


def test_a_rule_without_addresses_is_written_once_for_both_families() -> None:
    rule = WantedRule(action="allow", protocol=6, destination=WantedMatch(ports=(PortRange(22, 22),)))

    assert texts(rule) == ["meta l4proto 6 th dport 22"]


def test_not_an_icmp_type_and_code_is_the_true_complement() -> None:
    rule = WantedRule(action="allow", version=4, protocol=1, not_icmp=Icmp(8, 0))

    assert texts(rule) == [
        "meta nfproto ipv4 meta l4proto 1 icmp type != 8",
        "meta nfproto ipv4 meta l4proto 1 icmp type 8 icmp code != 0",
    ]


def test_ports_that_touch_are_one_range() -> None:
    ports = (PortRange(90, 99), PortRange(80, 89))

    assert texts(WantedRule(action="allow", protocol=6, destination=WantedMatch(ports=ports))) == [
        "meta l4proto 6 th dport 80-99"
    ]


def test_a_network_that_is_everything_is_no_condition_but_the_family() -> None:
    assert texts(WantedRule(action="allow", source=nets("0.0.0.0/0"))) == ["meta nfproto ipv4"]


def test_an_unknown_set_lets_nothing_through_and_denies_more_rather_than_less() -> None:
    for side in (WantedMatch(sets=(SetId("s:gone"),)), WantedMatch(not_sets=(SetId("s:gone"),))):
        assert texts(WantedRule(action="allow", version=4, source=side)) == []
        assert texts(WantedRule(action="pass", version=4, source=side)) == []
        assert texts(WantedRule(action="deny", version=4, source=side)) == ["meta nfproto ipv4"]


def test_a_rule_that_no_packet_can_meet_becomes_no_rule() -> None:
    rule = WantedRule(action="allow", version=4, icmp=Icmp(8), source=WantedMatch(ports=(PortRange(80, 80),)))

    assert texts(rule) == []


def test_many_negated_named_ports_multiply_by_protocols_once_and_not_each() -> None:
    names = tuple(SetId(f"n:port{number}") for number in range(12))
    side = WantedMatch(not_port_sets=names)
    rule = WantedRule(action="allow", source=side, destination=side)
    matcher = Matcher(lambda set_id, use, version: MemberSet(set_id, use).specs(version), {})

    assert 0 < len(list(matcher.matches(rule))) < 40
