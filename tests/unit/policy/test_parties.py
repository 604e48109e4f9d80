"""Who is meant by what a person types."""

import pytest

from calico_openstack.model.net import host_net
from calico_openstack.policy.known import Known, known
from calico_openstack.policy.parties import Unanswerable, find
from calico_openstack.testing.written import Document, port

A = "0a1b2c3d-1111-4000-8000-000000000001"
B = "0a9b2c3d-1111-4000-8000-000000000002"
BROKEN = "0c9b2c3d-1111-4000-8000-000000000003"


def cloud(*more: Document) -> Known:
    nats = [{"internalIP": "10.65.0.1", "externalIP": "172.24.4.1"}]
    return known(
        [
            port(A, "10.65.0.1/32", "2001:db8::1/128", "10.65.0.100/32", allowedIps=["10.65.0.100/32"], ipNATs=nats),
            port(B, "10.65.0.2/32", "10.65.0.100/32", allowedIps=["10.65.0.100/32"]),
            port(BROKEN, "10.65.0.3/32", mac="nonsense"),
            *more,
        ]
    )


@pytest.mark.parametrize(
    "text", [A, "0a1", "tap0a1b2c3d-11", "10.65.0.1", "172.24.4.1", "2001:db8:0::1", f"compute-01/{A}"]
)
def test_a_port_is_found_by_any_of_its_names(text: str) -> None:
    found = find(cloud(), text)

    assert found.key is not None
    assert found.key.endpoint == A
    assert found.endpoint is not None


def test_a_name_leaves_the_address_open_and_an_address_says_it() -> None:
    assert find(cloud(), A).address is None
    assert find(cloud(), A).fixed(4) == host_net("10.65.0.1")
    assert find(cloud(), A).fixed(6) == host_net("2001:db8::1")
    assert find(cloud(), "2001:db8::1").versions() == {6}


def test_a_floating_ip_leads_to_its_fixed_address() -> None:
    found = find(cloud(), "172.24.4.1")

    assert (found.address, found.floating) == (host_net("10.65.0.1"), host_net("172.24.4.1"))


def test_a_beginning_of_several_ids_is_refused_with_the_candidates() -> None:
    with pytest.raises(Unanswerable, match=f"port {A} on compute-01, port {B} on compute-01; give more"):
        find(cloud(), "0a")


def test_a_shared_address_is_refused_until_its_holder_is_named() -> None:
    with pytest.raises(Unanswerable, match=r"ask for one of them as PORT@10\.65\.0\.100"):
        find(cloud(), "10.65.0.100")
    assert find(cloud(), f"{B}@10.65.0.100").fixed(4) == host_net("10.65.0.100")


def test_a_fixed_address_wins_over_somebody_elses_allowed_pair() -> None:
    found = find(cloud(port("0dd", "10.65.0.100/32")), "10.65.0.100")

    assert found.key is not None
    assert found.key.endpoint == "0dd"


def test_an_endpoint_whose_document_is_broken_is_found_with_the_reason() -> None:
    found = find(cloud(), "0c9")

    assert found.endpoint is None
    assert "nonsense" in found.broken


def test_the_two_ends_of_a_live_migration_are_told_apart_by_host() -> None:
    both = cloud(port(A, "10.65.0.1/32", host="compute-02"))

    with pytest.raises(Unanswerable, match="HOST/PORT"):
        find(both, A)
    found = find(both, f"compute-02/{A}")
    assert found.key is not None
    assert found.key.host == "compute-02"


def test_an_address_that_nobody_has_is_outside() -> None:
    assert find(cloud(), "192.0.2.1").key is None


@pytest.mark.parametrize("text", ["ffff", "", "compute-02/0a1", "compute-01/", f"{A}@nonsense", "10.65.0.0/24"])
def test_a_name_that_nobody_has_is_refused(text: str) -> None:
    with pytest.raises(Unanswerable):
        find(cloud(), text)
