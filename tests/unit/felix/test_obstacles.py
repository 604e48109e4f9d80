"""Who else stops guests: chains of other software, judged without a kernel."""

from typing import Any

import pytest

from calico_openstack.felix.foreign import ForeignChain, ForeignRule, Place, by_place
from calico_openstack.felix.obstacles import obstacles, upstream_runs
from calico_openstack.felix.upstream import Leftovers

FORWARD = Place("nft", "inet", "filter", "forward")
INTO = ForeignRule("1", "accept", into="tap*")
OUT = ForeignRule("2", "accept", out="tap*")
ESTABLISHED = ForeignRule("3", "accept", conditional=True)
REJECT = ForeignRule("4", "reject")


def chain(*rules: ForeignRule, place: Place = FORWARD, hook: str = "forward", **more: Any) -> ForeignChain:
    return ForeignChain(place, rules, hook, **more)


def found(*chains: ForeignChain, prefixes: tuple[str, ...] = ("tap",)) -> list[str]:
    return [str(one) for one in obstacles(by_place(chains), prefixes)]


def test_a_policy_of_drop_stops_guests_and_the_cure_names_both_directions() -> None:
    assert found(chain(ESTABLISHED, accepts=False)) == [
        "chain forward of table inet filter: its policy is drop, so it stops the traffic of guests; "
        "let them pass there, and make that last: "
        "nft 'insert rule inet filter forward iifname \"tap*\" accept'; "
        "nft 'insert rule inet filter forward oifname \"tap*\" accept'"
    ]


def test_what_is_open_in_one_direction_is_to_be_opened_in_the_other() -> None:
    (told,) = found(chain(INTO, accepts=False))

    assert "iifname" not in told
    assert 'oifname "tap*" accept' in told
    assert found(chain(INTO, OUT, accepts=False)) == []


@pytest.mark.parametrize(
    ("hook", "opened"), [("prerouting", INTO), ("input", INTO), ("output", OUT), ("postrouting", OUT)]
)
def test_other_hooks_need_one_direction(hook: str, opened: ForeignRule) -> None:
    assert len(found(chain(hook=hook, accepts=False))) == 1
    assert found(chain(opened, hook=hook, accepts=False)) == []


def test_a_last_rule_for_everything_is_as_a_policy() -> None:
    assert "a rule says reject" in found(chain(ESTABLISHED, REJECT))[0]
    assert found(chain(ForeignRule("5", "accept"), REJECT)) == []
    assert found(chain(REJECT._replace(conditional=True))) == []
    assert found(chain(REJECT._replace(into="virbr0"))) == []


def test_plain_jumps_are_followed_both_for_stopping_and_for_letting_pass() -> None:
    there = chain(REJECT, place=FORWARD._replace(chain="last"), hook="")
    assert len(found(chain(ForeignRule("6", "jump", "last")), there)) == 1
    assert found(chain(ForeignRule("6", "jump", "last", conditional=True)), there) == []

    opened = chain(INTO, OUT, place=FORWARD._replace(chain="user"), hook="")
    assert found(chain(ForeignRule("6", "jump", "user"), accepts=False), opened) == []

    zone = chain(ForeignRule("7", "accept"), place=FORWARD._replace(chain="zone"), hook="")
    sent = [ForeignRule("8", "goto", "zone", into="tap*"), ForeignRule("9", "goto", "zone", out="tap*")]
    assert found(chain(*sent, accepts=False), zone) == []


def test_chains_that_lead_in_circles_end() -> None:
    one = chain(ForeignRule("6", "jump", "one"), place=FORWARD._replace(chain="one"), hook="")

    assert len(found(chain(ForeignRule("6", "jump", "one"), accepts=False), one)) == 1


def test_what_comes_behind_a_rule_that_stops_everything_opens_nothing() -> None:
    assert len(found(chain(REJECT, INTO, OUT))) == 1
    assert found(chain(INTO, OUT, REJECT)) == []


def test_a_chain_that_returns_leaves_the_decision_to_the_one_before() -> None:
    user = chain(ForeignRule("7", "return"), INTO, OUT, place=FORWARD._replace(chain="user"), hook="")
    jump, goto = ForeignRule("6", "jump", "user"), ForeignRule("6", "goto", "user")

    assert found(chain(jump, INTO, OUT, accepts=False), user) == []
    assert len(found(chain(goto, INTO, OUT, accepts=False), user)) == 1


def test_every_prefix_must_be_open() -> None:
    assert len(found(chain(INTO, OUT, accepts=False), prefixes=("tap", "cali"))) == 1
    everything = [ForeignRule("1", "accept", into="*"), ForeignRule("2", "accept", out="*")]
    assert found(chain(*everything, accepts=False), prefixes=("tap", "cali")) == []


def test_a_rule_for_one_pair_of_interfaces_opens_nothing() -> None:
    assert len(found(chain(INTO._replace(out="eth0"), OUT, accepts=False))) == 1


@pytest.mark.parametrize("family", ["bridge", "netdev"])
def test_what_guests_packets_do_not_come_to_is_left_out(family: str) -> None:
    assert found(chain(place=FORWARD._replace(family=family), accepts=False)) == []


@pytest.mark.parametrize(
    ("place", "command"),
    [
        (Place("nft", "ip", "filter", "FORWARD"), "iptables -I FORWARD -i tap+ -j ACCEPT"),
        (Place("nft", "ip6", "raw", "FORWARD"), "ip6tables -t raw -I FORWARD -i tap+ -j ACCEPT"),
        (Place("legacy", "ip", "filter", "FORWARD"), "iptables-legacy -I FORWARD -i tap+ -j ACCEPT"),
        (Place("nft", "inet", "firewalld", "filter_FORWARD"), "stop firewalld on compute hosts"),
    ],
)
def test_the_cure_is_in_the_words_of_the_program_whose_chain_it_is(place: Place, command: str) -> None:
    assert command in found(chain(place=place, accepts=False))[0]


def test_where_upstream_still_decides_nothing_is_put_before_its_rules() -> None:
    iptables = FORWARD._replace(family="ip", chain="FORWARD")

    (there,) = obstacles(by_place([chain(place=iptables, accepts=False)]), ["tap"], {iptables})
    (here,) = obstacles(by_place([chain(accepts=False)]), ["tap"], {FORWARD})

    assert "behind upstream's rules" in there.cure
    assert "iptables -A FORWARD -i tap+ -j ACCEPT" in there.cure
    assert "nft 'add rule inet filter forward iifname" in here.cure


def test_an_upstream_felix_that_makes_its_rules_again_is_named() -> None:
    assert upstream_runs(Leftovers()) == []
    (told,) = upstream_runs(Leftovers(chains=frozenset([Place("nft", "ip", "filter", "cali-FORWARD")])))
    assert "the upstream Felix works on this host, too" in str(told)
