"""DHCPv4 as a guest sees it: a real client, the real dnsmasq, the real agent, a real etcd."""

import os
import signal
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
