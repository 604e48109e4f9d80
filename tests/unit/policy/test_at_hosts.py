"""What an answer about guests says of the hosts' own interfaces."""

from typing import Any

import pytest

from calico_openstack.policy.at_hosts import host_notes
from calico_openstack.policy.explanation import Flow, explain
from calico_openstack.policy.known import known
from calico_openstack.policy.parties import find
from calico_openstack.testing.written import Document, document, port

A, B, NEIGHBOUR = (f"0{letter}1b2c3d-1111-4000-8000-000000000001" for letter in "abc")
GUESTS = [
    port(A, "10.65.0.1/32"),
    port(NEIGHBOUR, "10.65.0.3/32"),
    port(B, "10.65.0.2/32", host="compute-02"),
]
ETH0 = {"node": "compute-02", "interfaceName": "eth0", "expectedIPs": ["192.0.2.2"]}


def host_endpoint(name: str, **spec: Any) -> Document:
    return document("HostEndpoint", name, "", {**ETH0, **spec}, labels={"role": "host"})


def policy(**spec: Any) -> Document:
    body = {"selector": "role == 'host'", "ingress": [{"action": "Deny"}], "types": ["Ingress"], **spec}
    return document("GlobalNetworkPolicy", "p", "", body)


def notes(source: str, destination: str, *documents: Document) -> tuple[list[str], list[str]]:
    """Of the sender's and the receiver's end."""
    cloud = known([*GUESTS, *documents])
    answer = explain(cloud, find(cloud, source), find(cloud, destination), Flow("tcp", 80))
    return (
        host_notes(cloud, answer, answer.source, "egress"),
        host_notes(cloud, answer, answer.destination, "ingress"),
    )


def test_an_address_of_a_host_is_named_as_such_with_the_host_endpoints_of_that_host() -> None:
    everywhere = host_endpoint("z", interfaceName="*", expectedIPs=[])

    assert notes(A, "192.0.2.2", host_endpoint("he"), everywhere, host_endpoint("other", node="compute-03")) == (
        [],
        [
            "192.0.2.2 is host compute-02 itself; in force there, and not asked here: "
            "host endpoint he (eth0), host endpoint z (all interfaces)"
        ],
    )


def test_a_host_without_host_endpoints_is_named_by_its_node() -> None:
    node = document("Node", "compute-02", "", {"bgp": {"ipv4Address": "192.0.2.2/24"}})

    assert notes(A, "192.0.2.2", node) == ([], ["192.0.2.2 is host compute-02 itself; it has no host endpoint"])
    assert notes(A, "198.51.100.1", node) == ([], [])


@pytest.mark.parametrize("kind", [{"applyOnForward": True}, {"doNotTrack": True}, {"preDNAT": True}])
def test_policies_of_the_receivers_host_about_what_passes_are_mentioned(kind: dict[str, Any]) -> None:
    said = ["policies of host compute-02's own interfaces are not asked here: host endpoint he (eth0)"]

    assert notes(A, B, host_endpoint("he"), policy(**kind)) == ([], said)
    assert notes("198.51.100.1", B, host_endpoint("he"), policy(**kind)) == ([], said)
    assert notes(A, B, host_endpoint("he", node="compute-01"), policy(**kind)) == ([], [])


def test_what_no_policy_is_asked_about_is_not_mentioned() -> None:
    local = host_endpoint("he", node="compute-01")
    egress = policy(applyOnForward=True, types=["Egress"], ingress=[], egress=[{"action": "Deny"}])

    assert notes(A, B, host_endpoint("he"), policy()) == ([], [])
    assert notes(A, NEIGHBOUR, local, egress) == ([], [])
    assert notes(A, B, host_endpoint("he"), policy(applyOnForward=True, selector="role == 'guest'")) == ([], [])
    assert notes(A, B, local, egress)[0] == [
        "policies of host compute-01's own interfaces are not asked here: host endpoint he (eth0)"
    ]
