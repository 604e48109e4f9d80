from itertools import permutations
from typing import Any

from calico_openstack.dhcp.render import render
from calico_openstack.dhcp.serving import Serving
from calico_openstack.model.net import host_net

GOLDEN_HOSTS4 = "fa:16:3e:00:00:01,tag:tapa,10.65.0.11,web-1\n"
GOLDEN_OPTIONS4 = """\
tag:tapa,option:netmask,255.255.255.0
tag:tapa,28,10.65.0.255
tag:tapa,option:router,10.65.0.1
tag:tapa,option:dns-server,8.8.8.8,8.8.4.4
tag:tapa,121,169.254.169.254/32,10.65.0.1,0.0.0.0/0,10.65.0.1
tag:tapa,249,169.254.169.254/32,10.65.0.1,0.0.0.0/0,10.65.0.1
tag:tapa,option:mtu,1450
tag:tapa,option:domain-name,example.org
"""
GOLDEN_HOSTS6 = "fa:16:3e:00:00:01,tag:tapa,[2001:db8:1::11],web-1\n"
GOLDEN_OPTIONS6 = """\
tag:tapa,option6:dns-server,[2001:4860:4860::8888]
tag:tapa,option6:domain-search,example.org
"""


def lines(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if word in line]


def test_a_port_of_both_families_has_a_line_and_its_options_in_each(endpoint: Any, subnet: Any, index: Any) -> None:
    one = endpoint("a", "10.65.0.11", "2001:db8:1::11", fqdn="web-1.example.org.")
    known = index(
        subnet("10.65.0.0/24", "10.65.0.1", dns=["8.8.8.8", "8.8.4.4"]),
        subnet("2001:db8:1::/64", "2001:db8:1::1", dns=["2001:4860:4860::8888"], mode="dhcpv6-stateful"),
    )

    rendered = render([one], known, {"tapa": 1450}, Serving())

    assert rendered.v4.hosts == GOLDEN_HOSTS4
    assert rendered.v4.options == GOLDEN_OPTIONS4
    assert rendered.v6.hosts == GOLDEN_HOSTS6
    assert rendered.v6.options == GOLDEN_OPTIONS6
    assert {tap: sorted(map(str, found)) for tap, found in rendered.addresses.items()} == {
        "tapa": ["10.65.0.1/32", "2001:db8:1::1/64"]
    }
    assert list(rendered.advertisements) == ["tapa"]
    assert rendered.problems == ()


def test_the_order_of_arrival_does_not_matter(endpoint: Any, subnet: Any, index: Any) -> None:
    subnets = [subnet("10.65.0.0/24", "10.65.0.1"), subnet("10.66.0.0/24"), subnet("2001:db8::/64")]
    ports = [endpoint("a", "10.65.0.11", "2001:db8::11"), endpoint("b", "10.66.0.11"), endpoint("c", "10.65.0.11")]

    answers = {
        str(render(some, index(*others), {"tapa": 1500}, Serving()))
        for some in permutations(ports)
        for others in permutations(subnets)
    }

    assert len(answers) == 1


def test_no_line_ever_sets_a_tag_or_is_longer_than_dnsmasq_reads(endpoint: Any, subnet: Any, index: Any) -> None:
    routes = [(f"203.{n}.113.255/32", "255.255.255.254") for n in range(100, 200)]
    servers = [f"255.255.255.{n}" for n in range(1, 90)]
    servers6 = [f"2001:db8:aaaa:bbbb:cccc:dddd:eeee:{n:x}" for n in range(0x1000, 0x1059)]
    ports = [endpoint("12345678-12", *(f"2001:db8:{n}:ffff:ffff:ffff:ffff:ffff" for n in range(9)), "10.65.0.11")]
    subnets = [subnet(f"2001:db8:{n}::/48", dns=servers6) for n in range(9)]

    rendered = render(
        ports, index(subnet("10.65.0.0/24", "10.65.0.1", routes=routes, dns=servers), *subnets), {}, Serving()
    )

    text = rendered.v4.hosts + rendered.v4.options + rendered.v6.hosts + rendered.v6.options
    assert text.count("\n") > 8
    assert "set:" not in text
    assert max(len(line) for line in text.splitlines()) <= 1024
    assert [one.subject for one in rendered.problems] == ["subnet 10.65.0.0/24"]


