"""10,000 endpoints and 1,000 policies that let in what is in a network set: the start, and then the local ones go.

Every policy concerns one of 100 groups and names a network set of its own, of 20 networks; of the endpoints 200 are
here. Measured are the whole start (from etcd's bytes to the kernel), the deletion of the local endpoints one by one and
all in one batch. Baseline: decoding the same JSON into dictionaries with msgspec, and nothing else. All times are
processor time. Needs root.
"""

from __future__ import annotations

import asyncio
import random
import time

import msgspec
from rig import documents, report

from calico_openstack.etcd.values import Event
from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.datastore import Datastore
from calico_openstack.felix.kernel.nft import NftTables
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.model.names import sg_label
from calico_openstack.testing.compute_host import own_namespace

NETS = 20


def cloud(endpoints: int, local: int, policies: int, groups: int) -> list[Event]:
    chance = random.Random(7)
    found = [
        documents.endpoint(n, documents.HERE if n < local else f"host-{n % documents.HOSTS}", [n % groups])
        for n in range(endpoints)
    ]
    for number in range(policies):
        label = f"networks-{number}"
        nets = [f"172.{chance.randrange(256)}.{chance.randrange(256)}.0/24" for _ in range(NETS)]
        selector = f"has({sg_label(documents.group_id(number % groups))})"
        found += [documents.set_policy(number, selector, label), documents.network_set(number, label, nets)]
    chance.shuffle(found)
    return [Event(*document, 1) for document in found]


class Host:
    """Calculation, rendering and kernel of one host, in the namespace of the caller."""

    def __init__(self) -> None:
        self.store = Datastore(Graph(documents.HERE))
        self.renderer = RulesetRenderer(RulesetSettings())
        self.kernel = NftTables()

    def take(self, events: list[Event]) -> int:
        asyncio.run(self.store.take_batch(events))
        operations = self.renderer.apply(self.store.graph.flush())
        self.kernel.apply(operations)
        return len(operations)


def start(events: list[Event]) -> None:
    with own_namespace():
        host = Host()
        host.take(events)
        host.kernel.close()


def main() -> None:
    small = report.small(__doc__)
    endpoints, local, policies, groups, rounds = (500, 10, 50, 5, 1) if small else (10_000, 200, 1000, 100, 5)
    events = cloud(endpoints, local, policies, groups)
    gone = [Event(documents.endpoint(n, documents.HERE, []).key, None, 2) for n in range(local)]
    times = report.in_turns(
        rounds,
        {
            "decoded into dictionaries (baseline)": lambda: [msgspec.json.decode(one.value or b"") for one in events],
            "from etcd's bytes to the kernel": lambda: start(events),
        },
    )
    for _ in range(rounds):
        with own_namespace():
            host = Host()
            host.take(events)
            half = len(gone) // 2
            for name, batches in (
                (f"{half} local endpoints go, one by one", [[one] for one in gone[:half]]),
                (f"the other {len(gone) - half} go, in one batch", [gone[half:]]),
            ):
                began = time.process_time()
                for batch in batches:
                    host.take(batch)
                times.setdefault(name, []).append(time.process_time() - began)
            left = chains(host.renderer)
            assert not host.kernel.synchronise(host.renderer.full()), "the kernel is not as rendered"
            host.kernel.close()
    report.show(f"{endpoints} endpoints ({local} here), {policies} policies with network sets of {NETS}:", times)
    print(f"  chains left: {left}; without any endpoint: {chains(RulesetRenderer(RulesetSettings()))}")


def chains(renderer: RulesetRenderer) -> int:
    return sum(len(content.chains) for content in renderer.full().values())


if __name__ == "__main__":
    main()
