from __future__ import annotations

from typing import Any

import pytest

from calico_openstack.model.intake import Accepted, read
from calico_openstack.model.net import parse_net
from calico_openstack.neutron.translate.document import compose
from calico_openstack.neutron.translate.endpoints import OPEN_PROFILE, Surroundings, port_documents, slot_keys
from calico_openstack.neutron.translate.labels import Project
from calico_openstack.neutron.translate.site import Site
from calico_openstack.neutron.translate.slots import Slot

PORT_ID, DEVICE = "1b2c3d4e-5f60-4718-8293-a4b5c6d7e8f9", "8f3d2c1a-4b5e-4f60-9a7b-0c1d2e3f4a5b"
NAME = "compute--01-openstack-8f3d2c1a--4b5e--4f60--9a7b--0c1d2e3f4a5b-1b2c3d4e--5f60--4718--8293--a4b5c6d7e8f9"
RESOURCES = "/calico/resources/v3/projectcalico.org"
GROUP = "0a1b2c3d-4e5f-4061-8273-94a5b6c7d8e9"
PORT = {
    "id": PORT_ID,
    "device_id": DEVICE,
    "device_owner": "compute:nova",
    "network_id": "net",
    "project_id": "proj",
    "mac_address": "fa:16:3e:aa:bb:cc",
    "admin_state_up": True,
    "port_security_enabled": True,
    "binding:host_id": "compute-01",
    "binding:vif_type": "tap",
    "binding:vnic_type": "normal",
    "binding:profile": {},
    "fixed_ips": [
        {"ip_address": "10.65.0.12", "subnet_id": "four"},
        {"ip_address": "2001:db8:a41::c", "subnet_id": "six"},
    ],
    "allowed_address_pairs": [{"ip_address": "10.65.0.200", "mac_address": "fa:16:3e:aa:bb:cc"}],
    "security_groups": [GROUP],
    "dns_assignment": [{"fqdn": "web-1.example.org."}],
    "qos_policy_id": "qos",
}
AROUND = Surroundings(
    subnets={
        "four": {"cidr": "10.65.0.0/24", "gateway_ip": "10.65.0.1"},
        "six": {"cidr": "2001:db8:a41::/64", "gateway_ip": "2001:db8:a41::1"},
        "five": {"cidr": "10.66.0.0/24", "gateway_ip": "10.66.0.1"},
        "none": {"cidr": "10.67.0.0/24", "gateway_ip": None},
    },
    networks={"net": {"name": "calico-net"}},
    group_names={GROUP: "web tier"},
    floating_ips={
        PORT_ID: [
            {"fixed_ip_address": "10.65.0.12", "floating_ip_address": "172.24.4.33"},
            {"fixed_ip_address": "10.65.0.99", "floating_ip_address": "172.24.4.34"},
        ]
    },
    qos_rules={
        "qos": [{"rule_type": "bandwidth_limit", "direction": "egress", "max_kbps": 10000, "max_burst_kbps": 20000}]
    },
    projects={"proj": Project("demo", "default")},
)


def documents(**changes: Any) -> Any:
    return port_documents(Site(), PORT_ID, PORT | changes, AROUND)


def spec(**changes: Any) -> Any:
    return documents(**changes).present[-1].body


def test_the_documents_example_field_by_field() -> None:
    (wanted,) = documents().present

    assert wanted.key == f"{RESOURCES}/workloadendpoints/openstack/{NAME}"
    assert wanted.labels == {
        f"sg.projectcalico.org/openstack-{GROUP}": "web_tier",
        "sg-name.projectcalico.org/openstack-web_tier": GROUP,
        "projectcalico.org/namespace": "openstack",
        "projectcalico.org/orchestrator": "openstack",
        "projectcalico.org/openstack-project-id": "proj",
        "projectcalico.org/openstack-project-name": "demo",
        "projectcalico.org/openstack-project-parent-id": "default",
        "projectcalico.org/openstack-network-name": "calico-net",
    }
    assert wanted.annotations == {
        "openstack.projectcalico.org/network-id": "net",
        "openstack.projectcalico.org/fqdn": "web-1.example.org.",
    }
    assert wanted.body == {
        "orchestrator": "openstack",
        "workload": DEVICE,
        "node": "compute-01",
        "endpoint": PORT_ID,
        "interfaceName": "tap1b2c3d4e-5f",
        "mac": "fa:16:3e:aa:bb:cc",
        "ipv4Gateway": "10.65.0.1",
        "ipv6Gateway": "2001:db8:a41::1",
        "ipNetworks": ["10.65.0.12/32", "2001:db8:a41::c/128", "10.65.0.200/32"],
        "allowedIps": ["10.65.0.200/32"],
        "ipNATs": [{"internalIP": "10.65.0.12", "externalIP": "172.24.4.33"}],
        "qosControls": {"egressBandwidth": 10000000, "egressPeakrate": 20000000, "egressBurst": 4294967296},
    }


def test_felix_reads_what_is_written_as_it_was_meant() -> None:
    (wanted,) = documents().present
    stored = compose(None, wanted, "2026-11-21T02:00:00Z", "u")
    assert stored is not None
    answer = read(wanted.key, stored)

    assert isinstance(answer, Accepted), answer
    endpoint: Any = answer.value
    assert endpoint.interface == "tap1b2c3d4e-5f"
    assert endpoint.addresses == tuple(parse_net(text) for text in ("10.65.0.12", "2001:db8:a41::c", "10.65.0.200"))
    assert endpoint.allowed_pairs == (parse_net("10.65.0.200"),)
    assert endpoint.network_id == "net"


