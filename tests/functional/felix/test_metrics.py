"""Felix is scraped while it works, by well-behaved and by hostile clients."""

import re
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from calico_openstack.testing.compute_host import HOST, Guest, Host, eventually
from calico_openstack.testing.written import WEB, allow, document, group, port

pytestmark = pytest.mark.root

PORT = "0a1b2c3d-0000-4000-8000-000000000001"
TAP = "tap0a1b2c3d-00"
MAC = "fa:16:3e:00:00:01"


@pytest.fixture
def served(host: Host, guest: Callable[..., Guest]) -> Host:
    """A Felix with one guest that is up, whose metrics were switched on in etcd."""
    host.ready(prometheusMetricsEnabled=True, prometheusMetricsHost="127.0.0.1")
    for path, content in (port(PORT, "10.65.0.1/32", groups=(WEB,), host=HOST), group(WEB, allow(6, [22]))):
        host.put(path, content.decode())
    host.start()
    guest(TAP, MAC, "10.65.0.1/24")
    eventually(
        lambda: "endpoint.up" in host.lines() and "metrics.served" in host.lines(), "endpoint up, metrics served"
    )
    return host


def scrape() -> dict[str, float]:
    with urllib.request.urlopen("http://127.0.0.1:9091/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_scrape_agrees_with_the_kernel_and_follows_what_happens(served: Host) -> None:
    found = eventually(lambda: (now := scrape())["calico_openstack_felix_endpoints up"] == 1 and now, "one is up")

    assert found["felix_active_local_endpoints"] == 1
    assert found["felix_active_local_policies"] == 1
    assert found["felix_cluster_num_workload_endpoints"] == 1
    assert found["felix_resync_state"] == 3
    assert found["felix_route_table_num_routes 4"] == 1
    assert found["calico_openstack_felix_ready"] == 1
    assert found["felix_log_errors"] == 0
    assert found["process_resident_memory_bytes"] > 0
    listed = subprocess.run(["nft", "list", "table", "inet", "calico"], capture_output=True, text=True, check=True)
    chains = len(re.findall(r"^\tchain ", listed.stdout, re.MULTILINE))
    assert found["felix_nft_chains inet"] == chains

    path, content = document("GlobalNetworkPolicy", "typo", "", {"selector": "has(", "types": ["Ingress"]})
    served.put(path, content.decode())
    path, content = port(PORT.replace("0a1b", "0a1c"), "10.65.0.9/32", host="compute-02")
    served.put(path, content.decode())

    eventually(lambda: scrape()["calico_openstack_felix_refused_documents"] == 1, "the refused document is counted")
    assert scrape()["felix_cluster_num_hosts"] == 2
    assert scrape()["calico_openstack_felix_kernel_table_limit conntrack"] == int(
        Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text()
    )


def test_hostile_clients_take_nothing_from_felix_nor_from_other_scrapers(
    served: Host, guest: Callable[..., Guest]
) -> None:
    rubbish = (b"", b"GET /met", b"GET /metrics HTTP/1.1\r\n", b"\x00" * 4096, b"POST /metrics HTTP/1.1\r\n\r\n")
    with ExitStack() as stack:
        clients = []
        for sent in rubbish * 5:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", 9091), timeout=20))
            client.sendall(sent)
            clients.append(client)

        assert scrape()["calico_openstack_felix_live"] == 1
        path, content = port(PORT.replace("0a1b", "0a1c"), "10.65.0.2/32", groups=(WEB,), host=HOST)
        served.put(path, content.decode())
        guest(TAP.replace("0a1b", "0a1c"), MAC, "10.65.0.2/24")
        eventually(lambda: scrape()["calico_openstack_felix_endpoints up"] == 2, "a new guest comes up meanwhile")
        assert clients[0].recv(1000) == b"", "who says nothing is cut off"
    assert "Traceback" not in served.lines()


def test_a_port_that_is_taken_is_said_and_costs_nothing_else(served: Host) -> None:
    with socket.create_server(("127.0.0.1", 9092)):
        served.ready(prometheusMetricsEnabled=True, prometheusMetricsHost="127.0.0.1", prometheusMetricsPort=9092)
        eventually(lambda: "metrics.not_served" in served.lines(), "the log names the trouble")

        path, content = port(PORT, "10.65.0.1/32", "10.65.0.7/32", groups=(WEB,), host=HOST)
        served.put(path, content.decode())
        eventually(lambda: "10.65.0.7" in subprocess.getoutput(f"ip route show dev {TAP}"), "changes go on")

    served.ready(prometheusMetricsEnabled=True, prometheusMetricsHost="127.0.0.1")
    assert eventually(lambda: served.lines().count("metrics.served") == 2 and scrape(), "served again on another port")
