"""`calico-openstack plan` beside a real Felix, on a compute host in a namespace."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from calico_openstack.model.keys import RESOURCES
from calico_openstack.testing.compute_host import HOST, Host, eventually, ip
from calico_openstack.testing.listings import steady
from calico_openstack.testing.written import WEB, allow, document, group, port

pytestmark = pytest.mark.root

PORT = "0a1b2c3d-0000-4000-8000-000000000001"
TAP = "tap0a1b2c3d-00"
Plan = Callable[..., Any]


@pytest.fixture
def plan(host: Host, verb: Plan) -> Plan:
    return lambda *arguments: verb("plan", "-c", str(host.directory / "felix.cfg"), *arguments)


@pytest.fixture
def felix(host: Host) -> Host:
    """A host with one guest; Felix has programmed it and was then stopped."""
    ip("link", "add", TAP, "type", "veth", "peer", "name", "peer")
    ip("link", "set", "peer", "up")
    ip("link", "set", TAP, "up")
    host.ready()
    for path, content in (port(PORT, "10.65.0.1/32", groups=(WEB,), host=HOST), group(WEB, allow(6, [22]))):
        host.put(path, content.decode())
    host.start()
    assert host.resync()["nft"] > 0
    eventually(lambda: "10.65.0.1" in ip("route", "show", "dev", TAP), "the route")
    host.stop()
    return host


def test_after_felix_there_is_nothing_to_do(felix: Host, plan: Plan) -> None:
    done = plan()

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"host {HOST}: 1 endpoint; nothing to do\n"
    assert plan("--text").stdout == ""


def test_damage_and_news_are_planned_and_nothing_is_touched(felix: Host, plan: Plan) -> None:
    ip("route", "delete", "10.65.0.1/32", "dev", TAP)
    path, content = group(WEB, allow(6, [22]), allow(6, [80]))
    felix.put(path, content.decode())
    path, content = document("GlobalNetworkPolicy", "typo", "", {"selector": "has(", "types": ["Ingress"]})
    felix.put(path, content.decode())
    before = steady(subprocess.run(["nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=True).stdout)

    done = plan()

    assert done.returncode == 1
    assert "documents refused" in done.stdout
    assert f"{RESOURCES}globalnetworkpolicies/typo" in done.stdout
    found = f" with 6 . 22, 6 . 80: it is not there, ingress of port {PORT} by security group {WEB}\n"
    assert found in done.stdout
    assert f"set route 10.65.0.1/32 dev {TAP} metric 1024: missing, for port {PORT}" in done.stdout
    text = plan("--text")
    assert text.returncode == 1
    subprocess.run(["nft", "-c", "-f", "-"], input=text.stdout, text=True, check=True)
    assert "80" in text.stdout
    after = steady(subprocess.run(["nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=True).stdout)
    assert after == before
    assert "10.65.0.1" not in ip("route", "show", "dev", TAP)

    felix.start()
    operations = felix.resync()
    assert f"{sum(operations[name] for name in ('nft', 'routes', 'neighbours', 'sysctls'))} operations" in done.stdout


def test_a_host_to_be_taken_over_is_told_with_what_stands_in_the_way(felix: Host, plan: Plan) -> None:
    upstream = """*filter
:FORWARD DROP [0:0]
:cali-FORWARD - [0:0]
-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
COMMIT
"""
    subprocess.run(["iptables-nft-restore", "--noflush"], input=upstream, text=True, check=True)

    done = plan()

    assert done.returncode == 1
    assert f"host {HOST}: 1 endpoint; the host is to be taken over from upstream\n" in done.stdout
    assert "  0 tables, 1 chains, 1 rules in chains of others, 0 ipsets, 0 devices of limits\n" in done.stdout
    assert "  not before guests can do without: chain FORWARD of table ip filter: its policy is drop" in done.stdout
    subprocess.run(["iptables-nft", "-P", "FORWARD", "ACCEPT"], check=True)
    assert "not before" not in plan().stdout
    felix.start()
    eventually(lambda: "switchover.done" in felix.lines(), "taken over")
    felix.stop()
    assert plan().stdout == f"host {HOST}: 1 endpoint; nothing to do\n"


def test_a_fresh_host_is_planned_as_a_whole_and_what_felix_waits_for_is_said(felix: Host, plan: Plan) -> None:
    subprocess.run(["nft", "delete", "table", "inet", "calico"], check=True)
    felix.delete("clusterinformations/default")

    done = plan()

    assert done.returncode == 1
    assert "make table inet calico" in done.stdout
    assert "Felix waits and does none of it: there is no ClusterInformation" in done.stdout


def test_no_answer_is_status_2(host: Host, verb: Plan) -> None:
    host.directory.joinpath("felix.cfg").write_text(f"EtcdEndpoints = {host.etcd.endpoint}\nInterfacePrefix = /\n")
    wrong = verb("plan", "-c", str(host.directory / "felix.cfg"))
    missing = verb("plan", "-c", "/nonexistent")

    assert (wrong.returncode, missing.returncode) == (2, 2)
    assert "InterfacePrefix" in wrong.stderr
    assert "/nonexistent" in missing.stderr


WITHOUT_RIGHTS = """
import contextlib, io, os
from calico_openstack.ops.main import main

# Once as root, so that everything is loaded: an ordinary user may not be able to read this checkout.
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["plan"])
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
main(["plan"])
"""


def test_who_is_not_root_is_told_so(host: Host) -> None:
    environment = {"FELIX_ETCDENDPOINTS": host.etcd.endpoint, "HOME": "/"}

    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RIGHTS], env=environment, cwd="/", capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "run it as root" in done.stderr
