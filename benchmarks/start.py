"""How long Felix needs from a whole cloud in etcd to a ruleset in the kernel, and how much memory.

100,000 endpoints, 200 of them here, in 10,000 security groups of five rules each. Every stage begins anew with the
bytes as etcd holds them; the stages take turns. Times are processor time. Their baseline: decoding the same JSON into
dictionaries with msgspec, and nothing else. Baseline of the memory: the bytes of keys and documents. Needs root.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import statistics
from collections.abc import Callable
from multiprocessing.connection import Connection

import msgspec
from rig import documents, report

from calico_openstack.etcd.values import Event
from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.datastore import Datastore
from calico_openstack.felix.kernel.nft import NftTables
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import Changes
from calico_openstack.model import intake
from calico_openstack.testing.compute_host import own_namespace


def plain(events: list[Event]) -> object:
    return [msgspec.json.decode(event.value or b"null") for event in events]


def checked(events: list[Event]) -> object:
    return [intake.read(event.key, event.value or b"") for event in events]


def calculated(events: list[Event]) -> tuple[Datastore, Changes]:
    store = Datastore(Graph(documents.HERE))
    asyncio.run(store.take_batch(events))
    return store, store.graph.flush()


def rendered(events: list[Event]) -> object:
    _, changes = calculated(events)
    return RulesetRenderer(RulesetSettings()).apply(changes)


def applied(events: list[Event]) -> int:
    """The bytes of the ruleset's transaction do not matter; that it was taken does."""
    _, changes = calculated(events)
    with own_namespace(), NftTables() as kernel:
        operations = RulesetRenderer(RulesetSettings()).apply(changes)
        kernel.apply(operations)
        return len(operations)


def resident() -> int:
    """Bytes of this process that are in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def grown(what: Callable[[list[Event]], object], endpoints: int, groups: int, local: int) -> int:
    """Bytes by which a new process grows when it makes this from the cloud's bytes and keeps it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_grow, args=(theirs, what, endpoints, groups, local))
    process.start()
    size: int = ours.recv()
    process.join()
    return size


def _grow(pipe: Connection, what: Callable[[list[Event]], object], endpoints: int, groups: int, local: int) -> None:
    events = [Event(*document, 1) for document in documents.cloud(endpoints, groups, local)]
    gc.collect()
    before = resident()
    kept = what(events)
    gc.collect()
    pipe.send(resident() - before)
    del kept


def main() -> None:
    small = report.small(__doc__)
    endpoints, groups, local, rounds = (2000, 200, 20, 1) if small else (100_000, 10_000, 200, 3)
    events = [Event(*document, 1) for document in documents.cloud(endpoints, groups, local)]
    _, changes = calculated(events)
    members = sum(map(len, changes.sets.values()))
    print(f"{endpoints} endpoints ({local} here), {groups} groups. Of concern here: {len(changes.policies)} policies,")
    print(f"{len(changes.sets)} sets with {members} members; {applied(events)} operations in one transaction")
    del changes
    times = report.in_turns(
        rounds,
        {
            "decoded into dictionaries (baseline)": lambda: plain(events),
            "decoded and checked": lambda: checked(events),
            "... and calculated (what this host needs)": lambda: calculated(events),
            "... and rendered": lambda: rendered(events),
            "... and taken by the kernel": lambda: applied(events),
        },
    )
    report.show("from etcd's bytes:", times)
    _, read, known, drawn, done = map(statistics.median, times.values())
    parts = {"reading and checking": read, "calculating": known - read, "rendering": drawn - known}
    report.shares("where the time goes (the rest is encoding and the kernel)", parts, done)
    raw = sum(len(event.key) + len(event.value or b"") for event in events)
    print("memory:")
    for name, size in (
        ("bytes in etcd (baseline)", raw),
        ("dictionaries", grown(plain, endpoints, groups, local)),
        ("Felix's state", grown(calculated, endpoints, groups, local)),
    ):
        print(f"  {name:<46} {size / endpoints:7.0f} bytes per endpoint  x{size / raw:.2f}")


if __name__ == "__main__":
    main()