def test_more_addresses_than_a_line_can_hold_are_left_out_and_named(endpoint: Any, subnet: Any, index: Any) -> None:
    addresses = [f"2001:db8:aaaa:bbbb:cccc:dddd:eeee:{n:x}" for n in range(0x1000, 0x1028)]
    port = endpoint("12345678-12", *addresses, fqdn=f"{'n' * 63}.example.org.")

    rendered = render([port], index(subnet("2001:db8:aaaa:bbbb::/64")), {}, Serving())

    assert len(rendered.v6.hosts.rstrip("\n")) < 1024
    leased = [address for address in addresses if f"[{address}]" in rendered.v6.hosts]
    assert {grant.address for grant in rendered.v6.grants} == set(leased)
    assert [one.reason for one in rendered.problems] == [
        f"{40 - len(leased)} of its 40 DHCPv6 addresses are not handed out"
    ]


def test_every_field_of_a_subnet_reaches_the_text(endpoint: Any, subnet: Any, index: Any) -> None:
    """A change that does not show in the text would never reach a guest."""
    one = endpoint("a", "10.65.0.11")

    def text(**fields: Any) -> str:
        cidr, gateway = fields.pop("cidr", "10.65.0.0/24"), fields.pop("gateway", "10.65.0.1")
        return render([one], index(subnet(cidr, gateway, **fields)), {"tapa": 1500}, Serving()).v4.options

    plain = text()

    assert text(cidr="10.65.0.0/16") != plain
    assert text(gateway="10.65.0.2") != plain
    assert text(gateway=None) != plain
    assert text(dns=["192.0.2.1"]) != plain
    assert text(routes=[("203.0.113.0/24", "10.65.0.9")]) != plain


def test_dns_servers_come_from_the_subnet_else_from_the_host_and_zero_means_none(
    endpoint: Any, subnet: Any, index: Any
) -> None:
    serving = Serving(dns_servers=(host_net("192.0.2.53"), host_net("2001:db8::53")))
    one = endpoint("a", "10.65.0.11")

    def dns(*servers: str) -> list[str]:
        known = index(subnet("10.65.0.0/24", "10.65.0.1", dns=servers))
        return lines(render([one], known, {}, serving).v4.options, "dns-server")

    assert dns() == ["tag:tapa,option:dns-server,192.0.2.53"]
    assert dns("192.0.2.9") == ["tag:tapa,option:dns-server,192.0.2.9"]
    assert dns("0.0.0.0") == []


def test_the_mtu_is_the_taps_and_absent_without_a_tap(endpoint: Any, subnet: Any, index: Any) -> None:
    one, known = endpoint("a", "10.65.0.11"), index(subnet("10.65.0.0/24", "10.65.0.1"))

    with_tap = render([one], known, {"tapa": 8950}, Serving()).v4.options
    without = render([one], known, {}, Serving()).v4.options

    assert lines(with_tap, "mtu") == ["tag:tapa,option:mtu,8950"]
    assert lines(without, "mtu") == []


def test_only_stateful_addresses_are_handed_out_by_dhcpv6(endpoint: Any, subnet: Any, index: Any) -> None:
    known = index(
        subnet("2001:db8:1::/64", mode="slaac"),
        subnet("2001:db8:2::/64", mode="dhcpv6-stateless"),
        subnet("2001:db8:3::/64", mode="dhcpv6-stateful"),
        subnet("2001:db8:4::/64"),
    )
    ports = [endpoint(str(n), f"2001:db8:{n}::11", mac=f"fa:16:3e:00:00:0{n}") for n in (1, 2, 3, 4)]

    hosts = render(ports, known, {}, Serving()).v6.hosts

    assert hosts == (
        "fa:16:3e:00:00:02,tag:tap2,host-2001-db8-2--11\n"
        "fa:16:3e:00:00:03,tag:tap3,[2001:db8:3::11],host-2001-db8-3--11\n"
        "fa:16:3e:00:00:04,tag:tap4,[2001:db8:4::11],host-2001-db8-4--11\n"
    )


def test_all_ipv6_addresses_of_a_port_stand_on_one_line(endpoint: Any, subnet: Any, index: Any) -> None:
    known = index(subnet("2001:db8:1::/64"), subnet("2001:db8:2::/64"))
    one = endpoint("a", "2001:db8:1::11", "2001:db8:2::11")

    hosts = render([one], known, {}, Serving()).v6.hosts

    assert hosts == "fa:16:3e:00:00:01,tag:tapa,[2001:db8:1::11],[2001:db8:2::11],host-2001-db8-1--11\n"
