from dataclasses import replace

import pytest

from calico_openstack.sandbox.spec import Guest, Network, Rule, SecurityGroup, Spec, SpecError, Subnet, spread


def test_the_default_cloud_has_two_hosts_and_a_dual_stack_network() -> None:
    spec = Spec()

    assert spec.host_names == ("h1", "h2")
    assert [(subnet.version, subnet.ipv6_mode) for subnet in spec.network("net1").subnets] == [
        (4, None),
        (6, "dhcpv6-stateful"),
    ]


def test_guests_are_dealt_out_to_the_hosts_in_turn() -> None:
    assert [(guest.name, guest.host) for guest in spread(5, 2)] == [
        ("g1", "h1"),
        ("g2", "h2"),
        ("g3", "h1"),
        ("g4", "h2"),
        ("g5", "h1"),
    ]


@pytest.mark.parametrize(
    ("make", "place", "cure"),
    [
        (lambda: Spec(hosts=0), "hosts", "use 1 to 8"),
        (lambda: Spec(hosts=9), "hosts", "use 1 to 8"),
        (lambda: Spec(name="my-cloud"), "name", "is not a name"),
        (lambda: Spec(mode="heavy"), "mode", "full, light"),  # type: ignore[arg-type]
        (lambda: Spec(guests=(Guest("g1", "h3", "net1"),)), "guests.g1.host", "use one of h1, h2"),
        (lambda: Spec(guests=(Guest("g1", "h1", "net2"),)), "guests.g1.network", "use one of net1"),
        (lambda: Spec(guests=(Guest("g1", "h1", "net1", ("web",)),)), "guests.g1.groups", "use one of default"),
        (lambda: Spec(guests=spread(51, 2)), "guests", "at most 50"),
        (lambda: Spec(guests=(*spread(1, 2), *spread(1, 2))), "guests", "its own name"),
        (lambda: Subnet("10.65.0.1/24"), "subnet.cidr", "write a network"),
        (lambda: Subnet("10.65.0.0/24", ipv6_mode="slaac"), "subnet.ipv6_mode", "leave ipv6_mode out"),
        (lambda: Subnet("2001:db8::/48"), "subnet.cidr", "is a /64"),
        (lambda: Subnet("10.65.0.0/24", dns=("ns1",)), "subnet.dns", "write one such as"),
        (lambda: Network("net1", ()), "networks.net1.subnets", "add one"),
        (lambda: Network("net1", (Subnet("10.65.0.0/24"),), mtu=900), "networks.net1.mtu", "use 1280 to 9000"),
        (
            lambda: Spec(networks=(Network("a", (Subnet("10.65.0.0/16"),)), Network("b", (Subnet("10.65.1.0/24"),)))),
            "networks.b.subnets",
            "addresses of its own",
        ),
        (lambda: Rule(ports=(80, 80)), "rule.ports", "add protocol"),
        (lambda: Rule(remote_cidr="::/0"), "rule.remote_cidr", "change the ethertype"),
        (lambda: Rule(remote_group="a", remote_cidr="0.0.0.0/0"), "rule.remote_cidr", "one peer"),
        (
            lambda: Spec(groups=(SecurityGroup("web", (Rule(remote_group="db"),)),)),
            "groups.web.rules.remote_group",
            "use one of default, web",
        ),
    ],
)
def test_a_wrong_field_is_refused_with_its_place_and_the_cure(make: object, place: str, cure: str) -> None:
    with pytest.raises(SpecError) as caught:
        make()  # type: ignore[operator]

    assert caught.value.place == place
    assert cure in str(caught.value)


def test_a_spec_that_is_changed_is_checked_again() -> None:
    spec = Spec(guests=spread(2, 2))

    with pytest.raises(SpecError, match="there is no host 'h2'"):
        replace(spec, hosts=1)
