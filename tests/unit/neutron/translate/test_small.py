"""QoS, subnets, groups, labels, shared documents."""

from __future__ import annotations

import json
from typing import Any

import pytest

from calico_openstack.neutron.translate.labels import endpoint_labels
from calico_openstack.neutron.translate.qos import qos_controls
from calico_openstack.neutron.translate.security_groups import group_documents
from calico_openstack.neutron.translate.shared import cluster_information, felix_configuration
from calico_openstack.neutron.translate.site import QosDefaults, Site
from calico_openstack.neutron.translate.subnets import subnet_documents

NOW, UID = "2026-11-21T02:00:00Z", "uid"


def bandwidth(direction: str = "egress", **limits: int) -> dict[str, Any]:
    return {"rule_type": "bandwidth_limit", "direction": direction, **limits}


def packets(kpps: int, direction: str = "ingress") -> dict[str, Any]:
    return {"rule_type": "packet_rate_limit", "direction": direction, "max_kpps": kpps}


@pytest.mark.parametrize(
    ("rules", "defaults", "expected"),
    [
        ([], QosDefaults(), {}),
        ([bandwidth(max_kbps=0, max_burst_kbps=0)], QosDefaults(), {}),
        (
            [bandwidth(max_kbps=5)],
            QosDefaults(egress_burst_bits=0),
            {"egressBandwidth": 5000, "egressBurst": 4294967296},
        ),
        ([bandwidth(max_burst_kbps=1)], QosDefaults(), {"egressPeakrate": 1010}),
        (
            [bandwidth("ingress", max_kbps=1, max_burst_kbps=2)],
            QosDefaults(ingress_burst_bits=10, ingress_minburst_bytes=5),
            {"ingressBandwidth": 1000, "ingressPeakrate": 2000, "ingressBurst": 1000, "ingressMinburst": 1000},
        ),
        ([bandwidth(max_kbps=2**31 - 1)], QosDefaults(), {"egressBandwidth": 2147483647000, "egressBurst": 4294967296}),
        ([packets(50)], QosDefaults(), {"ingressPacketRate": 10000, "ingressPacketBurst": 5}),
        ([packets(1)], QosDefaults(ingress_burst_packets=0), {"ingressPacketRate": 1000, "ingressPacketBurst": 5}),
        ([{"rule_type": "dscp_marking", "dscp_mark": 8}], QosDefaults(), {}),
        (
            [],
            QosDefaults(max_ingress_connections_per_port=7, max_egress_connections_per_port=2**40),
            {"ingressMaxConnections": 7, "egressMaxConnections": 4294967295},
        ),
    ],
)
def test_qos_rules_become_controls_within_felix_limits(
    rules: list[dict[str, Any]], defaults: QosDefaults, expected: dict[str, int]
) -> None:
    assert qos_controls(rules, defaults) == expected


def test_a_subnet_has_a_key_only_with_dhcp_and_modes_only_when_both_are_set() -> None:
    subnet = {"network_id": "n", "cidr": "2001:db8::/64", "host_routes": [], "gateway_ip": None, "enable_dhcp": True}
    (wanted,) = subnet_documents(Site(), "s", subnet | {"ipv6_ra_mode": "slaac"}).present

    assert wanted.key == "/calico/dhcp/v2/no-region/subnet/s"
    assert list(wanted.body.items()) == [
        ("network_id", "n"),
        ("cidr", "2001:db8::/64"),
        ("host_routes", []),
        ("gateway_ip", None),
    ]
    assert subnet_documents(Site(), "s", subnet | {"enable_dhcp": False}).absent == {wanted.key}
    assert subnet_documents(Site(), "s", None).absent == {wanted.key}


def test_a_group_leaves_out_only_the_rule_that_cannot_be_said_and_names_it() -> None:
    rules = [
        {
            "id": "b",
            "direction": "ingress",
            "ethertype": "IPv4",
            "protocol": "dccp",
            "port_range_min": 1,
            "port_range_max": 2,
        },
        {"id": "a", "direction": "egress", "ethertype": "IPv6"},
    ]
    answer = group_documents(Site(), "sg", rules, {})

    assert answer.present[0].body == {
        "ingress": [],
        "egress": [{"action": "Allow", "ipVersion": 6}],
        "selector": "has(sg.projectcalico.org/openstack-sg)",
    }
    assert str(answer.refusals[0]).startswith("security group sg, security group rule b: ")
    assert group_documents(Site(), "sg", None, {}).absent == {answer.present[0].key}


def test_names_are_cut_and_cleaned_and_an_unknown_name_is_empty() -> None:
    port = {"security_groups": ["1", "2", "3"], "network_id": "n", "tenant_id": "old"}
    names = {"1": "--Läden & Büros, Erdgeschoss hinten links", "2": "###"}
    labels = endpoint_labels("openstack", port, names, {"n": {"name": "x" * 80}}, None)

    assert labels["sg.projectcalico.org/openstack-1"] == "L_den___B_ros__Erdgeschos"
    assert labels["sg-name.projectcalico.org/openstack-L_den___B_ros__Erdgeschos"] == "1"
    assert labels["sg.projectcalico.org/openstack-2"] == ""
    assert labels["sg.projectcalico.org/openstack-3"] == ""
    assert labels["projectcalico.org/openstack-network-name"] == "x" * 63
    assert labels["projectcalico.org/openstack-project-id"] == "old"
    assert len(labels) == 8


def test_shared_documents_add_only_what_is_missing() -> None:
    fresh = cluster_information(None, "9f" * 16, NOW, UID)
    assert fresh is not None
    assert json.loads(fresh)["spec"] == {"clusterGUID": "9f" * 16, "clusterType": "openstack", "datastoreReady": True}
    assert cluster_information(fresh, "other", NOW, UID) is None

    theirs = json.dumps(
        {"spec": {"clusterType": "typha,bgp", "datastoreReady": False, "calicoVersion": "v3.32"}}
    ).encode()
    mixed = cluster_information(theirs, "guid", NOW, UID)
    assert mixed is not None
    assert json.loads(mixed)["spec"] == {
        "clusterGUID": "guid",
        "clusterType": "typha,bgp,openstack",
        "datastoreReady": False,
        "calicoVersion": "v3.32",
    }

    felix = felix_configuration(
        json.dumps({"spec": {"interfacePrefix": "cali", "logSeverityScreen": "Info"}}).encode(), NOW, UID
    )
    assert felix is not None
    assert json.loads(felix)["spec"] == {
        "interfacePrefix": "cali,tap",
        "logSeverityScreen": "Info",
        "endpointReportingEnabled": True,
    }
    assert felix_configuration(felix, NOW, UID) is None
