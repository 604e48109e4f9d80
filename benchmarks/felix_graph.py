"""How long Felix thinks: a whole cloud at the start, and one change in it afterwards.

    python benchmarks/felix_graph.py [endpoints=20000] [groups=500] [local=100]

Every endpoint is in three groups, every group lets its own members in; `local` endpoints are here. Prints the median of
`REPEAT` changes. Knows no kernel and no etcd: intake is included, the network is not.
"""

import gc
import json
import random
import resource
import statistics
import sys
import time

from calico_openstack.etcd.values import Event
from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.datastore import Datastore
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import ResourceKey
from calico_openstack.model.names import endpoint_name, security_group_policy_name, sg_label

REPEAT = 200


def endpoint(number: int, host: str, groups: list[str]) -> tuple[str, bytes]:
    port = f"{number:08x}-1111-4000-8000-000000000000"
    key = EndpointKey("openstack", host, "openstack", f"vm-{number}", port)
    labels = {sg_label(group): "name" for group in groups}
    labels |= {"projectcalico.org/namespace": "openstack", "projectcalico.org/orchestrator": "openstack"}
    name = endpoint_name(key)
    document = {
        "kind": "WorkloadEndpoint",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, "namespace": "openstack", "labels": labels},
        "spec": {
            "orchestrator": "openstack",
            "workload": key.workload,
            "node": host,
            "endpoint": port,
            "interfaceName": f"tap{port[:11]}",
            "mac": "fa:16:3e:00:00:01",
            "ipNetworks": [f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/32"],
        },
    }
    return ResourceKey("WorkloadEndpoint", name, "openstack").path, json.dumps(document).encode()


def policy(group: str) -> tuple[str, bytes]:
    name = security_group_policy_name(group)
    selector = f"has({sg_label(group)})"
    document = {
        "kind": "NetworkPolicy",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, "namespace": "openstack"},
        "spec": {
            "selector": selector,
            "ingress": [{"action": "Allow", "ipVersion": 4, "source": {"selector": selector}}],
            "egress": [{"action": "Allow", "ipVersion": 4}],
        },
    }
    return ResourceKey("NetworkPolicy", name, "openstack").path, json.dumps(document).encode()


def main() -> None:
    counts = dict(word.split("=") for word in sys.argv[1:])
    endpoints, groups = int(counts.get("endpoints", 20000)), int(counts.get("groups", 500))
    local = int(counts.get("local", 100))
    chance = random.Random(7)
    ids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(groups)]
    events = [Event(*policy(group), 1) for group in ids]
    events += [
        Event(*endpoint(number, "here" if number < local else f"host-{number % 500}", chance.sample(ids, 3)), 1)
        for number in range(endpoints)
    ]
    chance.shuffle(events)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store = Datastore(Graph("here"))

    start = time.perf_counter()
    store.take(events)
    taken = time.perf_counter() - start
    changes = store.graph.flush()
    flushed = time.perf_counter() - start - taken
    members = sum(map(len, changes.sets.values()))
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

    print(
        f"{endpoints} endpoints, {groups} groups, {local} local: taken in {taken:.2f} s, first flush {flushed:.2f} s,"
    )
    print(f"  {len(changes.policies)} policies, {len(changes.sets)} sets, {members} members, {memory:.0f} MiB more")
    for what, numbers in (("remote", range(local, local + REPEAT)), ("local", range(REPEAT))):
        times = []
        for number in numbers:
            host = "here" if what == "local" else f"host-{number % 500}"
            event = Event(
                *endpoint(number % max(local, 1) if what == "local" else number, host, chance.sample(ids, 3)), 2
            )
            start = time.perf_counter()
            store.take([event])
            store.graph.flush()
            times.append(time.perf_counter() - start)
        print(f"  one {what} endpoint changes its groups: {statistics.median(times) * 1e6:.0f} us")


if __name__ == "__main__":
    main()
