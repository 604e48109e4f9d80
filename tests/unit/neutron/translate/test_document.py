from __future__ import annotations

import json
from typing import Any

from calico_openstack.neutron.translate.document import Documents, Wanted, compose, merged

NOW, UID = "2026-11-21T02:00:00Z", "11111111-2222-4333-8444-555555555555"
WANTED = Wanted(
    key="/k",
    body={"ingress": [{"a": 1}, {"b": 2}], "selector": "x"},
    kind="NetworkPolicy",
    name="n",
    namespace="openstack",
)


def stored(**changes: Any) -> bytes:
    document = {
        "kind": "NetworkPolicy",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": "n", "namespace": "openstack", "uid": "u", "creationTimestamp": "t"},
        "spec": WANTED.body,
    }
    return json.dumps(document | changes).encode()


def composed(old: bytes | None, wanted: Wanted = WANTED) -> Any:
    value = compose(old, wanted, NOW, UID)
    return None if value is None else json.loads(value)


def test_a_new_document_gets_its_envelope() -> None:
    assert composed(None) == {
        "kind": "NetworkPolicy",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": "n", "namespace": "openstack", "creationTimestamp": NOW, "uid": UID},
        "spec": WANTED.body,
    }


def test_what_is_right_already_is_not_written_whatever_the_order_of_rules() -> None:
    assert composed(stored()) is None
    assert composed(stored(spec={"selector": "x", "ingress": [{"b": 2}, {"a": 1}]})) is None


def test_identity_and_unknown_metadata_of_the_stored_document_survive() -> None:
    metadata = {"name": "n", "namespace": "openstack", "uid": "u", "creationTimestamp": "t", "finalizers": ["x"]}
    answer = composed(stored(metadata=metadata | {"labels": {"theirs": "1"}}, spec={"selector": "old", "extra": 1}))

    assert answer["metadata"] == metadata | {"labels": {"theirs": "1"}}
    assert answer["spec"] == WANTED.body


def test_labels_are_exactly_ours_also_when_they_become_none() -> None:
    ours = Wanted("/k", {}, "WorkloadEndpoint", "n", "openstack", labels={}, annotations={"a": "1"})
    answer = composed(stored(metadata={"labels": {"old": "1"}, "annotations": {"b": "2"}}), ours)

    assert answer["metadata"]["labels"] == {}
    assert answer["metadata"]["annotations"] == {"a": "1"}


def test_a_label_that_is_not_known_now_keeps_its_stored_value() -> None:
    ours = Wanted("/k", {}, "WorkloadEndpoint", "n", "openstack", labels={"a": "1"}, kept_labels=("name",))
    answer = composed(stored(metadata={"labels": {"name": "demo", "gone": "x"}}), ours)

    assert answer["metadata"]["labels"] == {"a": "1", "name": "demo"}


def test_rubbish_is_replaced_by_a_fresh_document() -> None:
    for rubbish in (b"not json", b"[1]", b"\xff\xfe", b"null"):
        assert composed(rubbish)["metadata"]["uid"] == UID
    assert composed(stored(metadata="text"))["metadata"]["name"] == "n"


def test_only_if_stored_brings_up_to_date_but_does_not_create() -> None:
    wanted = Wanted("/k", {"x": 1}, "WorkloadEndpoint", "n", "openstack", only_if_stored=True)

    assert composed(None, wanted) is None
    assert composed(stored(), wanted)["spec"] == {"x": 1}


def test_a_plain_object_is_compared_as_text() -> None:
    plain = Wanted("/s", {"network_id": "n", "cidr": "10.0.0.0/24"})

    assert compose(b'{"network_id": "n", "cidr": "10.0.0.0/24"}', plain, NOW, UID) is None
    assert compose(b'{"cidr": "10.0.0.0/24", "network_id": "n"}', plain, NOW, UID) is not None


def test_a_key_wanted_by_one_object_is_not_deleted_for_another() -> None:
    parts = [Documents(present=(WANTED,)), Documents(absent=frozenset({"/k", "/other"}))]

    assert merged(parts).absent == {"/other"}
    assert [wanted.key for wanted in merged(parts).present] == ["/k"]
