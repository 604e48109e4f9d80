"""How a snapshot's page size matters, and what a put costs: side by side in one run, against a throw-away etcd.

    python benchmarks/etcd_client.py [keys]

Prints seconds and the ratio to the first line. Machines differ, ratios hardly do.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable

from calico_openstack.etcd import calls
from calico_openstack.etcd.aio import AsyncClient
from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.values import EtcdSettings, Put
from calico_openstack.testing.etcd_server import EtcdServer

VALUE = b"x" * 1200
ROUNDS = 3
PUTS = 500


def fill(client: BlockingClient, keys: int) -> None:
    for begin in range(0, keys, 100):
        client.txn([], [Put(f"/bench/{number:08}", VALUE) for number in range(begin, begin + 100)])


def median(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def snapshots(client: BlockingClient, keys: int) -> None:
    first = 0.0
    for page in (5000, 1000, 250):
        calls.PAGE = page
        took = median(lambda: client.snapshot("/bench/"))
        first = first or took
        print(f"snapshot of {keys} keys, pages of {page:>4}: {took:6.2f} s  x{took / first:.1f}")
    calls.PAGE = 5000


async def async_puts(settings: EtcdSettings) -> float:
    client = AsyncClient(settings)
    times = []
    for _ in range(PUTS):
        began = time.perf_counter()
        await client.put("/put", VALUE)
        times.append(time.perf_counter() - began)
    await client.close()
    return statistics.median(times)


def main() -> None:
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    with EtcdServer() as server:
        settings = EtcdSettings((server.endpoint,))
        client = BlockingClient(settings)
        fill(client, keys)
        snapshots(client, keys)
        blocking = median(lambda: client.put("/put", VALUE), PUTS)
        waiting = asyncio.run(async_puts(settings))
        print(f"put, blocking client: {blocking * 1000:5.2f} ms  x1.0")
        print(f"put, asyncio client:  {waiting * 1000:5.2f} ms  x{waiting / blocking:.1f}")
        client.close()


if __name__ == "__main__":
    main()
