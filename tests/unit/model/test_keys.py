import pytest

from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import (
    KINDS,
    BgpStatusKey,
    CompactionLastKey,
    CompactionTriggerKey,
    DhcpStatusKey,
    ElectionKey,
    EndpointStatusKey,
    HostStatusKey,
    Key,
    LastHostStatusKey,
    ResourceKey,
    SubnetKey,
    parse_key,
    resource_prefix,
)

ENDPOINT = EndpointKey("openstack-region-europe", "compute-01", "openstack", "8f3d", "1b2c")

PATHS: list[tuple[Key, str]] = [
    (
        ResourceKey("NetworkPolicy", "ossg.default.0a1b", "openstack"),
        "/calico/resources/v3/projectcalico.org/networkpolicies/openstack/ossg.default.0a1b",
    ),
    (ResourceKey("Node", "compute-01"), "/calico/resources/v3/projectcalico.org/nodes/compute-01"),
    (SubnetKey(None, "5d6e"), "/calico/dhcp/v2/no-region/subnet/5d6e"),
    (HostStatusKey("europe", "compute-01"), "/calico/felix/v2/region-europe/host/compute-01/status"),
    (LastHostStatusKey(None, "h"), "/calico/felix/v2/no-region/host/h/last_reported_status"),
    (
        EndpointStatusKey("europe", ENDPOINT),
        "/calico/felix/v2/region-europe/host/compute-01/workload/openstack/"
        "openstack-region-europe%2f8f3d/endpoint/1b2c",
    ),
    (DhcpStatusKey(None, "h"), "/calico/dhcp/v2/no-region/host/h/status"),
    (BgpStatusKey(None, "h"), "/calico/bgp/v2/no-region/host/h/status"),
    (ElectionKey(None), "/calico/openstack/v2/no-region/neutron_election"),
    (CompactionTriggerKey(), "/calico/compaction/v1/trigger"),
    (CompactionLastKey(), "/calico/compaction/v1/last"),
]


@pytest.mark.parametrize(("key", "path"), PATHS, ids=lambda value: type(value).__name__)
def test_a_key_has_upstreams_path_and_is_read_back_from_it(key: Key, path: str) -> None:
    assert key.path == path
    assert parse_key(path) == key


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_resource_is_read_back(kind: str) -> None:
    key = ResourceKey(kind, "some.name-1", "ns" if KINDS[kind].namespaced else "")

    assert parse_key(key.path) == key
    assert key.path.startswith(resource_prefix(kind))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/calico/v1/Ready",
        "/calico/resources/v3/projectcalico.org/",
        "/calico/resources/v3/projectcalico.org/unknowns/x",
        "/calico/resources/v3/projectcalico.org/nodes/",
        "/calico/resources/v3/projectcalico.org/nodes/a/b",
        "/calico/resources/v3/projectcalico.org/networkpolicies/onlyname",
        "/calico/felix/v2/no-region/host/round-trip-check",
        "/calico/felix/v2/no-region/host/h/workload/openstack/no-slash/endpoint/e",
        "/calico/felix/v2/bad_region/host/h/status",
        "/calico/dhcp/v1/subnet/x",
        "/calico/dhcp/v2/no-region/subnet/x/y",
        "/calico/bgp/v2/no-region/host/h/last_reported_status",
    ],
)
def test_a_path_that_is_not_ours_is_nothing(path: str) -> None:
    assert parse_key(path) is None


def test_keys_of_different_shapes_are_never_equal() -> None:
    assert len({HostStatusKey(None, "h"), DhcpStatusKey(None, "h"), BgpStatusKey(None, "h")}) == 3


def test_slashes_and_percents_in_a_workload_are_escaped_and_come_back() -> None:
    key = EndpointStatusKey(None, EndpointKey("ns", "h", "openstack", "a/b%2fc%", "e/%"))

    assert "a%2fb%252fc%25" in key.path
    assert parse_key(key.path) == key


@pytest.mark.parametrize(
    "key", [ResourceKey("Nonsense", "x"), ResourceKey("Node", "x", "ns"), ResourceKey("NetworkPolicy", "x")]
)
def test_a_resource_key_that_makes_no_sense_has_no_path(key: ResourceKey) -> None:
    with pytest.raises(ValueError):
        _ = key.path
