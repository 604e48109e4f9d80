"""Settings of a running Felix: who they are for, that they take effect without a restart, and what they leave alone."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
import urllib.request
from typing import Any

import pytest

from calico_openstack.felix.debug_socket import ask
from calico_openstack.felix.kernel.sysctls import Sysctls
from calico_openstack.testing.compute_host import HOST, Guest, Host, eventually, ip
from calico_openstack.testing.written import WEB, allow, group, port

pytestmark = pytest.mark.root

PORT = "0a1b2c3d-0000-4000-8000-000000000001"
TAP = "tap0a1b2c3d-00"
MAC = "fa:16:3e:aa:bb:cc"
INSTANCE = "vm-1"


def write(host: Host, **spec: Any) -> None:
    for path, content in (
        port(PORT, "10.65.0.1/32", groups=(WEB,), host=HOST, mac=MAC, **spec),
        group(WEB, allow(6, [22])),
    ):
        host.put(path, content.decode())


def configuration(name: str, selector: str | None = None, **spec: Any) -> tuple[str, dict[str, Any]]:
    spec = {**spec, **({"nodeSelector": selector} if selector else {})}
    document = {
        "kind": "FelixConfiguration",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name},
        "spec": spec,
    }
    return f"felixconfigurations/{name}", document


def node(**labels: str) -> tuple[str, dict[str, Any]]:
    metadata = {"name": HOST, "labels": labels}
    return f"nodes/{HOST}", {"kind": "Node", "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": {}}


def metrics() -> set[str]:
    shown = json.loads(ip("-json", "route", "show", "dev", TAP) or "[]")
    return {str(entry["metric"]) for entry in shown}


def readiness() -> tuple[int, str]:
    try:
        with urllib.request.urlopen("http://127.0.0.1:9099/readiness", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError as error:  # not up yet
        return 0, str(error)


@pytest.fixture
def running(host: Host, guest: Any) -> Host:
    guest(TAP, MAC, "10.65.0.1/24")
    host.ready()
    write(host)
    host.start()
    eventually(lambda: "endpoint.up" in host.lines(), "endpoint up")
    return host


def pid(host: Host) -> int:
    assert host._felix is not None
    assert host._felix.poll() is None
    return host._felix.pid


@pytest.mark.conformance("C1", "C2", "C3", "C4")
def test_settings_of_the_datastore_come_change_and_go_without_a_restart(running: Host) -> None:
    before = pid(running)
    assert metrics() == {"1024"}

    path, document = configuration(f"node.{HOST}", ipv4NormalRoutePriority=77, logPrefix="x")
    running.put(path, document)
    eventually(lambda: metrics() == {"77"}, "another metric")
    document["spec"]["ipv4NormalRoutePriority"] = 78
    running.put(path, document)
    eventually(lambda: metrics() == {"78"}, "another one")
    running.delete(path)
    eventually(lambda: metrics() == {"1024"}, "the built-in one")

    # What upstream handles live, and does not restart for.
    cluster = {"clusterGUID": "0a0b", "clusterType": "k8s,openstack", "calicoVersion": "v9", "datastoreReady": True}
    information = json.loads(running.get("/calico/resources/v3/projectcalico.org/clusterinformations/default") or "")
    running.put("clusterinformations/default", {**information, "spec": cluster})
    running.put(*configuration("default", endpointReportingEnabled=True, ipv4NormalRoutePriority=79))
    eventually(lambda: metrics() == {"79"}, "what came after it")
    assert pid(running) == before


@pytest.mark.conformance("C5", "C6", "C7")
def test_a_configuration_for_some_hosts_follows_the_labels_of_this_one(running: Host) -> None:
    before = pid(running)
    running.put(*node(rack="a"))
    running.put(*configuration("rack-b", "rack == 'b'", ipv4NormalRoutePriority=80))
    running.put(*configuration("rack-a", "rack == 'a'", ipv4NormalRoutePriority=70))
    eventually(lambda: metrics() == {"70"}, "that of rack a")

    running.put(*node(rack="b"))
    eventually(lambda: metrics() == {"80"}, "that of rack b")

    running.put(*configuration("rack-a", "rack == 'a'", ipv4NormalRoutePriority=71))
    running.put(*configuration("rack-b", "rack == 'b'", ipv4NormalRoutePriority=81))
    # Changes arrive in order: that of rack a has been taken in when this is in force, and would have been seen.
    seen = []
    eventually(lambda: seen.append(metrics()) or seen[-1] == {"81"}, "its change")
    assert {"71"} not in seen

    running.put(*node())
    eventually(lambda: metrics() == {"1024"}, "neither")
    assert pid(running) == before


@pytest.mark.conformance("C8")
def test_told_to_wait_felix_is_ready_and_live_and_leaves_the_kernel_alone(host: Host, guest: Any) -> None:
    guest(TAP, MAC, "10.65.0.1/24")
    host.ready()
    information = json.loads(host.get("/calico/resources/v3/projectcalico.org/clusterinformations/default") or "")
    information["spec"]["datastoreReady"] = False
    host.put("clusterinformations/default", information)
    write(host)
    host.start()

    eventually(lambda: readiness()[0] == 200, "ready")
    assert "datastoreReady: false" in readiness()[1]
    with urllib.request.urlopen("http://127.0.0.1:9099/liveness", timeout=10) as answer:
        assert answer.status == 200
    assert subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout == ""
    assert metrics() == set()

    information["spec"]["datastoreReady"] = True
    host.put("clusterinformations/default", information)
    eventually(lambda: metrics() == {"1024"}, "programmed")
    eventually(lambda: readiness()[0] == 200 and "endpoints=1" in readiness()[1], "ready again")


@pytest.mark.conformance("R5")
def test_without_route_sync_routes_are_left_alone_and_the_firewall_is_not(host: Host, guest: Any) -> None:
    web: Guest = guest(TAP, MAC, "10.65.0.1/24")
    ip("route", "add", "10.65.0.1/32", "dev", TAP, "proto", "static", "metric", "5")
    host.ready(routeSyncDisabled=True)
    write(host)
    host.start()
    eventually(lambda: "endpoint.up" in host.lines(), "endpoint up")

    assert metrics() == {"5"}
    assert (
        TAP in subprocess.run(["nft", "list", "map", "inet", "calico", "egress"], capture_output=True, text=True).stdout
    )
    # A stranger has ten seconds of grace where routes are ours; here it stays for ever. A flap reads everything back.
    ip("link", "set", TAP, "down")
    ip("link", "set", TAP, "up")
    ip("route", "replace", "10.65.0.1/32", "dev", TAP, "proto", "static", "metric", "6")
    eventually(lambda: host.lines().count("endpoint.up") > 1, "up again")
    assert metrics() == {"6"}

    host.put(*configuration("default", endpointReportingEnabled=True))
    eventually(lambda: "1024" in metrics(), "our own route")
    eventually(lambda: metrics() == {"1024"}, "only ours", within=40)
    host.put(*configuration("default", endpointReportingEnabled=True, routeSyncDisabled=True))
    host.delete(port(PORT, "10.65.0.1/32", groups=(WEB,), host=HOST)[0])
    eventually(lambda: TAP not in subprocess.run(
        ["nft", "list", "map", "inet", "calico", "egress"], capture_output=True, text=True).stdout, "gone")  # fmt: skip
    assert metrics() == {"1024"}
    assert web.tap == TAP


def test_a_host_that_is_not_to_forward_stays_so(host: Host, guest: Any) -> None:
    sysctls = Sysctls()
    guest(TAP, MAC, "10.65.0.1/24")
    for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/default/forwarding"):
        (sysctls._root / path).write_text("0")
    host.ready(ipForwarding="Disabled")
    write(host)
    host.start()
    eventually(lambda: "endpoint.up" in host.lines(), "endpoint up")

    for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding", f"ipv4/conf/{TAP}/forwarding"):
        assert sysctls.read(path) == "0", path

    host.put(*configuration("default", endpointReportingEnabled=True))
    eventually(lambda: sysctls.read("ipv4/ip_forward") == "1", "forwarding")
    eventually(lambda: sysctls.read(f"ipv4/conf/{TAP}/forwarding") == "1", "forwarding of the tap")


def test_a_prefix_without_tap_and_settings_without_effect_are_named_once(host: Host) -> None:
    host.ready(interfacePrefix="cali", bpfEnabled=True)
    host.start(IptablesBackend="nft")
    host.resync()
    host.put(*configuration("other", logPrefix="y"))
    host.put(*configuration("default", interfacePrefix="cali", bpfEnabled=True, logPrefix="z"))
    eventually(
        lambda: (
            "LogPrefix" in ask(str(host.debug_socket), "settings") and " z " in ask(str(host.debug_socket), "settings")
        ),
        "taken in",
    )

    assert host.lines().count("none of them will be programmed; set it to cali,tap") == 1
    assert host.lines().count("BPFEnabled") == 1
    assert host.lines().count("IptablesBackend") == 1


def test_a_host_that_changes_its_region_leaves_no_reports_behind(host: Host, guest: Any) -> None:
    old, new = "/calico/felix/v2/no-region/host/", "/calico/felix/v2/region-east/host/"
    guest(TAP, MAC, "10.65.0.1/24")
    host.ready()
    path, content = port(PORT, "10.65.0.1/32", groups=(WEB,), host=HOST, mac=MAC)
    east = json.loads(content)
    east["metadata"]["namespace"] = "openstack-region-east"
    host.put(path.replace("/openstack/", "/openstack-region-east/"), east)
    host.put(f"{old}compute-02/status", '{"time": "x"}')
    host.start()

    def keys(prefix: str) -> list[str]:
        return host.etcd.etcdctl("get", "--prefix", "--keys-only", prefix).split()

    eventually(lambda: len([key for key in keys(f"{old}{HOST}/") if "/workload/" in key]) == 1, "reported")

    host.put(*configuration("default", endpointReportingEnabled=True, openstackRegion="east"))

    eventually(lambda: len([key for key in keys(f"{new}{HOST}/") if "/workload/" in key]) == 1, "reported anew")
    eventually(lambda: keys(old) == [f"{old}compute-02/status"], "nothing left")
    eventually(lambda: f"{new}{HOST}/status" in keys(new), "alive")


def test_a_port_that_is_taken_costs_health_only_until_it_is_free(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 9099)):
        host.ready()
        host.start()
        host.resync()
        eventually(lambda: "health.not_served" in host.lines(), "said")
        host.put(*configuration(f"node.{HOST}", ipv4NormalRoutePriority=77))
        before = pid(host)
    eventually(lambda: readiness()[0] == 200, "served when the port is free", within=60)
    assert pid(host) == before
    assert host.lines().count("health.not_served") == 1


def test_a_health_address_in_etcd_that_no_host_has_ends_no_felix(host: Host) -> None:
    host.ready(healthHost="no..such")
    host.start(HealthHost="", LogSeverityScreen="")
    host.resync()
    eventually(lambda: "health.not_served" in host.lines(), "said")
    host.ready(healthHost="127.0.0.1")
    eventually(lambda: readiness()[0] == 200, "served at another address")
    assert host.runs


def test_the_log_level_of_the_datastore_counts_and_goes_again(host: Host) -> None:
    host.ready()
    host.start(LogSeverityScreen="")
    host.resync()
    host.ready(logSeverityScreen="Error", ipv4NormalRoutePriority=-1)
    eventually(lambda: "error" in ask(str(host.debug_socket), "settings"), "in force")
    host.ready(logSeverityScreen="Error", ipv4NormalRoutePriority=-2)
    host.ready(logSeverityScreen="Error", metadataPort=8776)
    eventually(lambda: "8776" in ask(str(host.debug_socket), "settings"), "taken in")
    host.ready(ipv4NormalRoutePriority=-3)
    eventually(lambda: "'-3'" in host.lines(), "heard again")
    assert "'-2'" not in host.lines()


def test_a_host_that_nova_spells_otherwise_is_told_so(host: Host) -> None:
    host.ready()
    write(host)
    host.start(HOST.upper())
    eventually(lambda: "host.name_in_doubt" in host.lines() and f"some are of {HOST};" in host.lines(), "the doubt")
