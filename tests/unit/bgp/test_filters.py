from __future__ import annotations

import json
from typing import Any

import pytest

from calico_openstack.bgp.filters import accept_rules
from calico_openstack.bgp.render import Options, render
from calico_openstack.bgp.sessions import Session, Speaker
from calico_openstack.model.bgp_filter import read_filter
from calico_openstack.model.net import host_net

ROWS: list[tuple[dict[str, Any], str]] = [
    ({"action": "Accept"}, "if true then { accept; }"),
    ({"action": "Reject"}, "if true then reject;"),
    ({"cidr": "10.0.0.0/8", "matchOperator": "In"}, "if net ~ [ 10.0.0.0/8+ ] then reject;"),
    ({"cidr": "10.0.0.0/8", "matchOperator": "NotIn"}, "if net !~ [ 10.0.0.0/8+ ] then reject;"),
    ({"cidr": "10.0.0.0/8", "matchOperator": "Equal"}, "if net = 10.0.0.0/8 then reject;"),
    ({"cidr": "10.0.0.0/8", "matchOperator": "NotEqual"}, "if net != 10.0.0.0/8 then reject;"),
    (
        {"cidr": "10.0.0.0/8", "matchOperator": "In", "prefixLength": {"min": 24, "max": 28}},
        "if net ~ [ 10.0.0.0/8{24,28} ] then reject;",
    ),
    (
        {"cidr": "10.0.0.0/8", "matchOperator": "In", "prefixLength": {"min": 4}},
        "if net ~ [ 10.0.0.0/8{8,32} ] then reject;",
    ),
    ({"cidr": "10.0.0.0/8", "matchOperator": "In", "prefixLength": {"max": 4}}, "if false then reject;"),
    ({"source": "RemotePeers"}, "if source = RTS_BGP then reject;"),
    ({"interface": "tap*"}, 'if ifname ~ "tap*" then reject;'),
    ({"communities": {"values": ["65000:1"]}}, "if (65000,1) ~ bgp_community then reject;"),
    ({"communities": {"values": ["65000:1:2"]}}, "if (65000,1,2) ~ bgp_large_community then reject;"),
    ({"asPathPrefix": [65000, 65001]}, "if bgp_path ~ [= 65000 65001 * =] then reject;"),
    ({"priority": 512}, "if bgp_local_pref = 2147483135 then reject;"),
    ({"source": "RemotePeers", "interface": "eth0"}, 'if source = RTS_BGP && ifname ~ "eth0" then reject;'),
    (
        {"action": "Accept", "operations": [{"addCommunity": {"value": "65000:1"}}, {"setPriority": {"value": 512}}]},
        "if true then { bgp_community.add((65000,1)); bgp_local_pref = 2147483135; accept; }",
    ),
    (
        {"action": "Accept", "operations": [{"prependASPath": {"prefix": [1, 2]}}]},
        "if true then { bgp_path.prepend(2); bgp_path.prepend(1); accept; }",
    ),
]


def session(rule: dict[str, Any], direction: str = "exportV4", remote: int = 64512) -> Session:
    spec = {direction: [{"action": "Reject", **rule}]}
    bgp_filter = read_filter("f", json.dumps({"spec": spec}).encode())
    return Session(
        name="Global_x",
        kind="Global",
        address=host_net("198.51.100.1"),
        remote_as=remote,
        local_as=64512,
        filters=(bgp_filter,),
    )


@pytest.mark.parametrize(("rule", "statement"), ROWS, ids=[statement[:50] for _, statement in ROWS])
def test_each_rule_is_a_statement_that_bird_reads(rule: dict[str, Any], statement: str, bird_reads: Any) -> None:
    wanted = session(rule)

    text = render(Speaker("h1", "192.0.2.1", 64512, sessions=(wanted,)), Options())

    assert accept_rules(wanted.filters[0], "export", wanted, "") == [statement]
    assert statement in text
    assert bird_reads(text) == ""


def test_an_import_rule_that_accepts_still_settles_the_preference(bird_reads: Any) -> None:
    text = render(Speaker("h1", "192.0.2.1", 64512, sessions=(session({"action": "Accept"}, "importV4"),)), Options())

    assert "if true then { if bgp_local_pref > 2147482623 then preference = 200; accept; }" in text
    assert bird_reads(text) == ""


def test_rules_for_the_other_kind_of_peer_or_family_leave_no_trace() -> None:
    internal, external = session({"peerType": "iBGP"}), session({"peerType": "iBGP"}, remote=65000)

    assert accept_rules(internal.filters[0], "export", internal, "") == ["if true then reject;"]
    assert accept_rules(external.filters[0], "export", external, "") == []
    assert accept_rules(session({}, "exportV6").filters[0], "export", internal, "") == []


def test_no_filter_lets_out_what_is_neither_a_guests_nor_learned() -> None:
    text = render(Speaker("h1", "192.0.2.1", 64512, sessions=(session({"action": "Accept"}),)), Options())

    lines = [line.strip() for line in text[text.index("export filter {\n") :].splitlines()]

    assert (
        lines[1] == 'if !((source = RTS_INHERIT && net.len = 32 && (ifname ~ "tap*")) || source = RTS_BGP) then reject;'
    )
    assert lines.index("if true then { accept; }") > 1


@pytest.mark.parametrize(
    "rule",
    [
        {"action": "Allow"},
        {"cidr": "10.0.0.0/8"},
        {"matchOperator": "In"},
        {"cidr": "2001:db8::/32", "matchOperator": "In"},
        {"prefixLength": {"min": 1}},
        {"interface": 'eth0" then accept'},
        {"communities": {"values": []}},
        {"communities": {"values": ["1:2", "3:4"]}},
        {"communities": {"values": ["65536:1"]}},
        {"operations": [{"setPriority": {"value": 1}}]},
        {"action": "Accept", "operations": [{"dance": {}}]},
        {"action": "Accept", "operations": [{"prependASPath": {"prefix": ["x"]}}]},
        {"someday": True},
    ],
)
def test_a_rule_that_cannot_be_expressed_spoils_the_whole_filter(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"spec\.exportV4\[0\]"):
        session(rule)
