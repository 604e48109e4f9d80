"""Limits, marks and pools from documents to the kernel, through the whole of Felix."""

import signal
import subprocess
from typing import Any

import pytest

from calico_openstack.testing.compute_host import HOST, Host, eventually
from calico_openstack.testing.listings import steady

pytestmark = pytest.mark.root

TAP, MAC = "tap1b2c3d4e-5f", "fa:16:3e:aa:bb:cc"
WEP = "workloadendpoints/openstack/compute--01-openstack-vm-port"
POOL = "ippools/guests"
LIMITS = {
    "egressPacketRate": 5000,
    "egressPacketBurst": 7,
    "ingressPacketRate": 3000,
    "ingressMaxConnections": 9,
    "dscp": "AF41",
}


def document(kind: str, path: str, **spec: Any) -> dict[str, Any]:
    parts = path.split("/")
    metadata = {"name": parts[-1], **({"namespace": parts[1]} if len(parts) > 2 else {})}
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}


def endpoint(**more: Any) -> dict[str, Any]:
    return document(
        "WorkloadEndpoint",
        WEP,
        orchestrator="openstack",
        workload="vm",
        node=HOST,
        endpoint="port",
        interfaceName=TAP,
        mac=MAC,
        ipNetworks=["10.65.0.12/32", "2001:db8:a41::c/128"],
        **more,
    )


def listed(*flags: str) -> str:
    return steady(subprocess.run(["nft", *flags, "list", "ruleset"], capture_output=True, text=True, check=True).stdout)


def shows(*words: str) -> None:
    eventually(lambda: all(word in listed() for word in words), f"{words} in the kernel")


def shows_no(*words: str) -> None:
    eventually(lambda: TAP in listed() and not any(word in listed() for word in words), f"{words} gone")


@pytest.fixture
def running(host: Host, guest: Any) -> Host:
    host.ready()
    host.put(POOL, document("IPPool", POOL, cidr="10.65.0.0/16", natOutgoing=True))
    host.put(WEP, endpoint(qosControls=LIMITS))
    host.start()
    guest(TAP, MAC, "10.65.0.12/24", "2001:db8:a41::c/64")
    return host


def test_limits_come_stay_over_a_restart_and_go(running: Host) -> None:
    shows(
        "limit rate over 5000/second burst 7 packets drop",
        # Newer versions of nft also print the burst where it is the usual one.
        "limit rate over 3000/second ",
        "ct count over 9 reject with tcp reset",
        "ip dscp set af41",
    )
    running.resync()
    before = listed("-a")

    running.stop(signal.SIGKILL)
    running.start()
    assert running.resync()["nft"] == 0
    assert listed("-a") == before

    running.put(WEP, endpoint())
    shows_no("limit rate over 5000", "limit rate over 3000", "ct count", "dscp", "vmap @egress-rate", "marking")


def test_a_pool_and_its_settings_are_followed_without_a_restart(running: Host) -> None:
    shows("masquerade", "elements = { 10.65.0.0/16 }")

    running.ready(natOutgoingAddress="192.0.2.1", natPortRange="40000:50000", natOutgoingExclusions="IPPoolsAndHostIPs")
    running.put("nodes/other", document("Node", "nodes/other", bgp={"ipv4Address": "192.0.2.7/24"}))
    shows("snat ip to 192.0.2.1:40000-50000", "elements = { 192.0.2.7 }")

    running.delete(POOL)
    shows_no("snat ip to 192.0.2.1", "masquerade", "10.65.0.0/16")
    assert "ip dscp set af41" in listed()
