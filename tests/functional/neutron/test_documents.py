"""What the API accepted is in etcd when the call returns, in upstream's form."""

from __future__ import annotations

import re
from typing import Any

from calico_openstack.model.keys import SubnetKey
from calico_openstack.model.names import tap_mac


def test_a_subnet_is_written_as_upstreams_text(neutron: Any, cloud: Any) -> None:
    network_id = cloud.network["id"]
    v4 = neutron.client.get(SubnetKey(None, cloud.v4["id"]).path)
    v6 = neutron.client.get(SubnetKey(None, cloud.v6["id"]).path)

    assert v4.value.decode() == (
        f'{{"network_id": "{network_id}", "cidr": "10.65.0.0/24", "host_routes": [{{"destination": "203.0.113.0/24", '
        '"nexthop": "10.65.0.1"}], "gateway_ip": "10.65.0.1", "dns_servers": ["192.0.2.53"]}'
    )
    assert v6.value.decode() == (
        f'{{"network_id": "{network_id}", "cidr": "2001:db8:a41::/64", "host_routes": [], '
        '"gateway_ip": "2001:db8:a41::1", "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}'
    )

    neutron.update("subnet", cloud.v4["id"], enable_dhcp=False)
    assert neutron.document(SubnetKey(None, cloud.v4["id"]).path) is None
    neutron.update("subnet", cloud.v4["id"], enable_dhcp=True)
    assert neutron.document(SubnetKey(None, cloud.v4["id"]).path) is not None


def test_a_bound_port_is_an_endpoint_when_the_call_returns(neutron: Any, cloud: Any) -> None:
    port = cloud.port(dns_name="web-1", allowed_address_pairs=[{"ip_address": "10.65.0.200"}])
    document = neutron.document(cloud.endpoint_path(port["id"]))

    assert port["binding:vif_type"] == "tap"
    assert port["binding:vif_details"]["port_filter"] is True
    assert port["binding:vif_details"]["mac_address"] == tap_mac(port["mac_address"])
    assert port["status"] == "DOWN"
    metadata = document["metadata"]
    group = cloud.group["id"]
    addresses = {ip["ip_address"] for ip in port["fixed_ips"]}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata.pop("creationTimestamp"))
    assert re.fullmatch(r"[0-9a-f-]{36}", metadata.pop("uid"))
    assert metadata == {
        "name": cloud.endpoint_path(port["id"]).rpartition("/")[2],
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
            "openstack.projectcalico.org/network-id": cloud.network["id"],
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
            "workload": cloud.device,
            "node": cloud.host,
            "endpoint": port["id"],
            "interfaceName": f"tap{port['id'][:11]}",
            "mac": port["mac_address"],
            "allowedIps": ["10.65.0.200/32"],
            "ipv4Gateway": "10.65.0.1",
            "ipv6Gateway": "2001:db8:a41::1",
        },
    }
    assert (
        neutron.document(cloud.policy_path(group))["spec"]["selector"] == f"has(sg.projectcalico.org/openstack-{group})"
    )

    neutron.call("DELETE", f"ports/{port['id']}")
    assert neutron.document(cloud.endpoint_path(port["id"])) is None
