"""What Felix tells Neutron: that this host lives, and which endpoints are up.

    <region>/host/<host>/status                  with a lease: "I am alive, and my apply loop moves"
    <region>/host/<host>/last_reported_status    the same for people, without a lease
    <region>/host/<host>/workload/...            up | down, one key per living endpoint of this host

The host's word comes from the apply loop's heartbeat: when that stands still, so does the report, and the lease runs
out. Endpoint words are written many in one transaction, compared with a mirror of our own keys: a restart writes
nothing that is right already, a key that somebody deletes comes back, one that nobody lives behind goes away. Never
`error`: that would fail a boot in Nova for good.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Container, Set
from datetime import UTC, datetime

from calico_openstack.daemon.logs import get_logger
from calico_openstack.etcd.aio import AsyncClient
from calico_openstack.etcd.errors import EtcdError
from calico_openstack.etcd.lease import AsyncKeptKey
from calico_openstack.etcd.mirror import AsyncMirror
from calico_openstack.etcd.values import Delete, Operation, Put
from calico_openstack.felix.status_queue import StatusQueue, Word
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import (
    EndpointStatusKey,
    HostStatusKey,
    LastHostStatusKey,
    parse_key,
    status_prefix,
)
from calico_openstack.model.status import EndpointStatus, HostStatus, encode_status, read_endpoint_status

log = get_logger("felix.status")

_AT_ONCE = 100
_PAUSE = 1.0
_CHECK = 180.0


class HostReporter:
    """Reports the host every `interval` seconds, as long as `alive()`; the key lives for `ttl` seconds."""

    def __init__(
        self, client: AsyncClient, region: str | None, host: str, interval: float, ttl: float, alive: Callable[[], bool]
    ) -> None:
        self._client = client
        self._key = AsyncKeptKey(client, HostStatusKey(region, host).path, max(1, round(ttl)))
        self._last = LastHostStatusKey(region, host).path
        self._interval = interval
        self._alive = alive
        self._started = time.monotonic()
        self._first = True

    async def run(self) -> None:
        """For ever. The first report comes at once, so call it when the first apply is done."""
        while True:
            pause = self._interval
            if not self._alive():
                log.error("host.silent", reason="the apply loop does not move")
            else:
                try:
                    await self._report()
                except EtcdError as error:
                    log.warning("host.unreported", reason=str(error))
                    pause = min(pause, 5.0)
            await asyncio.sleep(pause)

    async def _report(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        uptime = round(time.monotonic() - self._started, 2)
        value = encode_status(HostStatus(time=now, uptime=uptime, first_update=self._first))
        await self._key.write(value)
        self._first = False
        await self._client.put(self._last, value)


class EndpointReporter:
    """Keeps the status keys of this host's endpoints as they should be."""

    def __init__(self, client: AsyncClient, region: str | None, host: str) -> None:
        self._client = client
        self._region = region
        self._queue = StatusQueue()
        self._prefix = f"{status_prefix(region)}{host}/workload/"
        self._mirror = AsyncMirror(client, self._prefix)
        self._news = asyncio.Event()
        self._listed = asyncio.Event()
        self._living: set[EndpointKey] = set()

    def say(self, key: EndpointKey, up: bool) -> None:
        """The dataplane says so."""
        if key in self._living:
            self._queue.say(key, "up" if up else "down")
            self._news.set()

    def exist(self, living: Set[EndpointKey], programmed: Container[EndpointKey]) -> None:
        """These endpoints of this host exist. What is not `programmed` is down; the dataplane speaks for the rest."""
        self._living = set(living)
        for key in self._queue.said():
            if key not in living:
                self._queue.say(key, None)
        for key in living:
            if key not in programmed:
                self._queue.say(key, "down")
        self._news.set()

    def complete(self) -> None:
        """The first apply is done and has been spoken of."""
        self._queue.complete()
        self._news.set()

    async def follow(self) -> None:
        """For ever: learn what etcd has."""
        async for batch in self._mirror.batches():
            for event in batch.events:
                key = parse_key(event.key)
                if isinstance(key, EndpointStatusKey):
                    self._queue.found(key.endpoint, _word(event.value), event.mod_revision)
            self._listed.set()
            self._news.set()

    async def check(self) -> None:
        """For ever: compare with the store itself now and then. The mirror leaves out what came and went between two
        looks, and so may never tell of a key that somebody deleted right after we wrote it.
        """
        while True:
            await asyncio.sleep(_CHECK)
            try:
                snapshot = await self._client.snapshot(self._prefix)
            except EtcdError:
                continue
            there = {
                key.endpoint: item
                for item in snapshot.items
                if isinstance(key := parse_key(item.key), EndpointStatusKey)
            }
            for endpoint in self._queue.said():
                item = there.get(endpoint)
                self._queue.found(endpoint, _word(item.value if item else None), snapshot.revision)
            self._news.set()

    async def write(self) -> None:
        """For ever: say what is to be said. Start it when the first apply is done."""
        await self._listed.wait()
        while True:
            await self._news.wait()
            self._news.clear()
            while words := self._queue.round():
                said = list(words.items())
                for start in range(0, len(said), _AT_ONCE):
                    await self._write(dict(said[start : start + _AT_ONCE]))

    async def _write(self, words: dict[EndpointKey, Word]) -> None:
        operations: list[Operation] = []
        for key, word in words.items():
            path = EndpointStatusKey(self._region, key).path
            operations.append(Delete(path) if word is None else Put(path, encode_status(EndpointStatus(status=word))))
        try:
            result = await self._client.txn((), operations)
        except EtcdError as error:
            log.warning("endpoints.unreported", endpoints=len(words), reason=str(error))
            await asyncio.sleep(_PAUSE)
            return
        self._queue.written(words, result.revision)
        log.debug("endpoints.reported", words={key.endpoint: word for key, word in words.items()})


def _word(value: bytes | None) -> Word:
    """What a stored value says; "error" stands for anything unreadable, because we never mean that."""
    if value is None:
        return None
    try:
        return read_endpoint_status(value).status
    except ValueError:
        return "error"
