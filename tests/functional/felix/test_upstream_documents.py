"""Odd but legal documents of upstream's driver: each endpoint is programmed, and reported where that driver looks.

Paths are spelled out here, not built by the code under test: they are what the other side parses.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from calico_openstack.testing.compute_host import Guest, Host, eventually, ip

pytestmark = pytest.mark.root

HOST = "Compute-01.Example.ORG"
NAMESPACE = "openstack-region-eu-west"
STATUS = f"/calico/felix/v2/region-eu-west/host/{HOST}"
DEVICE = "8f3d2c1a-4b5e"


def port(number: int) -> str:
    return f"{number:08x}-5f60-4718-8293-a4b5c6d7e8f9"


def tap(number: int) -> str:
    return f"tap{number:08x}-5f"


def endpoint(number: int, spec: dict[str, Any], labels: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "WorkloadEndpoint",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {
            "name": "the key decides",
            "namespace": NAMESPACE,
            "creationTimestamp": "2026-08-22T10:15:30Z",
            "uid": "1f6a3c1e-0d0b-4d8e-9d51-3f0f4f5a2b11",
            "annotations": {"openstack.projectcalico.org/network-id": "5d6e7f80"},
            "labels": {
                "projectcalico.org/namespace": NAMESPACE,
                "projectcalico.org/orchestrator": "openstack",
                **labels,
            },
        },
        "spec": {
            "orchestrator": "openstack",
            "workload": DEVICE,
            "node": HOST,
            "endpoint": port(number),
            "interfaceName": tap(number),
            "mac": f"fa:16:3e:00:00:{number:02x}",
            "allowedIps": [],
            **spec,
        },
    }


# The spec, labels besides those that every endpoint has, and the routes.
ODD: dict[str, tuple[dict[str, Any], dict[str, Any], set[str]]] = {
    "several subnets and gateways, no group": (
        {
            "ipNetworks": ["10.65.0.1/32", "10.66.0.1/32", "2001:DB8::00A/128", "2001:db8:1::1/128"],
            "ipv4Gateway": "10.66.0.254",
            "ipv6Gateway": "fe80::1",
        },
        {},
        {"10.65.0.1", "10.66.0.1", "2001:db8::a", "2001:db8:1::1"},
    ),
    "a project without a parent": (
        {"ipNetworks": ["10.65.0.2/32"]},
        {"projectcalico.org/openstack-project-parent-id": None},
        {"10.65.0.2"},
    ),
    "limits at their ends": (
        {
            "ipNetworks": ["10.65.0.3/32"],
            "qosControls": {
                "egressBandwidth": 10**15,
                "egressPeakrate": 10**15 + 10**13,
                "egressBurst": 34359738360,
                "ingressPacketRate": 10000,
                "ingressPacketBurst": 5,
                "ingressMaxConnections": 4294967295,
            },
        },
        {},
        {"10.65.0.3"},
    ),
    "two floating IPs and a pair given twice": (
        {
            "ipNetworks": ["10.65.0.4/32", "10.65.0.200/32", "10.65.0.200/32"],
            "allowedIps": ["10.65.0.200/32", "10.65.0.200/32"],
            "ipNATs": [
                {"internalIP": "10.65.0.4", "externalIP": "172.24.4.4"},
                {"internalIP": "10.65.0.4", "externalIP": "172.24.4.44"},
            ],
        },
        {},
        {"10.65.0.4", "10.65.0.200", "172.24.4.4", "172.24.4.44"},
    ),
}


def routes(interface: str) -> set[str]:
    shown = [json.loads(ip("-json", f"-{version}", "route", "show", "dev", interface) or "[]") for version in (4, 6)]
    return {entry["dst"] for listed in shown for entry in listed} - {"fe80::/64"}


@pytest.fixture
def running(host: Host) -> Host:
    host.ready()
    host.start(HOST, OpenstackRegion="eu-west")
    return host


def put(host: Host, number: int, device: str, spec: dict[str, Any], labels: dict[str, Any]) -> None:
    name = f"Compute--01.Example.ORG-openstack-{device}-{port(number).replace('-', '--')}"
    host.put(f"workloadendpoints/{NAMESPACE}/{name}", endpoint(number, spec, labels))


def is_up(host: Host, key: str, name: str) -> None:
    eventually(lambda: host.get(key) == '{"status":"up"}', f"{name}: up")


def test_odd_but_legal_endpoints_are_programmed_and_reported(running: Host, guest: Callable[..., Guest]) -> None:
    for number, (spec, labels, _) in enumerate(ODD.values(), 1):
        put(running, number, "8f3d2c1a--4b5e", spec, labels)
        guest(tap(number), f"fa:16:3e:00:00:{number:02x}")

    for number, (name, (_, _, wanted)) in enumerate(ODD.items(), 1):
        key = f"{STATUS}/workload/openstack/{NAMESPACE}%2f{DEVICE}/endpoint/{port(number)}"
        is_up(running, key, name)
        assert routes(tap(number)) == wanted, name
    alive = json.loads(eventually(lambda: running.get(f"{STATUS}/status"), "host status"))
    assert {field: type(value) for field, value in alive.items()} == {
        "time": str,
        "uptime": float,
        "first_update": bool,
    }


def test_escapes_in_a_name_come_back_in_the_status_key(running: Host, guest: Callable[..., Guest]) -> None:
    put(running, 9, "dev%2fx%25y", {"ipNetworks": ["10.65.0.9/32"]}, {})
    guest(tap(9), "fa:16:3e:00:00:09")

    key = f"{STATUS}/workload/openstack/{NAMESPACE}%2fdev%2fx%25y/endpoint/{port(9)}"
    is_up(running, key, "the endpoint with escapes")
