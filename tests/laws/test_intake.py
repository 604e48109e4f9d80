"""Intake never raises, and never lets one document's rubbish into another."""

import json

from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.model.intake import Absent, Accepted, read
from calico_openstack.model.keys import KINDS, ResourceKey
from calico_openstack.testing import clouds

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
SPEC_FIELDS = (
    *(
        "selector",
        "ingress",
        "egress",
        "types",
        "order",
        "tier",
        "nets",
        "ipNetworks",
        "mac",
        "interfaceName",
        "ipNATs",
    ),
    *("qosControls", "ports", "profiles", "labelsToApply", "node", "peerIP", "nodeSelector", "bgp", "asNumber"),
    *("datastoreReady", "source", "target", "expectedIPs", "cidr", "exportV4"),
)


@given(st.text(max_size=60), st.binary(max_size=40))
def test_any_key_and_any_bytes_are_answered(path: str, value: bytes) -> None:
    assert isinstance(read(path, value), Accepted | Absent)


@given(st.sampled_from(sorted(KINDS)), st.text(min_size=1, max_size=20), st.binary(max_size=40))
def test_any_bytes_under_a_known_kind_are_answered(kind: str, name: str, value: bytes) -> None:
    path = ResourceKey(kind, name, "openstack" if KINDS[kind].namespaced else "").path

    assert isinstance(read(path, value), Accepted | Absent)


@given(st.sampled_from(sorted(KINDS)), st.dictionaries(st.sampled_from(SPEC_FIELDS), json_values, max_size=4))
def test_any_json_in_the_spec_of_any_kind_is_answered(kind: str, spec: dict[str, object]) -> None:
    document = json.dumps({"kind": kind, "metadata": {"name": "a-b-c-d", "labels": {"a": "b"}}, "spec": spec}).encode()
    found = read(ResourceKey(kind, "a-b-c-d", "openstack" if KINDS[kind].namespaced else "").path, document)

    assert isinstance(found, Accepted) or found.reason


@given(clouds.documents)
def test_every_generated_document_is_accepted(document: tuple[str, bytes]) -> None:
    assert isinstance(read(*document), Accepted)


@given(clouds.rubbish())
def test_rubbish_is_absent_with_a_reason_that_names_its_key_or_still_means_something(
    document: tuple[str, bytes],
) -> None:
    path, value = document
    found = read(path, value)

    assert isinstance(found, Accepted) or path in found.reason
