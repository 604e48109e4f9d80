from typing import Any

from calico_openstack.model.net import host_net


def test_the_subnet_is_looked_for_in_the_endpoints_own_network(subnet: Any, index: Any) -> None:
    one, two = subnet("10.65.0.0/24", id="1", network="a"), subnet("10.65.0.0/24", id="2", network="b")
    known = index(one, two)

    assert known.find(host_net("10.65.0.9"), "b") is two
    assert known.find(host_net("10.65.0.9"), "c") is None
    assert known.find(host_net("10.66.0.9"), "a") is None


def test_without_a_network_an_address_that_two_networks_claim_has_no_subnet(subnet: Any, index: Any) -> None:
    known = index(subnet("10.65.0.0/24", id="1", network="a"), subnet("10.66.0.0/24", id="2", network="b"))

    assert known.find(host_net("10.66.0.9"), None).id == "2"

    known.put(subnet("10.66.0.0/16", id="3", network="c"))

    assert known.find(host_net("10.66.0.9"), None) is None


def test_a_subnet_that_changes_network_leaves_the_old_one(subnet: Any, index: Any) -> None:
    known = index(subnet("10.65.0.0/24", id="1", network="a"))

    known.put(subnet("10.65.0.0/24", id="1", network="b"))

    assert known.find(host_net("10.65.0.9"), "a") is None
    assert known.find(host_net("10.65.0.9"), "b") is not None

    known.remove("1")
    known.remove("1")

    assert known.find(host_net("10.65.0.9"), "b") is None
    assert len(known) == 0
