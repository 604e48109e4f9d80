"""How documents are taken in."""

import asyncio
import gc
import json

from structlog.testing import capture_logs

from calico_openstack.etcd.values import Event
from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.datastore import Datastore
from calico_openstack.felix.wanted.state import Changes
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import ResourceKey
from calico_openstack.model.names import endpoint_name

MANY = 2000


def endpoint(number: int) -> Event:
    name = endpoint_name(EndpointKey("openstack", "compute-01", "openstack", "vm", f"port{number}"))
    document = {
        "metadata": {"name": name},
        "spec": {"interfaceName": f"tap{number}", "ipNetworks": [f"10.{number >> 8}.{number & 255}.1/32"]},
    }
    path = ResourceKey("WorkloadEndpoint", name, "openstack").path
    return Event(path, json.dumps(document).encode(), mod_revision=number + 1)


def test_half_a_large_batch_is_not_told() -> None:
    store = Datastore(Graph("compute-01"))
    told: list[Changes] = []

    async def take_in() -> None:
        taking = asyncio.create_task(store.take_batch([endpoint(number) for number in range(MANY)]))
        while not taking.done():
            told.append(store.news())
            await asyncio.sleep(0)
        told.append(store.news())

    asyncio.run(take_in())

    assert len(told) > 3, "the batch was taken in without a pause"
    assert [len(changes.endpoints) for changes in told if changes] == [MANY]


def test_an_endpoint_that_was_another_hosts_is_told_once_with_the_batch() -> None:
    store = Datastore(Graph("compute-01"))
    there = endpoint_name(EndpointKey("openstack", "compute-02", "openstack", "vm", "port7"))
    path = ResourceKey("WorkloadEndpoint", there, "openstack").path

    store.take([Event(path, b"{}", mod_revision=1), Event(path, None, mod_revision=2), endpoint(7), endpoint(8)])

    assert {key.endpoint for key in store.news().came} == {"port7"}
    assert store.news().came == set()


def test_the_collector_of_cycles_rests_while_a_large_batch_is_taken_in() -> None:
    store = Datastore(Graph("compute-01"))
    rested: set[bool] = set()

    async def take_in() -> None:
        taking = asyncio.create_task(store.take_batch([endpoint(number) for number in range(MANY)]))
        await asyncio.sleep(0)
        while not taking.done():
            rested.add(not gc.isenabled())
            await asyncio.sleep(0)

    asyncio.run(take_in())

    assert rested == {True}
    assert gc.isenabled()


def test_policies_in_a_tier_that_is_not_there_are_named_until_it_is() -> None:
    store = Datastore(Graph("compute-01"))
    policy = ResourceKey("GlobalNetworkPolicy", "gone.p").path
    tier = ResourceKey("Tier", "gone").path
    content = b'{"metadata": {"name": "gone.p"}, "spec": {"tier": "gone", "selector": "all()", "ingress": []}}'
    with capture_logs() as lines:
        for revision in (1, 2):
            store.take([Event(policy, content, revision)])
            store.news()

    assert store.complaints == {policy: f"{policy}: its tier gone does not exist"}
    assert [(line["event"], line["key"]) for line in lines] == [("policy.closed", policy)]

    with capture_logs() as lines:
        store.take([Event(tier, b'{"metadata": {"name": "gone"}, "spec": {"order": 1}}', mod_revision=3)])
        store.news()
    assert store.complaints == {}
    assert [(line["event"], line["key"]) for line in lines] == [("policy.in_force", policy)]
