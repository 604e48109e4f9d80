"""DHCPv6 and router advertisements as a guest sees them."""

import os
import re
import signal
import time
from typing import Any

import pytest

pytestmark = pytest.mark.root

PORTS = [f"000{n}aaaa-aa0{n}-4000-8000-00000000000{n}" for n in (1, 2, 3)]
MACS = [f"fa:16:3e:00:00:0{n}" for n in (1, 2, 3)]
STATEFUL = {"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful"}
STATELESS = {"ipv6_ra_mode": "dhcpv6-stateless", "ipv6_address_mode": "dhcpv6-stateless"}
SLAAC = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}


def wait_for(what: str, condition: Any, limit: float = 20.0) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"waited {limit:g} s in vain for: {what}"
        time.sleep(0.02)


def has_link_local(guest: Any) -> bool:
    return "fe80" in guest.run("ip", "-6", "addr", "show", "dev", "eth0", "scope", "link", "-tentative")


def default_routers(guest: Any) -> list[str]:
    return re.findall(r"default via (\S+)", guest.run("ip", "-6", "route", "show", "default"))


def test_a_guest_gets_its_stateful_address_and_dns(host: Any) -> None:
    host.subnet("2001:db8:1::/64", gateway_ip="2001:db8:1::1", dns_servers=["2001:db8:53::1"], **STATEFUL)
    guest = host.plug(PORTS[0], MACS[0], "2001:db8:1::11")
    host.endpoint(PORTS[0], "2001:db8:1::11", fqdn="web-1.example.org.")
    wait_for("the port is served", lambda: "2001:db8:1::11" in host.hosts("v6"))
    wait_for("a usable link-local address", lambda: has_link_local(guest))

    told = guest.dhcp6()

    assert told is not None, host.log
    assert told["new_ip6_address"] == "2001:db8:1::11"
    assert told["new_dhcp6_name_servers"] == "2001:db8:53::1"
    assert told["new_dhcp6_domain_search"].rstrip(".") == "example.org"
    wait_for("a default router", lambda: default_routers(guest))
    assert guest.pings("2001:db8:1::1")


def test_a_guest_makes_its_own_address_and_reaches_another_guest_of_the_prefix_through_the_router(host: Any) -> None:
    host.subnet("2001:db8:2::/64", gateway_ip="2001:db8:2::1", **SLAAC)
    own = [f"2001:db8:2:0:f816:3eff:fe00:{n}" for n in (1, 2)]
    guests = []
    for n in (0, 1):
        guests.append(host.plug(PORTS[n], MACS[n], own[n]))
        host.endpoint(PORTS[n], own[n])

    for guest, address in zip(guests, own, strict=True):
        wait_for(f"{address} by SLAAC", lambda guest=guest, address=address: address in guest.addresses6())

    assert guests[0].pings(own[1])
    routes = guests[0].run("ip", "-6", "route", "show")
    assert "2001:db8:2::/64" not in routes, "the prefix must not be on-link"
    assert default_routers(guests[0]) == [f"fe80::fc16:3eff:fe00:{1}"]


def test_three_taps_of_one_prefix_all_hear_advertisements(host: Any) -> None:
    host.subnet("2001:db8:2::/64", gateway_ip="2001:db8:2::1", **SLAAC)
    guests = []
    for n in (0, 1, 2):
        guests.append(host.plug(PORTS[n], MACS[n]))
        host.endpoint(PORTS[n], f"2001:db8:2:0:f816:3eff:fe00:{n + 1}")
    for guest in guests:
        wait_for("a usable link-local address", lambda guest=guest: has_link_local(guest))

    heard = [guest.run("rdisc6", "-1", "-w", "8000", "-r", "2", "eth0") for guest in guests]

    for n, text in enumerate(heard, start=1):
        assert f"from fe80::fc16:3eff:fe00:{n}" in text
        assert re.search(r"Prefix\s+: 2001:db8:2::/64", text)
        assert re.search(r"On-link\s+:\s+No", text)
        assert re.search(r"Autonomous address conf.:\s+Yes", text)
        assert re.search(r"MTU\s+:\s+1450", text)
        assert re.search(r"Router lifetime\s+:\s+1800", text)
        assert re.search(rf"Source link-layer address: FE:16:3E:00:00:0{n}", text)


