"""Host endpoints with the whole agent as a process and a real etcd."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from calico_openstack.testing.compute_host import HOST, Guest, Host, eventually, ip
from calico_openstack.testing.written import document

pytestmark = pytest.mark.root

MAC = "02:00:00:00:99:02"
PING = {"action": "Allow", "protocol": "ICMP"}


@pytest.fixture
def outside(host: Host, guest: Callable[..., Guest]) -> Guest:
    """The world behind eth0 of a host with Felix."""
    host.ready()
    host.start()
    made = guest("eth0", MAC, "192.0.2.2/24")
    ip("address", "add", "192.0.2.1/24", "dev", "eth0")
    eventually(lambda: "table inet calico" in tables(), "Felix's tables")
    eventually(lambda: made.pings("192.0.2.1"), "a host without endpoints is open")
    return made


def tables() -> str:
    return subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout


def put(host: Host, kind: str, name: str, **spec: Any) -> str:
    path, content = document(kind, name, "", spec, labels={"role": "host"})
    host.put(path, content.decode())
    return path


def test_a_host_endpoint_closes_and_a_policy_opens_also_over_a_kill(host: Host, outside: Guest) -> None:
    path = put(host, "HostEndpoint", "he", node=HOST, interfaceName="*")
    eventually(lambda: not outside.pings("192.0.2.1"), "closed")

    put(host, "GlobalNetworkPolicy", "ping", selector="role == 'host'", ingress=[PING])
    eventually(lambda: outside.pings("192.0.2.1"), "opened")

    before = subprocess.run(["nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    host.stop(9)
    assert outside.pings("192.0.2.1")
    host.start()
    assert host.resync()["operations"] == 0
    assert outside.pings("192.0.2.1")
    after = subprocess.run(["nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    assert after == before

    host.delete("globalnetworkpolicies/ping")
    eventually(lambda: not outside.pings("192.0.2.1"), "closed again: Felix is at work")
    host.delete(path)
    eventually(lambda: outside.pings("192.0.2.1"), "without the endpoint the host is open")


def test_an_endpoint_follows_its_address(host: Host, outside: Guest) -> None:
    put(host, "HostEndpoint", "he", node=HOST, expectedIPs=["192.0.2.77"])
    eventually(lambda: "host_endpoint.idle" in host.lines(), "said to be idle")
    assert outside.pings("192.0.2.1")

    ip("address", "add", "192.0.2.77/24", "dev", "eth0")
    eventually(lambda: not outside.pings("192.0.2.1"), "closed")
    ip("address", "del", "192.0.2.77/24", "dev", "eth0")
    eventually(lambda: outside.pings("192.0.2.1"), "open")


def test_a_policy_that_cannot_be_read_denies_and_failsafes_stay(host: Host, outside: Guest) -> None:
    put(host, "HostEndpoint", "he", node=HOST, interfaceName="eth0", profiles=["open"])
    put(host, "Profile", "open", ingress=[{"action": "Allow"}], egress=[{"action": "Allow"}])
    eventually(lambda: "host-ingress" in rules(), "in force")
    eventually(lambda: outside.pings("192.0.2.1"), "opened by its profile")

    put(
        host, "GlobalNetworkPolicy", "gate", selector="role == 'host'", ingress=[{"action": "Allow", "protocol": 70000}]
    )
    eventually(lambda: not outside.pings("192.0.2.1"), "closed")
    assert "@failsafe-ingress accept" in rules()


def rules() -> str:
    command = ["nft", "list", "table", "inet", "calico"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
