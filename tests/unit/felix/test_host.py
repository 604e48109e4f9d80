"""What an endpoint wants of the host."""

from typing import Any

import pytest

from calico_openstack.felix.wanted.host import HostRules, global_sysctls, host_wants
from calico_openstack.felix.wanted.route_claims import RouteClaims
from calico_openstack.felix.wanted.state import WantedEndpoint
from calico_openstack.model.endpoint import EndpointKey, Nat
from calico_openstack.model.net import parse_net

MAC = "fa:16:3e:00:00:01"


def endpoint(*addresses: str, **more: Any) -> WantedEndpoint:
    key = EndpointKey("openstack", "h", "openstack", "vm", "port")
    fields: dict[str, Any] = {"mac": MAC, **more}
    return WantedEndpoint(key=key, interface="tap1", addresses=tuple(map(parse_net, addresses)), **fields)


def test_addresses_and_floating_ips_get_routes_and_permanent_neighbours_in_both_families() -> None:
    nat = Nat(parse_net("10.0.0.1"), parse_net("172.24.4.33"))

    wants = host_wants(endpoint("10.0.0.1", "2001:db8::1", nats=(nat,)), HostRules())

    nets = [parse_net(text) for text in ("10.0.0.1", "2001:db8::1", "172.24.4.33")]
    assert list(wants.routes) == nets
    assert list(wants.neighbours) == [(net, MAC) for net in nets]


def test_an_allowed_pair_that_is_a_network_gets_a_route_of_its_length_and_no_neighbour() -> None:
    wants = host_wants(endpoint("10.0.0.1", "10.9.0.0/24"), HostRules())

    assert [str(net) for net in wants.routes] == ["10.0.0.1/32", "10.9.0.0/24"]
    assert [str(net) for net, _ in wants.neighbours] == ["10.0.0.1/32"]


def test_without_a_mac_there_are_no_neighbours() -> None:
    assert host_wants(endpoint("10.0.0.1", mac=None), HostRules()).neighbours == ()


def test_settings_switch_ipv6_and_routes_off() -> None:
    both = endpoint("10.0.0.1", "2001:db8::1")

    assert [str(net) for net in host_wants(both, HostRules(ipv6=False)).routes] == ["10.0.0.1/32"]
    assert host_wants(both, HostRules(program_routes=False)).routes == ()
    assert not any(s.path.endswith("forwarding") for s in global_sysctls(ipv6=True, forwarding=False))


def test_the_reverse_path_filter_is_the_hosts_own_unless_the_guest_may_spoof() -> None:
    def rp_filter(**more: Any) -> list[str]:
        sysctls = host_wants(endpoint("10.0.0.1", **more), HostRules(rp_filter="2")).sysctls
        return [sysctl.value for sysctl in sysctls if sysctl.path == "ipv4/conf/tap1/rp_filter"]

    assert rp_filter() == ["2"]
    assert rp_filter(spoof=(parse_net("192.0.2.0/24"),)) == ["0"]


def test_of_several_claimants_the_newest_interface_wins_and_the_next_takes_over() -> None:
    claims, vip = RouteClaims(), parse_net("10.0.0.100")

    assert claims.claim(3, [vip]) == {vip: 3}
    assert claims.claim(7, [vip]) == {vip: 7}
    assert claims.claim(5, [vip]) == {}
    assert (claims.won(7), claims.won(5)) == ([vip], [])
    assert claims.claim(7, []) == {vip: 5}
    assert claims.claim(3, []) == {}
    assert claims.claim(5, []) == {vip: None}


def values(rules: HostRules) -> dict[str, str]:
    return {sysctl.path: sysctl.value for sysctl in host_wants(endpoint("10.0.0.1"), rules).sysctls}


@pytest.mark.conformance("R13")
def test_a_tap_gets_the_sysctls_of_a_router_and_its_proxy_delay_is_best_effort() -> None:
    both = endpoint("10.0.0.1", "2001:db8::1")
    sysctls = {sysctl.path: sysctl for sysctl in host_wants(both, HostRules()).sysctls}

    assert {path: sysctl.value for path, sysctl in sysctls.items()} == {
        "ipv6/conf/tap1/accept_ra": "0",
        "ipv6/conf/tap1/accept_redirects": "0",
        "ipv4/conf/tap1/accept_redirects": "0",
        "ipv4/conf/tap1/accept_source_route": "0",
        "ipv4/conf/tap1/route_localnet": "1",
        "ipv4/neigh/tap1/proxy_delay": "0",
        "ipv4/conf/tap1/proxy_arp": "1",
        "ipv4/conf/tap1/forwarding": "1",
        "ipv4/conf/tap1/rp_filter": "1",
        "ipv6/conf/tap1/forwarding": "1",
    }
    assert [path for path, sysctl in sysctls.items() if not sysctl.required] == [
        "ipv6/conf/tap1/accept_ra",
        "ipv6/conf/tap1/accept_redirects",
        "ipv4/neigh/tap1/proxy_delay",
    ]


def test_the_loopback_is_shut_again_for_a_tap_that_needs_it_no_more() -> None:
    assert values(HostRules(localnet=False))["ipv4/conf/tap1/route_localnet"] == "0"


def test_a_host_that_is_not_to_forward_does_not_do_so_for_taps_either() -> None:
    assert not [path for path in values(HostRules(forwarding=False)) if path.endswith("forwarding")]
    assert global_sysctls(ipv6=True, forwarding=False) == global_sysctls(ipv6=False, forwarding=False)


def test_no_guest_gets_the_hosts_default_route() -> None:
    wants = host_wants(endpoint("10.0.0.1", "0.0.0.0/0", "10.9.0.0/24", "::/0"), HostRules())

    assert wants.routes == (parse_net("10.0.0.1"), parse_net("10.9.0.0/24"))
