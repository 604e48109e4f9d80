"""DHCPv4 as a guest sees it: a real client, the real dnsmasq, the real agent, a real etcd."""

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.root

PORT_A, PORT_B = "0001aaaa-aa01-4000-8000-000000000001", "0002bbbb-bb02-4000-8000-000000000002"
MAC_A, MAC_B = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"


def wait_for(what: str, condition: Any, limit: float = 20.0) -> None:
    import time

    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"waited {limit:g} s in vain for: {what}"
        time.sleep(0.02)


def test_a_guest_gets_its_address_and_every_option(host: Any) -> None:
    host.subnet(
        "10.65.0.0/24",
        gateway_ip="10.65.0.1",
        dns_servers=["192.0.2.53", "192.0.2.54"],
        host_routes=[{"destination": "203.0.113.0/24", "nexthop": "10.65.0.9"}],
    )
    guest = host.plug(PORT_A, MAC_A, "10.65.0.11")
    host.endpoint(PORT_A, "10.65.0.11", fqdn="web-1.example.org.")
    wait_for("the port is served", lambda: "10.65.0.11" in host.hosts())

    told = guest.dhcp4()

    assert told is not None, host.log
    expected = {
        "ip": "10.65.0.11",
        "subnet": "255.255.255.0",
        "broadcast": "10.65.0.255",
        "router": "10.65.0.1",
        "dns": "192.0.2.53 192.0.2.54",
        "staticroutes": "203.0.113.0/24 10.65.0.9 169.254.169.254/32 10.65.0.1 0.0.0.0/0 10.65.0.1",
        "mtu": "1450",
        "hostname": "web-1",
        "domain": "example.org",
        "lease": "86400",
        "serverid": "10.65.0.1",
    }
    assert expected == {name: told.get(name) for name in expected}
    assert guest.pings("10.65.0.1")


def serve(host: Any, port: str, mac: str, address: str, **more: Any) -> Any:
    """A plugged guest whose port is served."""
    guest = host.plug(port, mac, address)
    host.endpoint(port, address, **more)
    wait_for(f"{address} is served", lambda: f"{mac},tag:{guest.tap},{address}," in host.hosts())
    return guest


def test_a_subnet_that_comes_after_its_endpoint_is_served(host: Any) -> None:
    guest = host.plug(PORT_A, MAC_A, "10.65.0.11")
    host.endpoint(PORT_A, "10.65.0.11")
    wait_for("the lack is reported", lambda: "no subnet with DHCP is known" in host.log)

    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1")
    wait_for("the port is served", lambda: "10.65.0.11" in host.hosts())

    assert guest.dhcp4()["ip"] == "10.65.0.11"
    wait_for("the problem is over", lambda: "dhcp.problem_gone" in host.log)


def test_without_a_gateway_a_guest_gets_no_router_and_still_finds_its_metadata(host: Any) -> None:
    host.subnet("10.66.0.0/24", gateway_ip=None)
    guest = serve(host, PORT_A, MAC_A, "10.66.0.11")

    told = guest.dhcp4()

    assert told is not None, host.log
    assert told["ip"] == "10.66.0.11"
    assert "router" not in told
    assert "dns" not in told
    assert told["staticroutes"] == "169.254.169.254/32 169.254.1.1"
    assert host.tap_addresses(guest) == {"169.254.1.1/32"}


def test_a_guest_that_borrows_another_ones_mac_address_gets_nothing(host: Any) -> None:
    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1")
    owner = serve(host, PORT_A, MAC_A, "10.65.0.11")
    thief = serve(host, PORT_B, MAC_B, "10.65.0.12")
    thief.run("ip", "link", "set", "eth0", "down")
    thief.run("ip", "link", "set", "eth0", "address", MAC_A)
    thief.run("ip", "link", "set", "eth0", "up")

    assert thief.dhcp4(tries=3) is None
    assert owner.dhcp4()["ip"] == "10.65.0.11"


def test_a_renewal_is_answered_and_brings_what_has_changed(host: Any) -> None:
    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1", dns_servers=["192.0.2.53"])
    guest = serve(host, PORT_A, MAC_A, "10.65.0.11")
    client = guest.daemon4()
    wait_for("a lease", lambda: guest.told("bound"))

    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1", dns_servers=["192.0.2.54"])
    wait_for("the new server is served", lambda: "192.0.2.54" in (host.state / "v4/options").read_text())
    client.send_signal(signal.SIGUSR1)
    wait_for("a renewal", lambda: guest.told("renew"))

    assert guest.told("bound")["dns"] == "192.0.2.53"
    assert guest.told("renew")["dns"] == "192.0.2.54"


