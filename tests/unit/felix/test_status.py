"""The reporters against an etcd in memory."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from calico_openstack.felix.status import EndpointReporter, HostReporter
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.testing.fake_etcd import FakeEtcd

HOST = "/calico/felix/v2/no-region/host/h"
A, B = (EndpointKey("openstack", "h", "openstack", "vm", name) for name in "ab")


def path(key: EndpointKey) -> str:
    return f"{HOST}/workload/openstack/openstack%2fvm/endpoint/{key.endpoint}"


def run(scenario: Callable[[FakeEtcd, Any], Awaitable[None]]) -> None:
    async def main() -> None:
        fake = FakeEtcd()
        client = fake.aio()
        try:
            await scenario(fake, client)
        finally:
            await client.close()

    asyncio.run(asyncio.wait_for(main(), 20))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():  # noqa: ASYNC110 - the condition is in etcd
        await asyncio.sleep(0.01)


def test_the_host_reports_with_a_lease_and_marks_the_first_word() -> None:
    async def scenario(fake: FakeEtcd, client: Any) -> None:
        reporter = HostReporter(client, None, "h", interval=0.01, ttl=90, alive=lambda: True)
        task = asyncio.create_task(reporter.run())

        async def second() -> bool:
            found = await client.get(f"{HOST}/status")
            return found is not None and found.version >= 2

        await until(second)
        task.cancel()
        found, last = await client.get(f"{HOST}/status"), await client.get(f"{HOST}/last_reported_status")
        assert found.lease != 0
        assert last.lease == 0
        assert json.loads(found.value)["first_update"] is False

    run(scenario)


def test_the_host_is_silent_while_the_apply_loop_does_not_move() -> None:
    async def scenario(fake: FakeEtcd, client: Any) -> None:
        asked: list[None] = []
        enough = asyncio.Event()

        def alive() -> bool:
            asked.append(None)
            if len(asked) == 3:
                enough.set()
            return False

        task = asyncio.create_task(HostReporter(client, None, "h", 0.01, 90, alive).run())
        await enough.wait()
        task.cancel()
        assert await client.get(f"{HOST}/status") is None

    run(scenario)


def test_endpoints_are_reported_up_down_and_gone_and_strays_are_removed() -> None:
    async def scenario(fake: FakeEtcd, client: Any) -> None:
        stray = EndpointKey("openstack", "h", "openstack", "vm", "stray")
        await client.put(path(stray), b'{"status":"up"}')
        reporter = EndpointReporter(client, None, "h")
        reporter.exist({A, B}, {A})
        reporter.say(A, True)
        reporter.complete()
        tasks = [asyncio.create_task(reporter.follow()), asyncio.create_task(reporter.write())]

        async def stored() -> dict[str, str]:
            items = (await client.snapshot(HOST)).items
            return {item.key.rpartition("/")[2]: json.loads(item.value)["status"] for item in items}

        async def as_said() -> bool:
            return await stored() == {"a": "up", "b": "down"}

        await until(as_said)

        # Etcd fails a few times in the middle of it; the last word gets there all the same.
        fake.fail(2)
        reporter.exist({A}, {A})
        reporter.say(A, False)

        async def last_word() -> bool:
            return await stored() == {"a": "down"}

        await until(last_word)
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    run(scenario)
