"""`calico-openstack felix remove`: going back to the upstream Felix."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from calico_openstack.testing.compute_host import HOST, Host, eventually, ip
from calico_openstack.testing.written import WEB, allow, group, port

pytestmark = pytest.mark.root

PORT = "0a1b2c3d-0000-4000-8000-000000000001"
TAP = "tap0a1b2c3d-00"
UPSTREAM = """*filter
:cali-FORWARD - [0:0]
:cali-from-wl-dispatch - [0:0]
-A FORWARD -j cali-FORWARD
-A cali-FORWARD -i tap+ -j cali-from-wl-dispatch
COMMIT
"""


def shown(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def felix(host: Host) -> Host:
    """A Felix with a guest that is limited in both directions."""
    ip("link", "add", TAP, "type", "veth", "peer", "name", "p0")
    ip("link", "set", "p0", "up")
    ip("link", "set", TAP, "up")
    host.ready()
    qos = {"ingressBandwidth": 1000000, "egressBandwidth": 1000000}
    for path, content in (
        port(PORT, "10.65.0.1/32", groups=(WEB,), host=HOST, qosControls=qos),
        group(WEB, allow(6, [22])),
    ):
        host.put(path, content.decode())
    host.start()
    eventually(lambda: "endpoint.up" in host.lines(), "endpoint up")
    assert "tbf" in shown("tc", "qdisc", "show", "dev", TAP)
    return host


def test_what_felix_made_goes_once_upstream_s_rules_are_there(felix: Host, verb: Callable[..., Any]) -> None:
    config = ["-c", str(felix.directory / "felix.cfg")]
    shown("nft", "add", "table", "inet", "mine")

    running = verb("felix", "remove", *config)
    assert (running.returncode, running.stdout) == (2, "")
    assert "a Felix runs here" in running.stderr

    felix.stop()
    alone = verb("felix", "remove", *config)
    assert alone.returncode == 2
    assert "nothing else keeps this host's guests apart" in alone.stderr
    assert "table inet calico" in shown("nft", "list", "tables")

    shown("iptables-nft-restore", "--noflush", text=UPSTREAM)
    before = shown("iptables-nft-save", "-t", "filter")
    done = verb("felix", "remove", *config)

    assert (done.returncode, done.stderr) == (0, "")
    assert "removed table inet calico" in done.stdout.splitlines()
    assert shown("nft", "list", "tables").splitlines() == ["table inet mine", "table ip filter"]
    assert before.splitlines()[1:-1] == shown("iptables-nft-save", "-t", "filter").splitlines()[1:-1]
    assert "tbf" not in shown("tc", "qdisc", "show")
    assert "cifb" not in ip("link", "show")
    assert "10.65.0.1" in ip("route", "show", "dev", TAP)


def test_a_host_may_be_left_unprotected_if_one_says_so(felix: Host, verb: Callable[..., Any]) -> None:
    felix.stop(9)  # which leaves its socket behind

    done = verb("felix", "remove", "--unprotected", "-c", str(felix.directory / "felix.cfg"))

    assert (done.returncode, done.stderr) == (0, "")
    assert shown("nft", "list", "tables") == ""
