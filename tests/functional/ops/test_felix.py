"""`calico-openstack felix show TABLE` beside a real Felix, on a compute host in a namespace."""

import os
import socket
import stat
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from calico_openstack.felix.tables import TABLES
from calico_openstack.testing.compute_host import HOST, Host, eventually, ip
from calico_openstack.testing.written import WEB, allow, document, group, port

pytestmark = pytest.mark.root

PORT = "0a1b2c3d-0000-4000-8000-000000000001"
TAP = "tap0a1b2c3d-00"
Show = Callable[[str], str]


def plug(tap: str) -> None:
    ip("link", "add", tap, "type", "veth", "peer", "name", f"p{tap[3:]}")
    ip("link", "set", f"p{tap[3:]}", "up")
    ip("link", "set", tap, "up")


@pytest.fixture
def show(host: Host, verb: Callable[..., Any]) -> Show:
    """A table of a Felix with one guest that is up, in single blanks."""

    def shown(table: str) -> str:
        done = verb("felix", "show", table, "--socket", str(host.debug_socket))
        assert (done.returncode, done.stderr) == (0, "")
        return "\n".join(" ".join(line.split()) for line in done.stdout.splitlines())

    plug(TAP)
    host.ready(logPrefix="seen")
    for path, content in (port(PORT, "10.65.0.1/32", groups=(WEB,), host=HOST), group(WEB, allow(6, [22]))):
        host.put(path, content.decode())
    host.start()
    eventually(lambda: "endpoint.up" in host.lines(), "endpoint up")
    return shown


def test_each_table_tells_of_the_endpoint_its_policy_and_this_felix(host: Host, show: Show) -> None:
    tables = {name: show(name) for name in TABLES}

    assert f"{TAP} up {PORT} 10.65.0.1/32 1" in tables["endpoints"]
    assert f"NetworkPolicy openstack/ossg.default.{WEB} 1 2 1" in tables["policies"]
    assert "ingress 0: action=allow version=4 protocol=6 destination.ports=22" in tables["wanted"]
    assert tables["pending"] == "KIND WHAT SINCE NEXT TRY WHY"
    assert "dataplane live ready" in tables["health"]
    assert f"FelixHostname {HOST} {host.directory}/felix.cfg" in tables["settings"]
    assert "LogPrefix seen FelixConfiguration default" in tables["settings"]
    assert "HealthHost 127.0.0.1" in tables["settings"]
    assert stat.S_IMODE(os.stat(host.debug_socket).st_mode) == 0o600


def test_what_is_wrong_is_told_with_its_reason(host: Host, show: Show) -> None:
    path, content = document("GlobalNetworkPolicy", "typo", "", {"selector": "has(", "types": ["Ingress"]})
    host.put(path, content.decode())
    other = PORT.replace("0a1b", "0a1c")
    path, content = port(other, "10.65.0.2/32", groups=(WEB,), host=HOST)
    host.put(path, content.decode())
    third = PORT.replace("0a1b", "0a1d")
    path, content = port(third, "10.65.0.3/32", groups=(WEB,), host=HOST, interfaceName="eth0")
    host.put(path, content.decode())

    eventually(lambda: f"eth0 down {third}" in show("endpoints"), "the endpoints are known")
    listed = show("endpoints")
    assert f"tap0a1c2c3d-00 down {other} 10.65.0.2/32 1 its interface is not there or does not carry" in listed
    assert "begins with none of tap" in next(line for line in listed.splitlines() if third in line)
    assert "begins with none of tap" in show("pending")
    assert "globalnetworkpolicies/typo" in show("documents")


def test_hostile_clients_do_not_keep_root_from_looking(host: Host, show: Show) -> None:
    with ExitStack() as stack:
        for sent in (b"", b"endpo", b"x" * 20000, b"\xff\n", b"wanted\n") * 5:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(20)
            client.connect(str(host.debug_socket))
            client.sendall(sent)
        assert TAP in show("endpoints")
    assert "Traceback" not in host.lines()


def test_without_a_felix_the_verb_says_where_it_looked(host: Host, verb: Callable[..., Any]) -> None:
    done = verb("felix", "show", "health", "--socket", "/run/nowhere/felix.sock")

    assert done.returncode == 2
    assert "no Felix listens at /run/nowhere/felix.sock" in done.stderr


def test_a_killed_felix_leaves_a_socket_that_the_next_one_takes_over(host: Host, show: Show) -> None:
    host.stop(9)
    assert host.debug_socket.exists()

    host.start()
    host.resync()

    assert TAP in show("endpoints")
    host.stop()
    assert not host.debug_socket.exists()