def test_a_guest_that_makes_its_own_address_gets_its_options_by_dhcp(host: Any) -> None:
    host.subnet("2001:db8:3::/64", gateway_ip="2001:db8:3::1", dns_servers=["2001:db8:53::3"], **STATELESS)
    guest = host.plug(PORTS[0], MACS[0])
    host.endpoint(PORTS[0], "2001:db8:3:0:f816:3eff:fe00:1")
    wait_for("the address by SLAAC", lambda: "2001:db8:3:0:f816:3eff:fe00:1" in guest.addresses6())
    wait_for("the tap's address", lambda: "2001:db8:3::1/64" in host.tap_addresses(guest))

    guest.run(
        *("timeout", "50", "dhclient", "-6", "-S", "-1", "-lf", f"{host.directory}/s.leases"),
        *("-pf", f"{host.directory}/s.pid", "-sf", host.script, "-e", f"OUT={host.directory}/{guest.namespace}.v6"),
        *("-cf", "/dev/null", "eth0"),
    )

    wait_for("options", lambda: any(guest.told(event, "v6") for event in ("BOUND6", "RENEW6", "REBIND6")))
    told = guest.told("BOUND6", "v6") or guest.told("RENEW6", "v6") or guest.told("REBIND6", "v6")
    assert told["new_dhcp6_name_servers"] == "2001:db8:53::3"


def test_a_rebuilt_guest_with_another_identifier_gets_its_address_again(host: Any) -> None:
    host.subnet("2001:db8:1::/64", gateway_ip="2001:db8:1::1", **STATEFUL)
    guest = host.plug(PORTS[0], MACS[0])
    host.endpoint(PORTS[0], "2001:db8:1::11")
    wait_for("the port is served", lambda: "2001:db8:1::11" in host.hosts("v6"))
    wait_for("a usable link-local address", lambda: has_link_local(guest))
    assert guest.dhcp6() is not None
    guest.dhcp6_stop()
    before = host.server("v6")

    host.unplug(guest)
    host.make_tap(guest)
    wait_for("the DHCPv6 server forgets the former guest", lambda: host.server("v6") not in (0, before))
    wait_for("a usable link-local address", lambda: has_link_local(guest))

    told = guest.dhcp6(fresh=True)

    assert told is not None, host.log
    assert told["new_ip6_address"] == "2001:db8:1::11"


def test_a_subnet_without_gateway_gives_addresses_but_no_default_route(host: Any) -> None:
    host.subnet("2001:db8:4::/64", gateway_ip=None, **STATEFUL)
    guest = host.plug(PORTS[0], MACS[0], "2001:db8:4::11")
    host.endpoint(PORTS[0], "2001:db8:4::11")
    wait_for("the port is served", lambda: "2001:db8:4::11" in host.hosts("v6"))
    wait_for("a usable link-local address", lambda: has_link_local(guest))

    told = guest.dhcp6()
    heard = guest.run("rdisc6", "-1", "-w", "8000", "-r", "2", "eth0")

    assert told is not None, host.log
    assert told["new_ip6_address"] == "2001:db8:4::11"
    assert re.search(r"Router lifetime\s+:\s+0 ", heard)
    assert re.search(r"Route\s+: 2001:db8:4::/64", heard)
    assert default_routers(guest) == []


@pytest.mark.slow
def test_a_guest_keeps_its_address_when_the_server_has_forgotten_its_lease(bare_host: Any) -> None:
    """The server keeps leases in memory; a guest whose renewal it does not know asks anew and gets the same address."""
    host = bare_host
    host.extra = "dhcp_lease_duration = 120"
    host.start_agent()
    host.subnet("2001:db8:1::/64", gateway_ip="2001:db8:1::1", **STATEFUL)
    guest = host.plug(PORTS[0], MACS[0], "2001:db8:1::11")
    host.endpoint(PORTS[0], "2001:db8:1::11")
    wait_for("the port is served", lambda: "2001:db8:1::11" in host.hosts("v6"))
    wait_for("a usable link-local address", lambda: has_link_local(guest))
    assert guest.dhcp6() is not None
    server = host.server("v6")
    guest.forget("BOUND6", "v6")

    os.kill(server, signal.SIGKILL)
    wait_for("another server", lambda: host.server("v6") not in (0, server))

    def again() -> bool:
        return any(guest.told(event, "v6").get("new_ip6_address") for event in ("BOUND6", "RENEW6", "REBIND6"))

    wait_for("the lease is given again at half its time", again, limit=110)
    assert "2001:db8:1::11" in guest.addresses6()
