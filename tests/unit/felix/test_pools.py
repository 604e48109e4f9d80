"""Pools and hosts on their way from documents to the firewall."""

import json
from typing import Any

import pytest

from calico_openstack.etcd.values import Event
from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.datastore import Datastore
from calico_openstack.felix.firewall import everything
from calico_openstack.felix.wanted.state import Changes, Wanted, WantedPool
from calico_openstack.model.keys import ResourceKey
from calico_openstack.model.net import host_net, parse_net


def stored(kind: str, name: str, **spec: Any) -> Event:
    document = {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec}
    return Event(ResourceKey(kind, name).path, json.dumps(document).encode(), 1)


def deleted(kind: str, name: str) -> Event:
    return Event(ResourceKey(kind, name).path, None, 2)


@pytest.fixture
def datastore() -> Datastore:
    return Datastore(Graph("here"))


def test_a_pool_is_told_once_and_its_end_too(datastore: Datastore) -> None:
    pool = stored("IPPool", "guests", cidr="10.65.0.0/16", natOutgoing=True)
    datastore.take([pool])
    assert datastore.news() == Changes(pools={"guests": WantedPool(cidr=parse_net("10.65.0.0/16"), nat_outgoing=True)})

    datastore.take([pool])
    assert not datastore.news()

    datastore.take([deleted("IPPool", "guests")])
    assert datastore.news() == Changes(pools_removed={"guests"})


def test_a_disabled_pool_is_inside_the_cloud_all_the_same(datastore: Datastore) -> None:
    datastore.take([stored("IPPool", "elsewhere", cidr="2001:db8::/32", disabled=True)])

    assert datastore.news().pools == {"elsewhere": WantedPool(cidr=parse_net("2001:db8::/32"))}


def test_a_pool_that_is_not_understood_is_none_and_says_why(datastore: Datastore) -> None:
    event = stored("IPPool", "odd", cidr="10.65.0.0/99")
    datastore.take([event, stored("IPPool", "good", cidr="10.66.0.0/16")])

    assert datastore.news().pools.keys() == {"good"}
    assert datastore.complaints.keys() == {event.key}


def test_a_node_is_a_host_with_addresses_and_still_has_labels(datastore: Datastore) -> None:
    bgp = {"ipv4Address": "192.0.2.7/24", "ipv6Address": "2001:db8:7::7/64"}
    datastore.take([stored("Node", "here", bgp=bgp), stored("Node", "bare")])

    assert datastore.news().hosts == {"here": (host_net("192.0.2.7"), host_net("2001:db8:7::7"))}

    datastore.take([deleted("Node", "here")])
    assert datastore.news() == Changes(hosts_removed={"here"})


def test_everything_that_is_wanted_leads_there() -> None:
    wanted = Wanted(
        pools={"guests": WantedPool(cidr=parse_net("10.65.0.0/16"))}, hosts={"here": (host_net("192.0.2.7"),)}
    )
    other = Wanted()

    other.apply(everything(wanted))

    assert other == wanted
