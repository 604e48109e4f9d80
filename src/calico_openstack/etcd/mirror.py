"""A local copy of some prefixes that follows the store: what agents and Neutron's status worker live on.

    async for batch in AsyncMirror(client, [prefix, ...]).batches(): ...
    for batch in BlockingMirror(client, [prefix, ...]): ...

The first batch is everything, at one revision; then come changes, without gap or repetition, for ever: a
restarted, lost or frozen server, an expired token, a compacted history are dealt with inside, and visible in
`health`. A consumer that is busy gets larger batches, not older ones. The thinking is in `mirror_state` and
`feed`; here are a task and a thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing

from calico_openstack.etcd.aio import AsyncClient, AsyncRun
from calico_openstack.etcd.blocking import BlockingClient, Run
from calico_openstack.etcd.feed import Lost, Opened
from calico_openstack.etcd.mirror_state import WAITING_LIMIT, Batch, Health, MirrorState, mirror

__all__ = ["AsyncMirror", "Batch", "BlockingMirror", "Health", "MirrorState"]

log = logging.getLogger(__name__)

OnHealth = Callable[[Health], None]


class _Watched:
    """What both mirrors tell the outside. `on_health` is called at each change, in the mirror's own task or thread."""

    def __init__(self, prefixes: str | Sequence[str], on_health: OnHealth | None) -> None:
        self.prefixes = (prefixes,) if isinstance(prefixes, str) else tuple(prefixes)
        self.health = Health(False, time.monotonic(), "not started")
        self._on_health = on_health

    @property
    def healthy(self) -> bool:
        return self.health.healthy

    @property
    def since(self) -> float:
        """Since when `healthy` is what it is, in monotonic seconds."""
        return self.health.since

    def _note(self, item: object) -> None:
        if isinstance(item, Opened) and not self.health.healthy:
            log.info("following etcd at %s: %s", item.endpoint, ", ".join(self.prefixes))
            self._changed(Health(True, time.monotonic()))
        elif isinstance(item, Lost):
            if self.health.healthy or self.health.reason == "not started":
                log.warning("not following etcd: %s", item.reason)
                self._changed(Health(False, time.monotonic(), item.reason))
            else:
                self.health = Health(False, self.health.since, item.reason)

    def _changed(self, health: Health) -> None:
        self.health = health
        if self._on_health is not None:
            self._on_health(health)


class AsyncMirror(_Watched):
    """For asyncio. Iterate over `batches()` once."""

    def __init__(self, client: AsyncClient, prefixes: str | Sequence[str], on_health: OnHealth | None = None) -> None:
        super().__init__(prefixes, on_health)
        self._client = client
        self._state = MirrorState()
        self._news = asyncio.Event()
        self._taken = asyncio.Event()

    async def batches(self) -> AsyncIterator[Batch]:
        reader = asyncio.create_task(self._read(), name=f"mirror {', '.join(self.prefixes)}")
        reader.add_done_callback(lambda _: self._news.set())
        try:
            while True:
                batch = self._state.take_batch()
                self._taken.set()
                if batch is not None:
                    yield batch
                elif reader.done():
                    reader.result()
                    return
                else:
                    await self._news.wait()
                    self._news.clear()
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self) -> None:
        run = AsyncRun(self._client.transport)
        steps = mirror(self._client.session, self.prefixes, self._state)
        async with aclosing(run.drive(steps)) as items:  # type: ignore[type-var]
            async for item in items:
                self._note(item)
                self._state.apply(item)
                self._news.set()
                while self._state.waiting >= WAITING_LIMIT:
                    self._taken.clear()
                    await self._taken.wait()


class BlockingMirror(_Watched):
    """For threads. Iterate once; `close()` may be called from any thread and ends the iteration."""

    def __init__(
        self, client: BlockingClient, prefixes: str | Sequence[str], on_health: OnHealth | None = None
    ) -> None:
        super().__init__(prefixes, on_health)
        self._state = MirrorState()
        self._client = client
        self._run = Run(client.transport)
        self._changed_state = threading.Condition()
        self._failure: BaseException | None = None
        self._ended = False

    def __iter__(self) -> Iterator[Batch]:
        reader = threading.Thread(target=self._read, name="etcd-mirror", daemon=True)
        reader.start()
        try:
            while True:
                with self._changed_state:
                    batch = self._state.take_batch()
                    while batch is None and not self._ended:
                        self._changed_state.wait()
                        batch = self._state.take_batch()
                    self._changed_state.notify_all()
                if self._run.stopped:
                    return
                if batch is not None:
                    yield batch
                elif self._failure is not None:
                    raise self._failure
        finally:
            self.close()
            reader.join(timeout=5)

    def close(self) -> None:
        self._run.stop()
        with self._changed_state:
            self._ended = True
            self._changed_state.notify_all()

    def _read(self) -> None:
        items = self._run.drive(mirror(self._client.session, self.prefixes, self._state))
        try:
            for item in items:
                self._note(item)
                with self._changed_state:
                    self._state.apply(item)
                    self._changed_state.notify_all()
                    while self._state.waiting >= WAITING_LIMIT and not self._run.stopped:
                        self._changed_state.wait()
        except BaseException as error:
            self._failure = error
            log.exception("the mirror of %s failed", ", ".join(self.prefixes))
        finally:
            with self._changed_state:
                self._ended = True
                self._changed_state.notify_all()
