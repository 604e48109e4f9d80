"""Wire messages, error texts, endpoints: the small pure parts."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool

from calico_openstack.etcd import channels, errors, messages, wire
from calico_openstack.etcd.errors import Compacted, EtcdError, LeaseGone, PermissionDenied, Rejected, Unavailable
from calico_openstack.etcd.values import CreatedAt, EtcdSettings, Put, Unchanged


def test_a_put_has_the_bytes_that_etcd_expects() -> None:
    request = messages.put_request("/a", b"x", 5)

    # key = field 1, value = field 2, lease = field 3 (etcd rpc.proto, PutRequest).
    assert request.SerializeToString() == b"\x0a\x02/a" + b"\x12\x01x" + b"\x18\x05"


def test_compares_have_the_targets_that_etcd_expects() -> None:
    request = messages.txn_request([Unchanged("/a", 0), Unchanged("/b", 7), CreatedAt("/c", 9)], [], [])

    # CompareTarget: VERSION 0, CREATE 1, MOD 2; CompareResult: EQUAL 0.
    assert [(c.result, c.target, c.WhichOneof("target_union")) for c in request.compare] == [
        (0, 0, "version"),
        (0, 2, "mod_revision"),
        (0, 1, "create_revision"),
    ]


def test_no_name_of_ours_is_in_the_pool_that_other_libraries_use() -> None:
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("calico_etcd.PutRequest")
    assert wire.new("PutRequest").DESCRIPTOR.full_name == "calico_etcd.PutRequest"


@pytest.mark.parametrize(
    ("prefix", "end"), [("/a/", b"/a0"), ("/a", b"/b"), ("", b"\0"), ("a\U0010ffff", b"a\xf4\x8f\xbf\xc0")]
)
def test_a_prefix_ends_before_the_next_one(prefix: str, end: bytes) -> None:
    assert messages.prefix_end(prefix) == end


def test_too_many_compares_are_refused_like_too_many_operations() -> None:
    with pytest.raises(Rejected, match="129 compares"):
        messages.txn_request([Unchanged(f"/{n}", 0) for n in range(129)], [Put("/a", b"")], [])


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        ("UNAVAILABLE", "etcdserver: leader changed", Unavailable),
        ("UNKNOWN", "Stream removed", Unavailable),
        ("RESOURCE_EXHAUSTED", "etcdserver: too many requests", Unavailable),
        ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", Rejected),
        ("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted", Compacted),
        ("NOT_FOUND", "etcdserver: requested lease not found", LeaseGone),
        ("PERMISSION_DENIED", "etcdserver: permission denied", PermissionDenied),
        ("INVALID_ARGUMENT", "etcdserver: key is not provided", Rejected),
    ],
)
def test_each_refusal_becomes_a_type_to_act_on_that_names_key_and_endpoint(
    code: str, details: str, kind: type[EtcdError]
) -> None:
    error = errors.from_fault(code, details, "http://e:1", "/key")

    assert type(error) is kind
    assert "/key" in str(error)
    assert "http://e:1" in str(error)


def test_a_full_store_comes_with_its_cure() -> None:
    error = errors.from_fault("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", "e", "/a")

    assert "defragment" in str(error)


@pytest.mark.parametrize(
    ("endpoint", "address", "tls"),
    [
        ("http://10.0.0.1:2379", "10.0.0.1:2379", False),
        ("https://etcd.example:2380", "etcd.example:2380", True),
        ("etcd.example", "etcd.example:2379", False),
        ("http://[2001:db8::1]:23", "[2001:db8::1]:23", False),
    ],
)
def test_an_endpoint_is_understood(endpoint: str, address: str, tls: bool) -> None:
    assert channels.target(EtcdSettings((endpoint,)), endpoint) == (address, tls)


def test_a_bare_endpoint_means_tls_where_there_are_certificates() -> None:
    assert channels.target(EtcdSettings(("e:1",), ca_file="/ca"), "e:1") == ("e:1", True)


@pytest.mark.parametrize("endpoint", ["", "http://", "ftp://e:1", "http://e:port", "http://e:99999"])
def test_what_is_no_endpoint_is_named(endpoint: str) -> None:
    with pytest.raises(ValueError, match="is not http://host:port"):
        channels.target(EtcdSettings((endpoint,)), endpoint)


def test_a_password_does_not_show_when_settings_are_printed() -> None:
    assert "secret" not in repr(EtcdSettings(username="u", password="secret"))