def test_ten_reloads_after_a_lease_leave_the_same_server_answering(host: Any) -> None:
    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1")
    guest = serve(host, PORT_A, MAC_A, "10.65.0.11")
    other = host.plug(PORT_B, MAC_B)
    server = host.server("v4")
    for n in range(10):
        assert guest.dhcp4()["ip"] == "10.65.0.11"
        host.endpoint(PORT_B, f"10.65.0.{100 + n}")
        wait_for("the reload", lambda n=n: f"{other.tap},10.65.0.{100 + n}," in host.hosts())

    assert guest.dhcp4()["ip"] == "10.65.0.11"
    assert host.server("v4") == server


def test_an_address_that_moves_to_another_guest_is_leased_at_once(host: Any) -> None:
    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1")
    first = serve(host, PORT_A, MAC_A, "10.65.0.11")
    assert first.dhcp4()["ip"] == "10.65.0.11"

    host.endpoint(PORT_A, gone=True)
    host.unplug(first)
    wait_for("the port is gone", lambda: first.tap not in host.hosts())
    second = serve(host, PORT_B, MAC_B, "10.65.0.11")

    told = second.dhcp4()

    assert told is not None, host.log
    assert told["ip"] == "10.65.0.11"


def test_a_guest_is_served_while_the_agent_is_dead_and_the_next_agent_changes_nothing(host: Any) -> None:
    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1")
    host.subnet("2001:db8:1::/64", gateway_ip="2001:db8:1::1")
    guest = host.plug(PORT_A, MAC_A, "10.65.0.11")
    host.endpoint(PORT_A, "10.65.0.11", "2001:db8:1::11")
    wait_for("the port is served", lambda: "2001:db8:1::11" in host.hosts("v6"))
    servers = host.server("v4"), host.server("v6")
    addresses = host.tap_addresses(guest)

    host.kill_agent(signal.SIGKILL)
    assert guest.dhcp4()["ip"] == "10.65.0.11"
    served = host.log.count("dhcp.served")
    host.start_agent()
    wait_for("both servers are taken over", lambda: host.log.count("dnsmasq.taken_over") == 2)
    assert guest.dhcp4()["ip"] == "10.65.0.11"

    assert (host.server("v4"), host.server("v6")) == servers
    assert host.tap_addresses(guest) == addresses == {"10.65.0.1/32", "2001:db8:1::1/64"}
    assert host.log.count("dhcp.served") == served, "the second agent found something to do"


def test_what_changed_while_the_agent_was_dead_is_made_good(host: Any) -> None:
    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1")
    first = serve(host, PORT_A, MAC_A, "10.65.0.11")
    assert first.dhcp4()["ip"] == "10.65.0.11"
    host.kill_agent(signal.SIGKILL)

    host.endpoint(PORT_A, "10.65.0.12")
    second = host.plug(PORT_B, MAC_B, "10.65.0.11")
    host.endpoint(PORT_B, "10.65.0.11")
    host.start_agent()
    wait_for("the new state is served", lambda: f"{second.tap},10.65.0.11," in host.hosts())

    assert second.dhcp4()["ip"] == "10.65.0.11"
    assert first.dhcp4()["ip"] == "10.65.0.12"


def test_a_killed_dnsmasq_comes_back(host: Any) -> None:
    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1")
    guest = serve(host, PORT_A, MAC_A, "10.65.0.11")
    server = host.server("v4")

    os.kill(server, signal.SIGKILL)
    wait_for("another dnsmasq", lambda: host.server("v4") not in (0, server))

    assert guest.dhcp4()["ip"] == "10.65.0.11"


def test_the_last_state_is_served_when_etcd_is_away_at_the_start(host: Any) -> None:
    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1")
    guest = serve(host, PORT_A, MAC_A, "10.65.0.11")
    wait_for("the state is on disk", lambda: (host.state / "known.json").exists())
    host.kill_agent(signal.SIGKILL)
    for family in ("v4", "v6"):
        os.kill(host.server(family), signal.SIGKILL)
    host.unplug(guest)
    host.make_tap(guest)  # as after a boot of the host: no server, no address on the tap
    host.etcd.kill()
    try:
        host.start_agent(wait=False)
        wait_for("the tap's address", lambda: host.tap_addresses(guest) == {"10.65.0.1/32"})
        assert guest.dhcp4()["ip"] == "10.65.0.11"
    finally:
        host.etcd.start()

    host.endpoint(PORT_A, "10.65.0.12")
    wait_for("etcd is followed again", lambda: "10.65.0.12" in host.hosts(), limit=40)


def test_two_networks_with_the_same_cidr_keep_to_themselves(host: Any) -> None:
    host.subnet("10.65.0.0/24", "one", network="net-one", gateway_ip="10.65.0.1", dns_servers=["192.0.2.1"])
    host.subnet("10.65.0.0/24", "two", network="net-two", gateway_ip="10.65.0.2", dns_servers=["192.0.2.2"])
    one = serve(host, PORT_A, MAC_A, "10.65.0.11", network="net-one")
    two = serve(host, PORT_B, MAC_B, "10.65.0.12", network="net-two")

    assert {name: one.dhcp4()[name] for name in ("ip", "router", "dns")} == {
        "ip": "10.65.0.11",
        "router": "10.65.0.1",
        "dns": "192.0.2.1",
    }
    assert {name: two.dhcp4()[name] for name in ("ip", "router", "dns")} == {
        "ip": "10.65.0.12",
        "router": "10.65.0.2",
        "dns": "192.0.2.2",
    }


