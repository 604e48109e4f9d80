"""What the API accepted is in etcd when the call returns, in upstream's form."""

from __future__ import annotations

import re
from typing import Any

import pytest

from calico_openstack.model.keys import ResourceKey, SubnetKey
from calico_openstack.model.names import tap_mac

HOST = "compute-01"
DEVICE = "8f3d2c1a-4b5e-4f60-9a7b-0c1d2e3f4a5b"
ENDPOINTS = "/calico/resources/v3/projectcalico.org/workloadendpoints/openstack/"


def esc(text: str) -> str:
    return text.replace("-", "--")


def endpoint_path(host: str, port_id: str, device: str = DEVICE) -> str:
    return f"{ENDPOINTS}{esc(host)}-openstack-{esc(device)}-{esc(port_id)}"


def policy_path(group_id: str) -> str:
    return ResourceKey("NetworkPolicy", f"ossg.default.{group_id}", "openstack").path


@pytest.fixture(scope="module")
def cloud(neutron: Any) -> dict[str, Any]:
    neutron.felix_lives(HOST)
    neutron.felix_lives("compute-02")
    network = neutron.create("network", name="calico net")
    v4 = neutron.create(
        "subnet",
        network_id=network["id"],
        ip_version=4,
        cidr="10.65.0.0/24",
        dns_nameservers=["192.0.2.53"],
        host_routes=[{"destination": "203.0.113.0/24", "nexthop": "10.65.0.1"}],
    )
    v6 = neutron.create(
        "subnet",
        network_id=network["id"],
        ip_version=6,
        cidr="2001:db8:a41::/64",
        gateway_ip="2001:db8:a41::1",
        ipv6_ra_mode="slaac",
        ipv6_address_mode="slaac",
    )
    group = neutron.create("security_group", name="web tier!")
    return {"network": network, "v4": v4, "v6": v6, "group": group}


def make_port(neutron: Any, cloud: dict[str, Any], **values: Any) -> Any:
    given = {
        "network_id": cloud["network"]["id"],
        "device_owner": "compute:nova",
        "device_id": DEVICE,
        "binding:host_id": HOST,
        "security_groups": [cloud["group"]["id"]],
    }
    return neutron.create("port", **(given | values))


def test_a_subnet_is_written_as_upstreams_text(neutron: Any, cloud: dict[str, Any]) -> None:
    network_id = cloud["network"]["id"]
    v4 = neutron.client.get(SubnetKey(None, cloud["v4"]["id"]).path)
    v6 = neutron.client.get(SubnetKey(None, cloud["v6"]["id"]).path)

    assert v4.value.decode() == (
        f'{{"network_id": "{network_id}", "cidr": "10.65.0.0/24", "host_routes": [{{"destination": "203.0.113.0/24", '
        '"nexthop": "10.65.0.1"}], "gateway_ip": "10.65.0.1", "dns_servers": ["192.0.2.53"]}'
    )
    assert v6.value.decode() == (
        f'{{"network_id": "{network_id}", "cidr": "2001:db8:a41::/64", "host_routes": [], '
        '"gateway_ip": "2001:db8:a41::1", "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}'
    )

    neutron.update("subnet", cloud["v4"]["id"], enable_dhcp=False)
    assert neutron.document(SubnetKey(None, cloud["v4"]["id"]).path) is None
    neutron.update("subnet", cloud["v4"]["id"], enable_dhcp=True)
    assert neutron.document(SubnetKey(None, cloud["v4"]["id"]).path) is not None


def test_a_bound_port_is_an_endpoint_when_the_call_returns(neutron: Any, cloud: dict[str, Any]) -> None:
    port = make_port(neutron, cloud, dns_name="web-1", allowed_address_pairs=[{"ip_address": "10.65.0.200"}])
    document = neutron.document(endpoint_path(HOST, port["id"]))

    assert port["binding:vif_type"] == "tap"
    assert port["binding:vif_details"]["port_filter"] is True
    assert port["binding:vif_details"]["mac_address"] == tap_mac(port["mac_address"])
    assert port["status"] == "DOWN"
    metadata = document["metadata"]
    group = cloud["group"]["id"]
    addresses = {ip["ip_address"] for ip in port["fixed_ips"]}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata.pop("creationTimestamp"))
    assert re.fullmatch(r"[0-9a-f-]{36}", metadata.pop("uid"))
    assert metadata == {
        "name": endpoint_path(HOST, port["id"]).rpartition("/")[2],
        "namespace": "openstack",
        "labels": {
            f"sg.projectcalico.org/openstack-{group}": "web_tier",
            "sg-name.projectcalico.org/openstack-web_tier": group,
            "projectcalico.org/namespace": "openstack",
            "projectcalico.org/orchestrator": "openstack",
            "projectcalico.org/openstack-project-id": port["project_id"],
            "projectcalico.org/openstack-network-name": "calico_net",
        },
        "annotations": {
            "openstack.projectcalico.org/network-id": cloud["network"]["id"],
            "openstack.projectcalico.org/fqdn": "web-1.example.org.",
        },
    }
    spec = document["spec"]
    assert set(spec.pop("ipNetworks")) == {
        *(f"{address}/{128 if ':' in address else 32}" for address in addresses),
        "10.65.0.200/32",
    }
    assert document == {
        "kind": "WorkloadEndpoint",
        "apiVersion": "projectcalico.org/v3",
        "metadata": metadata,
        "spec": {
            "orchestrator": "openstack",
            "workload": DEVICE,
            "node": HOST,
            "endpoint": port["id"],
            "interfaceName": f"tap{port['id'][:11]}",
            "mac": port["mac_address"],
            "allowedIps": ["10.65.0.200/32"],
            "ipv4Gateway": "10.65.0.1",
            "ipv6Gateway": "2001:db8:a41::1",
        },
    }
    assert neutron.document(policy_path(group))["spec"]["selector"] == f"has(sg.projectcalico.org/openstack-{group})"

    neutron.call("DELETE", f"ports/{port['id']}")
    assert neutron.document(endpoint_path(HOST, port["id"])) is None
