import json
from typing import Any

from calico_openstack.dhcp.store import Store, prefixes
from calico_openstack.etcd.values import Event

SUBNET = "/calico/dhcp/v2/no-region/subnet/s1"
OTHER_SUBNET = "/calico/dhcp/v2/no-region/subnet/s2"
ENDPOINT = "/calico/resources/v3/projectcalico.org/workloadendpoints/openstack/compute--01-openstack-server--1-port--1"


def subnet(**more: Any) -> bytes:
    document = {"network_id": "n1", "cidr": "10.65.0.0/24", "host_routes": [], "gateway_ip": "10.65.0.1", **more}
    return json.dumps(document).encode()


def endpoint(**more: Any) -> bytes:
    spec = {
        "orchestrator": "openstack",
        "workload": "server-1",
        "node": "compute-01",
        "endpoint": "port-1",
        "interfaceName": "tapport-1",
        "mac": "fa:16:3e:00:00:01",
        "ipNetworks": ["10.65.0.11/32"],
        "allowedIps": [],
        **more,
    }
    metadata = {
        "name": "compute--01-openstack-server--1-port--1",
        "namespace": "openstack",
        "annotations": {"openstack.projectcalico.org/network-id": "n1"},
    }
    document = {"kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec}
    return json.dumps(document).encode()


def test_a_host_follows_its_own_endpoints_and_its_regions_subnets() -> None:
    root = "/calico/resources/v3/projectcalico.org/workloadendpoints"

    assert prefixes("compute-01", None) == (
        f"{root}/openstack/compute--01-openstack-",
        "/calico/dhcp/v2/no-region/subnet/",
    )
    assert prefixes("a.b-c", "eu-1") == (
        f"{root}/openstack-region-eu-1/a.b--c-openstack-",
        "/calico/dhcp/v2/region-eu-1/subnet/",
    )


def test_documents_come_change_and_go() -> None:
    store = Store()

    store.handle([Event(ENDPOINT, endpoint(), 1), Event(SUBNET, subnet(), 1)])
    assert [one.interface for one in store.endpoints] == ["tapport-1"]
    assert len(store.subnets) == 1

    store.handle([Event(ENDPOINT, endpoint(interfaceName="tapother"), 2)])
    assert [one.interface for one in store.endpoints] == ["tapother"]

    store.handle([Event(ENDPOINT, None, 3), Event(SUBNET, None, 3)])
    assert list(store.endpoints) == []
    assert len(store.subnets) == 0
    assert store.documents() == {}


def test_a_broken_document_counts_as_absent_and_says_why() -> None:
    store = Store()
    store.handle([Event(ENDPOINT, endpoint(), 1), Event(SUBNET, subnet(), 1)])

    store.handle([Event(SUBNET, b'{"network_id": 7}', 2), Event(OTHER_SUBNET, subnet(gateway_ip="x\ny"), 2)])

    assert len(store.subnets) == 0
    assert [one.interface for one in store.endpoints] == ["tapport-1"]
    assert [one.subject for one in store.problems] == [SUBNET, OTHER_SUBNET]

    store.handle([Event(SUBNET, subnet(), 3), Event(OTHER_SUBNET, None, 3)])

    assert store.problems == []
    assert len(store.subnets) == 1


def test_only_what_this_host_serves_by_is_kept_for_the_next_boot() -> None:
    store = Store()
    store.handle(
        [
            Event(ENDPOINT, endpoint(), 1),
            Event(SUBNET, subnet(), 1),
            Event(OTHER_SUBNET, subnet(cidr="10.66.0.0/24", gateway_ip=None), 1),
        ]
    )

    again = Store()
    again.handle(Event(key, value, 0) for key, value in store.documents().items())

    assert list(store.documents()) == [SUBNET, ENDPOINT]
    assert list(again.endpoints) == list(store.endpoints)