def test_a_host_and_a_region_with_dashes_are_followed_and_the_agent_reports_there(bare_host: Any) -> None:
    host = bare_host
    host.name, host.region = "rack-1-compute-01.example.org", "eu-north-1"
    host.start_agent()
    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1")
    guest = serve(host, PORT_A, MAC_A, "10.65.0.11")

    assert guest.dhcp4()["ip"] == "10.65.0.11"
    key = "/calico/dhcp/v2/region-eu-north-1/host/rack-1-compute-01.example.org/status"
    wait_for("the sign of life", lambda: host.get(key))
    assert '"first_update":true' in host.get(key).replace(" ", "")


def test_a_tap_that_loses_its_gateway_address_gets_it_back(host: Any) -> None:
    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1")
    host.subnet("2001:db8:1::/64", gateway_ip="2001:db8:1::1")
    guest = host.plug(PORT_A, MAC_A)
    host.endpoint(PORT_A, "10.65.0.11", "2001:db8:1::11")
    both = {"10.65.0.1/32", "2001:db8:1::1/64"}
    wait_for("the tap's addresses", lambda: host.tap_addresses(guest) == both)

    guest.host.unplug(guest)
    host.make_tap(guest)
    wait_for("the new tap's addresses", lambda: host.tap_addresses(guest) == both)

    host.endpoint(PORT_A, gone=True)
    wait_for("a tap without a port has none", lambda: host.tap_addresses(guest) == set())


def test_a_tap_whose_mtu_changes_is_announced_with_it(host: Any) -> None:
    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1")
    guest = serve(host, PORT_A, MAC_A, "10.65.0.11")
    assert guest.dhcp4()["mtu"] == "1450"

    subprocess.run(["ip", "link", "set", guest.tap, "mtu", "1400"], check=True)
    wait_for("the new MTU", lambda: "option:mtu,1400" in (host.state / "v4/options").read_text())

    assert guest.dhcp4()["mtu"] == "1400"


def test_a_file_that_cannot_be_written_is_reported_and_tried_again(host: Any) -> None:
    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1")
    guest = serve(host, PORT_A, MAC_A, "10.65.0.11")
    in_the_way = host.state / "v4/.hosts.new"
    in_the_way.mkdir()

    host.plug(PORT_B, MAC_B, "10.65.0.12")
    host.endpoint(PORT_B, "10.65.0.12")
    wait_for("the report", lambda: "dhcp.apply_failed" in host.log)
    assert guest.dhcp4()["ip"] == "10.65.0.11"
    in_the_way.rmdir()

    wait_for("the port is served", lambda: "10.65.0.12" in host.hosts())


def test_a_second_agent_with_the_same_files_is_refused(host: Any) -> None:
    command = [sys.executable, "-m", "calico_openstack.dhcp.main", "--config-file", f"{host.directory}/agent.conf"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert done.returncode == 2
    assert "another DHCP agent runs" in done.stderr


def test_the_end_of_the_agent_by_signal_is_quick_clean_and_leaves_the_service(host: Any) -> None:
    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1")
    guest = serve(host, PORT_A, MAC_A, "10.65.0.11")

    host.kill_agent(signal.SIGTERM)

    assert host.agent.returncode == 0
    assert host.tap_addresses(guest) == {"10.65.0.1/32"}
    assert guest.dhcp4()["ip"] == "10.65.0.11"


def test_a_server_with_other_settings_is_replaced(host: Any) -> None:
    host.subnet("10.65.0.0/24", gateway_ip="10.65.0.1")
    guest = serve(host, PORT_A, MAC_A, "10.65.0.11")
    before = host.server("v4")
    host.kill_agent(signal.SIGKILL)

    host.extra = "dhcp_lease_duration = 7200"
    host.start_agent()
    wait_for("the replacement", lambda: host.server("v4") not in (0, before))

    assert guest.dhcp4()["lease"] == "7200"


def test_a_stale_pid_file_costs_no_other_program_its_life(bare_host: Any) -> None:
    host = bare_host
    bystander = host.start(["sleep", "300"])
    for family in ("v4", "v6"):
        (host.state / family).mkdir(parents=True)
        (host.state / family / "dnsmasq.pid").write_text(f"{bystander.pid}\n")

    host.start_agent()
    wait_for("both servers", lambda: host.log.count("dnsmasq.started") == 2)

    assert bystander.poll() is None
