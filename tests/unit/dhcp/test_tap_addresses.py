from typing import Any

import pytest

from calico_openstack.dhcp.ports import read_ports
from calico_openstack.dhcp.tap_addresses import tap_addresses


@pytest.fixture
def on_tap(endpoint: Any, index: Any) -> Any:
    def find(address: str, *subnets: Any) -> tuple[list[str], list[str]]:
        ports, _ = read_ports([endpoint("a", address)], index(*subnets), "")
        wanted, problems = tap_addresses(ports)
        return sorted(map(str, wanted["tapa"])), [one.subject for one in problems]

    return find


def test_an_ipv4_gateway_is_a_single_address(on_tap: Any, subnet: Any) -> None:
    assert on_tap("10.65.0.11", subnet("10.65.0.0/24", "10.65.0.1")) == (["10.65.0.1/32"], [])


def test_a_subnet_without_gateway_has_a_link_local_one(on_tap: Any, subnet: Any) -> None:
    assert on_tap("10.65.0.11", subnet("10.65.0.0/24")) == (["169.254.1.1/32"], [])


@pytest.mark.parametrize("gateway", ["192.0.2.1", "10.66.0.1"])
def test_a_gateway_outside_the_subnet_never_becomes_an_address_of_the_host(
    on_tap: Any, subnet: Any, gateway: str
) -> None:
    assert on_tap("10.65.0.11", subnet("10.65.0.0/24", gateway)) == (["169.254.1.1/32"], ["subnet 10.65.0.0/24"])


def test_a_gateway_that_is_a_guests_address_never_becomes_the_hosts(on_tap: Any, subnet: Any) -> None:
    assert on_tap("10.65.0.11", subnet("10.65.0.0/24", "10.65.0.11")) == (["169.254.1.1/32"], ["subnet 10.65.0.0/24"])


def test_an_ipv6_gateway_makes_the_prefix_of_its_64_known(on_tap: Any, subnet: Any) -> None:
    assert on_tap("2001:db8:1::11", subnet("2001:db8:1::/64", "2001:db8:1::1")) == (["2001:db8:1::1/64"], [])
    assert on_tap("2001:db8:1::11", subnet("2001:db8:1::/65", "2001:db8:1::1")) == (["2001:db8:1::1/64"], [])


def test_where_the_gateway_is_elsewhere_a_reserved_address_makes_the_prefix_known(on_tap: Any, subnet: Any) -> None:
    reserved = "2001:db8:1:0:fdff:ffff:ffff:ff80/64"

    assert on_tap("2001:db8:1::11", subnet("2001:db8:1::/64")) == ([reserved], [])
    assert on_tap("2001:db8:1::11", subnet("2001:db8:1::/64", "fe80::1")) == ([reserved, "fe80::1/64"], [])
    wide = subnet("2001:db8::/32", "2001:db8::1")
    assert on_tap("2001:db8:1::11", wide) == ([reserved, "2001:db8::1/64"], [])
