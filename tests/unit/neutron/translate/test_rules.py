from __future__ import annotations

from typing import Any

import pytest

from calico_openstack.neutron.translate.document import Refusal
from calico_openstack.neutron.translate.rules import translate_rule

SG = "0a1b2c3d-4e5f-4061-8273-94a5b6c7d8e9"
BASE = {"id": "r1", "direction": "ingress", "ethertype": "IPv4"}


def written(**fields: Any) -> Any:
    outcome = translate_rule(BASE | fields, {"office": ["198.51.100.0/25", "2001:db8:b::/64"], "empty": []})
    if isinstance(outcome, Refusal):
        return outcome
    return [{key: value for key, value in rule.items() if key != "action"} for rule in outcome]


@pytest.mark.parametrize(
    ("protocol", "ethertype", "expected"),
    [
        (None, "IPv4", {}),
        ("any", "IPv4", {}),
        ("0", "IPv4", {}),
        (-1, "IPv4", {}),
        ("tcp", "IPv4", {"protocol": 6}),
        ("6", "IPv4", {"protocol": "6"}),
        (6, "IPv4", {"protocol": 6}),
        ("TCP", "IPv4", {"protocol": 6}),
        ("vrrp", "IPv6", {"protocol": 112}),
        ("icmp", "IPv4", {"protocol": "ICMP"}),
        ("1", "IPv4", {"protocol": "1"}),
        ("icmp", "IPv6", {"protocol": "ICMPv6"}),
        ("ipv6-icmp", "IPv6", {"protocol": "ICMPv6"}),
        ("58", "IPv6", {"protocol": "58"}),
    ],
)
def test_protocols_are_written_in_upstreams_form(protocol: Any, ethertype: str, expected: dict[str, Any]) -> None:
    version = 4 if ethertype == "IPv4" else 6

    assert written(protocol=protocol, ethertype=ethertype) == [{"ipVersion": version, **expected}]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22},
            {"protocol": 6, "destination": {"ports": [22]}},
        ),
        (
            {"protocol": "udp", "port_range_min": 8000, "port_range_max": 8100},
            {"protocol": 17, "destination": {"ports": ["8000:8100"]}},
        ),
        ({"protocol": "icmp", "port_range_min": 8}, {"protocol": "ICMP", "icmp": {"type": 8}}),
        ({"protocol": "1", "port_range_min": 8}, {"protocol": "ICMP", "icmp": {"type": 8}}),
        (
            {"protocol": "1", "port_range_min": 8, "port_range_max": 0},
            {"protocol": "ICMP", "icmp": {"type": 8, "code": 0}},
        ),
        ({"remote_ip_prefix": "192.0.2.9/24"}, {"source": {"nets": ["192.0.2.9/24"]}}),
        ({"remote_group_id": SG}, {"source": {"selector": f"has(sg.projectcalico.org/openstack-{SG})"}}),
        ({"remote_address_group_id": "office"}, {"source": {"nets": ["198.51.100.0/25"]}}),
        (
            {
                "direction": "egress",
                "protocol": "tcp",
                "port_range_min": 443,
                "port_range_max": 443,
                "remote_group_id": SG,
            },
            {
                "protocol": 6,
                "destination": {"selector": f"has(sg.projectcalico.org/openstack-{SG})", "ports": [443]},
            },
        ),
    ],
)
def test_ports_icmp_and_remotes_are_written_in_upstreams_form(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert written(**fields) == [{"ipVersion": 4, **expected}]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"protocol": "dccp", "port_range_min": 5, "port_range_max": 5}, "TCP, UDP and SCTP"),
        ({"protocol": "gre", "port_range_min": 5, "port_range_max": 5}, "TCP, UDP and SCTP"),
        ({"port_range_min": 5, "port_range_max": 5}, "TCP, UDP and SCTP"),
        ({"protocol": "tcp", "port_range_min": 0, "port_range_max": 5}, "1 to 65535"),
        ({"protocol": "tcp", "port_range_min": 9, "port_range_max": 5}, "1 to 65535"),
        ({"protocol": "tcp", "port_range_min": 9}, "1 to 65535"),
        ({"protocol": "tcp", "port_range_min": -1, "port_range_max": -1}, "1 to 65535"),
        ({"protocol": "icmp", "port_range_min": 255}, "0 to 254"),
        ({"protocol": "icmp", "port_range_max": 3}, "0 to 254"),
        ({"protocol": "hopopt"}, "no number"),
        ({"protocol": "quic"}, "no number"),
        ({"protocol": "256"}, "1 to 255"),
        ({"protocol": "ipv6-icmp"}, "does not exist in IPv4"),
        ({"ethertype": "IPX"}, "ethertype"),
        ({"direction": "both"}, "direction"),
        ({"remote_ip_prefix": "2001:db8::/32"}, "ethertype"),
        ({"remote_ip_prefix": "ten"}, "not an IP"),
        ({"remote_group_id": SG, "remote_ip_prefix": "192.0.2.0/24"}, "more than one"),
        ({"remote_group_id": "x') || all() || has(y"}, "label"),
        ({"remote_address_group_id": "gone"}, "not in the database"),
    ],
)
def test_what_cannot_be_said_is_refused_with_a_reason_and_never_widened(fields: dict[str, Any], word: str) -> None:
    outcome = written(**fields)

    assert isinstance(outcome, Refusal)
    assert outcome.subject == "security group rule r1"
    assert word in outcome.reason


def test_an_address_group_without_addresses_of_the_family_allows_nothing_and_is_no_fault() -> None:
    assert written(remote_address_group_id="empty") == []
    assert written(remote_address_group_id="office", ethertype="IPv6") == [
        {"ipVersion": 6, "source": {"nets": ["2001:db8:b::/64"]}}
    ]


def test_a_large_address_group_is_split_into_rules_of_256_networks() -> None:
    addresses = [f"10.{high}.{low}.0/24" for high in range(3) for low in range(200)]
    outcome = translate_rule(BASE | {"remote_address_group_id": "g"}, {"g": addresses})

    assert not isinstance(outcome, Refusal)
    assert [len(rule["source"]["nets"]) for rule in outcome] == [256, 256, 88]
    assert sorted(net for rule in outcome for net in rule["source"]["nets"]) == sorted(addresses)
