"""The whole agent as a process, with a real etcd: what it reports, and what it does while links or etcd are unwell."""

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from calico_openstack.felix.settings import FelixSettings
from calico_openstack.testing.compute_host import HOST, Guest, Host, eventually, ip
from calico_openstack.testing.listings import steady
from calico_openstack.testing.written import WEB, allow, group, port

pytestmark = pytest.mark.root

PORT = "0a1b2c3d-0000-4000-8000-000000000001"
TAP = "tap0a1b2c3d-00"
MAC = "fa:16:3e:00:00:01"
ADDRESSES = ("10.65.0.1/32", "2001:db8:a41::1/128")
WANTED = {"10.65.0.1", "2001:db8:a41::1"}


def status_key(region: str = "no-region", port_id: str = PORT) -> str:
    return f"/calico/felix/v2/{region}/host/{HOST}/workload/openstack/openstack%2fvm-{port_id}/endpoint/{port_id}"


def put(host: Host, *documents: tuple[str, bytes]) -> None:
    for path, content in documents:
        host.put(path, content.decode())


def begin(host: Host, **settings: str) -> None:
    """One endpoint in etcd, and Felix on its way."""
    host.ready(prometheusMetricsEnabled=True, prometheusMetricsHost="127.0.0.1")
    put(host, port(PORT, *ADDRESSES, groups=(WEB,), host=HOST), group(WEB, allow(6, [22])))
    host.start(**settings)


@pytest.fixture
def running(host: Host, guest: Callable[..., Guest]) -> tuple[Host, Guest]:
    begin(host)
    made = guest(TAP, MAC, *ADDRESSES)
    eventually(lambda: host.status(status_key()) == "up", "endpoint up")
    return host, made


def routes() -> set[str]:
    shown = [json.loads(ip("-json", f"-{version}", "route", "show", "dev", TAP) or "[]") for version in (4, 6)]
    return {entry["dst"] for listed in shown for entry in listed} - {"fe80::/64"}


def errors(host: Host) -> list[str]:
    return [line for line in host.lines().splitlines() if re.search(r"\[(error|critical)", line) or "Traceback" in line]


@pytest.mark.conformance("S1")
def test_an_endpoint_is_reported_up_under_its_region(host: Host, guest: Callable[..., Guest]) -> None:
    begin(host, OpenstackRegion="r0")
    guest(TAP, MAC, *ADDRESSES)

    eventually(lambda: host.status(status_key("region-r0")) == "up", "endpoint up", within=10)


@pytest.mark.conformance("K8")
def test_a_normal_start_is_ready_soon_and_answers_on_this_host_only(running: tuple[Host, Guest]) -> None:
    host, _ = running
    took = []
    while not took or (min(took) > 5 and len(took) < 5):
        # A start that somebody else's load has slowed down is made again.
        host.stop()
        begun = time.monotonic()
        host.start(HealthHost=FelixSettings(HOST).health_host)
        eventually(lambda: asked(9099, "/readiness") < 300, "ready")
        took.append(time.monotonic() - begun)

    print(f"{min(took):.1f} s")
    assert min(took) < 5
    assert asked(9099, "/liveness") < 300
    listening = {line.split()[3] for line in subprocess.getoutput("ss -Hltn").splitlines() if ":9099" in line}
    assert listening
    assert listening <= {"127.0.0.1:9099", "[::1]:9099"}


def asked(number: int, path: str) -> int:
    """The HTTP status of an answer; 999 if there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{number}{path}", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 999


@pytest.mark.conformance("C9")
def test_figures_are_there_for_the_asking_and_nothing_else_is_on_that_port(running: tuple[Host, Guest]) -> None:
    with urllib.request.urlopen("http://127.0.0.1:9091/metrics", timeout=10) as answer:
        assert "felix_active_local_endpoints 1.0" in answer.read().decode()

    assert [asked(9091, path) for path in ("/debug/pprof/", "/debug/pprof/profile", "/")] == [404] * 3


@pytest.mark.conformance("R1")
def test_an_interface_that_is_renamed_back_and_forth_ends_with_its_routes(running: tuple[Host, Guest]) -> None:
    host, _ = running
    for _ in range(20):
        ip("link", "set", TAP, "down")
        ip("link", "set", TAP, "name", "tapelsewhere")
        ip("link", "set", "tapelsewhere", "up")
        ip("link", "set", "tapelsewhere", "down")
        ip("link", "set", "tapelsewhere", "name", TAP)
        ip("link", "set", TAP, "up")

    eventually(lambda: routes() == WANTED, "routes")
    eventually(lambda: host.status(status_key()) == "up", "endpoint up")
    assert errors(host) == []


@pytest.mark.conformance("R2")
def test_a_link_that_flaps_ends_with_its_routes(running: tuple[Host, Guest]) -> None:
    host, _ = running
    for _ in range(20):
        ip("link", "set", TAP, "down")
        ip("link", "set", TAP, "up")

    eventually(lambda: routes() == WANTED, "routes")
    eventually(lambda: host.status(status_key()) == "up", "endpoint up")
    assert errors(host) == []


def used_seconds(process: int) -> float:
    """Of processor time, by all its threads (proc(5), utime and stime)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def firewall() -> str:
    listing = subprocess.run(["nft", "list", "table", "inet", "calico"], capture_output=True, text=True, check=True)
    return steady(listing.stdout)


@pytest.mark.conformance("D1")
def test_without_etcd_felix_is_quiet_and_everything_stays(running: tuple[Host, Guest]) -> None:
    host, _ = running
    before = firewall()
    host.etcd.kill()
    start, used = time.monotonic(), used_seconds(host.process)
    # Not a wait for something: what it uses in this time is measured.
    time.sleep(6)
    share = (used_seconds(host.process) - used) / (time.monotonic() - start)

    print(f"{share:.1%} of a core")
    assert share < 0.5
    assert routes() == WANTED
    assert firewall() == before
    assert errors(host) == []


@pytest.mark.conformance("D2")
def test_after_packets_to_etcd_were_lost_a_new_policy_arrives(running: tuple[Host, Guest]) -> None:
    host, _ = running
    place = host.etcd.endpoint.rpartition(":")[2]
    # Neither side is told that nothing arrives.
    chain = f"chain output {{\n type filter hook output priority 0\n tcp dport {place} drop\n}}"
    subprocess.run(["nft", "-f", "-"], input=f"table inet lost {{\n{chain}\n}}\n", text=True, check=True)
    eventually(lambda: "not following etcd" in host.lines(), "the loss is noticed", within=60)
    subprocess.run(["nft", "delete", "table", "inet", "lost"], check=True)

    put(host, group(WEB, allow(6, [2222])))

    eventually(lambda: "2222" in firewall(), "the new policy", within=120)