def test_the_gateway_is_that_of_the_first_fixed_ip_of_the_family() -> None:
    fixed = [
        {"ip_address": "10.67.0.5", "subnet_id": "none"},
        {"ip_address": "10.66.0.5", "subnet_id": "five"},
        {"ip_address": "10.65.0.5", "subnet_id": "four"},
    ]

    assert spec(fixed_ips=fixed)["ipv4Gateway"] == "10.66.0.1"
    assert "ipv6Gateway" not in spec(fixed_ips=fixed)
    assert "ipv4Gateway" not in spec(fixed_ips=fixed[:1])


def test_address_pairs_are_normalised_and_neither_repeat_fixed_ips_nor_reach_beyond_the_subnets() -> None:
    pairs = [
        {"ip_address": text}
        for text in (
            "10.65.0.130/25",
            "10.65.0.12",
            "10.65.0.9/32",
            "10.65.0.9",
            "0.0.0.0/0",
            "10.99.0.0/16",
            "203.0.113.4",
        )
    ]
    answer = documents(allowed_address_pairs=pairs)
    written = answer.present[-1].body

    assert written["allowedIps"] == ["10.65.0.128/25", "10.65.0.9/32"]
    assert written["ipNetworks"] == ["10.65.0.12/32", "2001:db8:a41::c/128", *written["allowedIps"]]
    assert [refusal.subject.split()[-1] for refusal in answer.refusals] == [
        "0.0.0.0/0",
        "10.99.0.0/16",
        "203.0.113.4",
    ]

    site = Site(pair_networks=(parse_net("10.99.0.0/16"), parse_net("203.0.113.0/24")))
    allowed = port_documents(site, PORT_ID, PORT | {"allowed_address_pairs": pairs}, AROUND)
    assert allowed.present[-1].body["allowedIps"][2:] == ["10.99.0.0/16", "203.0.113.4/32"]


def test_a_port_without_port_security_has_the_open_profile_and_brings_it_along() -> None:
    profile, endpoint = documents(port_security_enabled=False, security_groups=[]).present

    assert profile.key == f"{RESOURCES}/profiles/{OPEN_PROFILE}"
    assert endpoint.body["profiles"] == [OPEN_PROFILE]
    assert "profiles" not in spec()


def test_a_project_that_keystone_has_not_told_yet_keeps_its_stored_labels() -> None:
    (wanted,) = port_documents(Site(), PORT_ID, PORT, Surroundings()).present

    assert wanted.kept_labels == (
        "projectcalico.org/openstack-project-name",
        "projectcalico.org/openstack-project-parent-id",
    )


def test_a_migrating_port_has_two_endpoints_and_the_migration_comes_before_the_destination() -> None:
    answer = documents(**{"binding:profile": {"migrating_to": "compute-02"}, "binding:vif_type": "unbound"})

    assert [wanted.kind for wanted in answer.present] == ["LiveMigration", "WorkloadEndpoint", "WorkloadEndpoint"]
    assert [wanted.body.get("node") for wanted in answer.present] == [None, "compute-01", "compute-02"]
    assert answer.present[0].key == answer.present[2].key.replace("workloadendpoints", "livemigrations")
    side = {"orchestratorID": "openstack", "workloadID": f"openstack/{DEVICE}", "endpointID": PORT_ID}
    assert answer.present[0].body == {
        "source": {"workloadEndpoint": {"hostname": "compute-01", **side}},
        "target": {"workloadEndpoint": {"hostname": "compute-02", **side}},
    }


def test_slots_that_a_port_had_and_has_no_longer_are_absent() -> None:
    seen = frozenset({Slot("compute-01", DEVICE), Slot("compute-09", DEVICE), Slot("compute-01", "old-device")})
    answer = port_documents(Site(), PORT_ID, PORT, AROUND, seen)
    gone = port_documents(Site(), PORT_ID, None, AROUND, seen)

    assert len(answer.present) == 1
    assert len(answer.absent) == 5
    assert answer.present[0].key not in answer.absent
    assert gone.present == ()
    assert len(gone.absent) == 6


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"device_id": ""}, "no device_id"),
        ({"device_id": "-x"}, "cannot be part of a name"),
        ({"binding:host_id": "a/b"}, "cannot be part of a name"),
    ],
)
def test_a_port_that_cannot_have_a_name_is_refused_with_a_reason(changes: dict[str, Any], word: str) -> None:
    answer = documents(**changes)

    assert answer.present == ()
    assert word in str(answer.refusals[0])


def test_a_region_is_part_of_the_keys_and_of_the_namespace() -> None:
    (wanted,) = port_documents(Site(region="europe"), PORT_ID, PORT, AROUND).present

    assert "/workloadendpoints/openstack-region-europe/" in wanted.key
    assert (wanted.labels or {})["projectcalico.org/namespace"] == "openstack-region-europe"
    assert all("/openstack-region-europe/" in key for key in slot_keys(Site(region="europe"), PORT_ID, Slot("h", "d")))


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.0", "127.0.0.1", "169.254.169.254", "169.254.0.0/30", "255.255.255.255", "224.0.0.18"),
        *("::", "::1", "fe80::1", "ff02::12", "::ffff:10.0.0.1"),
    ],
)
def test_a_pair_that_no_router_may_route_is_left_out(text: str) -> None:
    site = Site(pair_networks=(parse_net("0.0.0.0/0"), parse_net("::/0")))
    port = PORT | {"allowed_address_pairs": [{"ip_address": text}, {"ip_address": "10.65.0.200"}]}
    answer = port_documents(site, PORT_ID, port, AROUND)

    assert answer.present[0].body["allowedIps"] == ["10.65.0.200/32"]
    assert len(answer.refusals) == 1
    assert text in answer.refusals[0].subject
