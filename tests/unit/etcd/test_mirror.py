"""The task of a mirror: what its consumer is told when the task itself breaks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from calico_openstack.etcd import mirror
from calico_openstack.etcd.mirror_state import Batch, Listing
from calico_openstack.etcd.steps import Deliver, Pause, Steps
from calico_openstack.etcd.values import Event, WatchBatch
from calico_openstack.testing.fake_etcd import FakeEtcd


def breaks_after_a_change(*_: Any) -> Steps[None]:
    yield Deliver(Listing(7))
    yield Pause(0)
    yield Deliver(WatchBatch("/", [Event("/a", b"x", 8)], 8))
    raise RuntimeError("a bug")


def test_a_mirror_that_breaks_while_a_batch_waits_tells_its_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "mirror", breaks_after_a_change)
    taken: list[Batch] = []

    async def follow() -> None:
        async with asyncio.timeout(10):
            async for batch in mirror.AsyncMirror(FakeEtcd().aio(), "/").batches():
                taken.append(batch)
                # Busy until the task has ended.
                others = asyncio.all_tasks() - {asyncio.current_task()}
                await asyncio.gather(*others, return_exceptions=True)

    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(follow())
    assert [batch.revision for batch in taken] == [7, 8]
