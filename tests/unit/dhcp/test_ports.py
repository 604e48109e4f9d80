from typing import Any

import pytest

from calico_openstack.dhcp.ports import fixed_addresses, read_ports


def addresses(nets: Any) -> list[str]:
    return [net.address for net in nets]


def test_allowed_pairs_are_not_handed_out(endpoint: Any) -> None:
    one = endpoint("a", "10.65.0.11", "2001:db8::11", pairs=["10.65.0.200", "10.65.1.0/24"])

    assert addresses(fixed_addresses(one)) == ["10.65.0.11", "2001:db8::11"]


def test_a_pair_that_repeats_the_fixed_address_does_not_take_it_away(endpoint: Any) -> None:
    one = endpoint("a", "10.65.0.11", pairs=["10.65.0.11"])

    assert addresses(fixed_addresses(one)) == ["10.65.0.11"]


def test_pairs_in_front_of_the_fixed_address_are_taken_out_all_the_same(endpoint: Any) -> None:
    written_otherwise = endpoint("a", "10.65.0.200", "10.65.0.11", pairs=["10.65.0.200"])
    one = type(written_otherwise)(
        key=written_otherwise.key,
        interface=written_otherwise.interface,
        addresses=written_otherwise.addresses[:2],
        allowed_pairs=written_otherwise.allowed_pairs,
    )

    assert addresses(fixed_addresses(one)) == ["10.65.0.11"]


def test_the_first_ipv4_address_with_a_subnet_is_the_one_that_is_leased(endpoint: Any, subnet: Any, index: Any) -> None:
    one = endpoint("a", "10.64.0.9", "10.65.0.11", "10.65.0.12")

    ports, problems = read_ports([one], index(subnet("10.65.0.0/24")), "")

    assert [port.v4.address.address for port in ports if port.v4] == ["10.65.0.11"]
    assert problems == []


def test_an_endpoint_without_subnet_is_a_problem_and_costs_nobody_else(endpoint: Any, subnet: Any, index: Any) -> None:
    homeless, other = endpoint("a", "10.64.0.9"), endpoint("b", "10.65.0.11")

    ports, problems = read_ports([homeless, other], index(subnet("10.65.0.0/24")), "")

    assert [port.tap for port in ports] == ["tapb"]
    assert [(one.subject, "10.64.0.9" in one.reason) for one in problems] == [("port a", True)]


def test_a_subnet_of_another_network_does_not_count(endpoint: Any, subnet: Any, index: Any) -> None:
    ports, problems = read_ports([endpoint("a", "10.65.0.11")], index(subnet("10.65.0.0/24", network="net-2")), "")

    assert ports == []
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"interface": "tapa\ntag:tapb"}, "tap name"),
        ({"interface": "tapa,10.0.0.1"}, "tap name"),
        ({"interface": "eth0"}, "tap name"),
        ({"interface": "tap0123456789abc"}, "tap name"),
        ({"mac": None}, "MAC"),
        ({"mac": "fa:16:3e:00:00:01,ignore"}, "MAC"),
    ],
)
def test_what_would_spoil_a_line_is_refused(
    endpoint: Any, subnet: Any, index: Any, fields: dict[str, Any], word: str
) -> None:
    bad, good = endpoint("a", "10.65.0.11", **fields), endpoint("b", "10.65.0.12")

    ports, problems = read_ports([bad, good], index(subnet("10.65.0.0/24")), "")

    assert [port.tap for port in ports] == ["tapb"]
    assert [one.subject for one in problems] == ["port a"]
    assert word in problems[0].reason
    assert problems[0].cure


def test_of_two_ports_with_one_tap_or_one_address_the_first_by_name_wins(
    endpoint: Any, subnet: Any, index: Any
) -> None:
    a, b = endpoint("a", "10.65.0.11", interface="tapx"), endpoint("b", "10.65.0.12", interface="tapx")
    c = endpoint("c", "10.65.0.11")
    known = index(subnet("10.65.0.0/24"))

    one_way = read_ports([a, b, c], known, "")
    other_way = read_ports([c, b, a], known, "")

    assert one_way == other_way
    assert [(port.subject, port.tap) for port in one_way[0]] == [("port a", "tapx")]
    assert [one.subject for one in one_way[1]] == ["port b", "port c"]


@pytest.mark.parametrize(
    ("fqdn", "hostname", "domain", "problems"),
    [
        (None, "host-10-65-0-11", "cloud.example", 0),
        ("web-1.example.org.", "web-1", "example.org", 0),
        ("web-1", "web-1", "cloud.example", 0),
        ("web_1.example.org", "host-10-65-0-11", "example.org", 1),
        ("ignore.example.org", "host-10-65-0-11", "example.org", 1),
        ("12h.example.org", "host-10-65-0-11", "example.org", 1),
        ("3600", "host-10-65-0-11", "cloud.example", 1),
        ("web\ntag:x,option:router,6.6.6.6\n", "host-10-65-0-11", "cloud.example", 2),
        ("web,10.0.0.1.example.org", "host-10-65-0-11", "0.0.1.example.org", 1),
        ("web.exa mple.org", "web", "cloud.example", 1),
        ("-web.example.org", "host-10-65-0-11", "example.org", 1),
    ],
)
def test_a_name_is_sent_only_if_it_is_surely_a_name(
    endpoint: Any, subnet: Any, index: Any, fqdn: str | None, hostname: str, domain: str, problems: int
) -> None:
    one = endpoint("a", "10.65.0.11", fqdn=fqdn)

    ports, found = read_ports([one], index(subnet("10.65.0.0/24")), "cloud.example")

    assert [(port.hostname, port.domain) for port in ports] == [(hostname, domain)]
    assert len(found) == problems
