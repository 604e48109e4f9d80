from typing import Any

import pytest

from calico_openstack.dhcp.advertise import advertisements
from calico_openstack.dhcp.ports import read_ports
from calico_openstack.dhcp.serving import Serving


@pytest.fixture
def advertised(endpoint: Any, index: Any) -> Any:
    def find(addresses: list[str], *subnets: Any, mtu: int = 1450) -> Any:
        ports, _ = read_ports([endpoint("a", *addresses)], index(*subnets), "example.org")
        return advertisements(ports, {"tapa": mtu}, Serving())

    return find


@pytest.mark.parametrize(
    ("mode", "managed", "other", "prefixes"),
    [
        ("slaac", False, False, ["2001:db8:1::/64"]),
        ("dhcpv6-stateless", False, True, ["2001:db8:1::/64"]),
        ("dhcpv6-stateful", True, True, []),
        (None, True, True, []),
    ],
)
def test_the_flags_follow_the_modes(
    advertised: Any, subnet: Any, mode: str | None, managed: bool, other: bool, prefixes: list[str]
) -> None:
    wanted, problems = advertised(["2001:db8:1::11"], subnet("2001:db8:1::/64", "2001:db8:1::1", mode=mode))

    said = wanted["tapa"]
    assert (said.managed, said.other, [str(one) for one in said.prefixes]) == (managed, other, prefixes)
    assert (said.router_lifetime, said.mtu, said.search, said.source) == (1800, 1450, "example.org", None)
    assert problems == []


def test_two_subnets_of_a_port_are_one_advertisement(advertised: Any, subnet: Any) -> None:
    wanted, _ = advertised(
        ["2001:db8:1::11", "2001:db8:2::11"],
        subnet("2001:db8:1::/64", "2001:db8:1::1", mode="slaac", dns=["2001:db8::53"]),
        subnet("2001:db8:2::/64", mode="dhcpv6-stateful", dns=["2001:db8::53", "2001:db8::54"]),
    )

    said = wanted["tapa"]
    assert (said.managed, said.other) == (True, True)
    assert [str(one) for one in said.prefixes] == ["2001:db8:1::/64"]
    assert [one.address for one in said.dns_servers] == ["2001:db8::53", "2001:db8::54"]


def test_a_port_whose_subnets_have_no_gateway_gets_routes_to_them_and_no_default(advertised: Any, subnet: Any) -> None:
    wanted, _ = advertised(["2001:db8:1::11"], subnet("2001:db8:1::/64", mode="slaac"))

    assert wanted["tapa"].router_lifetime == 0
    assert [str(one) for one in wanted["tapa"].routes] == ["2001:db8:1::/64"]


def test_a_link_local_gateway_is_the_sender(advertised: Any, subnet: Any) -> None:
    wanted, _ = advertised(["2001:db8:1::11"], subnet("2001:db8:1::/64", "fe80::1", mode="slaac"))

    assert wanted["tapa"].source.address == "fe80::1"
    assert wanted["tapa"].router_lifetime == 1800


def test_slaac_in_anything_but_a_64_is_a_problem(advertised: Any, subnet: Any) -> None:
    wanted, problems = advertised(["2001:db8:1::11"], subnet("2001:db8:1::/56", "2001:db8:1::1", mode="slaac"))

    assert wanted["tapa"].prefixes == ()
    assert [one.subject for one in problems] == ["subnet 2001:db8:1::/56"]


def test_an_mtu_that_ipv6_does_not_allow_is_not_said(advertised: Any, subnet: Any) -> None:
    wanted, _ = advertised(["2001:db8:1::11"], subnet("2001:db8:1::/64", "2001:db8:1::1"), mtu=1000)

    assert wanted["tapa"].mtu is None


def test_a_port_without_ipv6_is_not_advertised_to(advertised: Any, subnet: Any) -> None:
    assert advertised(["10.65.0.11"], subnet("10.65.0.0/24", "10.65.0.1")) == ({}, [])
