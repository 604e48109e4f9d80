from __future__ import annotations

import json
from typing import Any

from calico_openstack.bgp.node_record import OwnNode, wanted
from calico_openstack.model.bgp import read_node

OWN = OwnNode("h1", ipv4="192.0.2.1/24", as_number=65001, labels={"rack": "r1"}, found6="2001:db8::1")


def record(existing: Any, own: OwnNode = OWN) -> Any:
    value = wanted(
        json.dumps(existing).encode() if existing is not None else None, own, "uid-1", "2026-01-01T00:00:00Z"
    )
    return json.loads(value) if value is not None else None


def test_a_new_record_is_whole_and_readable() -> None:
    made = record(None)

    assert made == {
        "kind": "Node",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {
            "name": "h1", "uid": "uid-1", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"rack": "r1"},
        },
        "spec": {
            "bgp": {"ipv4Address": "192.0.2.1/24", "ipv6Address": "2001:db8::1", "asNumber": 65001},
            "addresses": [
                {"address": "192.0.2.1/24", "type": "CalicoNodeIP"},
                {"address": "2001:db8::1", "type": "CalicoNodeIP"},
            ],
        },
    }  # fmt: skip
    assert read_node("h1", json.dumps(made).encode()).as_number == 65001


def test_a_record_that_is_right_is_not_written() -> None:
    assert record(record(None)) is None


def test_what_belongs_to_others_is_kept() -> None:
    made = record(None)
    made["metadata"]["labels"]["mine"] = "yes"
    made["spec"]["addresses"].insert(0, {"address": "203.0.113.9", "type": "ExternalIP"})
    made["spec"]["wireguard"] = {"interfaceIPv4Address": "10.0.0.1"}
    made["spec"]["bgp"]["ipv4Address"] = "198.51.100.1/24"

    again = record(made)

    assert again["metadata"]["labels"] == {"rack": "r1", "mine": "yes"}
    assert again["spec"]["wireguard"] == {"interfaceIPv4Address": "10.0.0.1"}
    assert again["spec"]["addresses"][0] == {"address": "203.0.113.9", "type": "ExternalIP"}
    assert again["spec"]["bgp"]["ipv4Address"] == "192.0.2.1/24"


def test_an_address_that_was_only_found_does_not_replace_one_that_is_there() -> None:
    made = record(None)
    made["spec"]["bgp"]["ipv6Address"] = "2001:db8:7::7/64"
    made["spec"]["addresses"][1]["address"] = "2001:db8:7::7/64"

    assert record(made) is None


def test_rubbish_is_written_anew() -> None:
    value = wanted(b"{not json", OWN, "uid-1", "2026-01-01T00:00:00Z")

    assert value is not None
    assert read_node("h1", value).name == "h1"
