"""An etcd in memory, for tests without a server: the real clients over a pretended wire.

    fake = FakeEtcd()
    client = fake.blocking()          # a BlockingClient
    client = fake.aio()               # an AsyncClient; both see the same keys

Retry, paging, watching and signing in are those of production, since only the transport is replaced. Faults:
`stop` and `start` (data is kept, as after a restart), `fail` (the next calls fail), `lose` (the next calls are
done, but the answer is lost), `forget_tokens`, `forbid`, and `advance` for the clock of leases. Thread-safe.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from calico_openstack.etcd import wire
from calico_openstack.etcd.aio import AsyncClient
from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.steps import Call, Open, RpcFault
from calico_openstack.etcd.values import EtcdSettings
from calico_openstack.etcd.wire import Message
from calico_openstack.testing.etcd_store import EtcdStore

ENDPOINT = "http://fake:2379"
REVISIONS_PER_ANSWER = 1000
"""A lagging watcher gets as many revisions in one answer (etcd: watchBatchMaxRevs)."""
EVENTS_PER_FRAGMENT = 400
_LOOK = 0.05


class FakeEtcd:
    def __init__(self) -> None:
        self._ahead = 0.0
        self.store = EtcdStore(lambda: time.monotonic() + self._ahead)
        self.changed = threading.Condition(threading.RLock())
        self.calls: list[str] = []
        self._up = True
        self._faults: deque[tuple[RpcFault, bool]] = deque()
        self._streams: list[_Stream] = []

    def settings(self, **changes: Any) -> EtcdSettings:
        return EtcdSettings(**{"endpoints": (ENDPOINT,), "timeout": 2.0, **changes})

    def blocking(self, **changes: Any) -> BlockingClient:
        return BlockingClient(self.settings(**changes), _BlockingTransport(self))

    def aio(self, **changes: Any) -> AsyncClient:
        return AsyncClient(self.settings(**changes), _AsyncTransport(self))

    # Faults

    def stop(self) -> None:
        """As if killed: streams break, calls fail, tokens are forgotten; keys stay."""
        with self.changed:
            self._up = False
            self.store.forget_tokens()
            self.drop_streams()

    def start(self) -> None:
        with self.changed:
            self._up = True

    def drop_streams(self) -> None:
        """Break every watch, as a lost connection does."""
        with self.changed:
            for stream in self._streams:
                stream.broken = RpcFault("UNAVAILABLE", "Socket closed")
            self._streams.clear()
            self._notify()

    def fail(self, times: int = 1, code: str = "UNAVAILABLE", details: str = "etcdserver: no leader") -> None:
        """The next calls fail and do nothing."""
        self._faults.extend([(RpcFault(code, details), False)] * times)

    def lose(self, times: int = 1) -> None:
        """The next calls are carried out, but their answers get lost."""
        self._faults.extend([(RpcFault("UNAVAILABLE", "Socket closed"), True)] * times)

    def forget_tokens(self) -> None:
        with self.changed:
            self.store.forget_tokens()

    def forbid(self, *prefixes: str) -> None:
        """Keys under these prefixes may not be touched by anybody (no argument: all may)."""
        self.store.forbidden = tuple(prefix.encode() for prefix in prefixes)

    def advance(self, seconds: float) -> None:
        """Let time pass for leases."""
        with self.changed:
            self._ahead += seconds
            self.store.expire()
            self._notify()

    # The wire

    def call(self, call: Call) -> Message:
        with self.changed:
            self._check_up()
            self.calls.append(call.method.path.rpartition("/")[2])
            fault, done = self._faults.popleft() if self._faults else (None, True)
            answer = self.store.handle(call.method.path, call.request, call.token) if done else None
            self._notify()
            if fault is not None:
                raise fault
            return answer

    def open(self, request: Open) -> _Stream:
        with self.changed:
            self._check_up()
            stream = _Stream(self, request)
            self._streams.append(stream)
            return stream

    def close_stream(self, stream: _Stream) -> None:
        with self.changed:
            if stream in self._streams:
                self._streams.remove(stream)
            stream.broken = RpcFault("CANCELLED", "cancelled by the client")
            self._notify()

    def _check_up(self) -> None:
        if not self._up:
            raise RpcFault("UNAVAILABLE", "failed to connect")

    def _notify(self) -> None:
        self.changed.notify_all()
        for stream in self._streams:
            stream.wake()


class _Watcher:
    def __init__(self, request: Message, revision: int) -> None:
        self.id = request.watch_id
        self.start, self.end = request.key, request.range_end
        self.next = request.start_revision or revision + 1
        self.created = False


class _Stream:
    """One watch stream. Answers are made when they are fetched, so a slow reader costs no memory, as with etcd."""

    def __init__(self, fake: FakeEtcd, request: Open) -> None:
        self._fake = fake
        self._token = request.token
        self._watchers = [_Watcher(message.create_request, fake.store.revision) for message in request.requests]
        self._ready: deque[Message] = deque()
        self.broken: RpcFault | None = None
        self.on_wake: Callable[[], None] | None = None

    def wake(self) -> None:
        if self.on_wake is not None:
            self.on_wake()

    def poll(self) -> Message | None:
        """The next message, or None. Raises `RpcFault` when the stream is broken. Call with the lock held."""
        if self.broken is not None:
            raise self.broken
        self._fake.store.expire()
        if not self._ready:
            for watcher in self._watchers:
                self._ready.extend(self._advance(watcher))
                if self._ready:
                    break
        return self._ready.popleft() if self._ready else None

    def _advance(self, watcher: _Watcher) -> list[Message]:
        store = self._fake.store
        if not watcher.created:
            watcher.created = True
            try:
                store.check_token(self._token)
                if store.forbidden and watcher.start.startswith(store.forbidden):
                    raise RpcFault("PERMISSION_DENIED", "etcdserver: permission denied")
            except RpcFault:
                # etcd 3.4 says "permission denied" for a bad token, too.
                return [
                    self._message(watcher, created=True, canceled=True, cancel_reason="etcdserver: permission denied")
                ]
            return [self._message(watcher, created=True)]
        if watcher.next <= store.compacted:
            watcher.next = 2**62
            return [self._message(watcher, canceled=True, compact_revision=store.compacted)]
        if watcher.next > store.revision:
            return []
        last = min(store.revision, watcher.next + REVISIONS_PER_ANSWER - 1)
        events = [
            event
            for revision in range(watcher.next, last + 1)
            for event in store.events(revision, watcher.start, watcher.end)
        ]
        watcher.next = last + 1
        parts = [events[i : i + EVENTS_PER_FRAGMENT] for i in range(0, len(events), EVENTS_PER_FRAGMENT)]
        return [
            self._message(watcher, events=part, fragment=number < len(parts)) for number, part in enumerate(parts, 1)
        ]

    def _message(self, watcher: _Watcher, **fields: Any) -> Message:
        return wire.new("WatchResponse", header=self._fake.store.header(), watch_id=watcher.id, **fields)


class _BlockingTransport:
    def __init__(self, fake: FakeEtcd) -> None:
        self._fake = fake

    def call(self, call: Call) -> Message:
        return self._fake.call(call)

    def open(self, request: Open) -> _BlockingStream:
        return _BlockingStream(self._fake, self._fake.open(request))

    def close(self) -> None:
        pass


class _BlockingStream:
    def __init__(self, fake: FakeEtcd, stream: _Stream) -> None:
        self._fake = fake
        self._stream = stream

    def receive(self, timeout: float | None) -> Message:
        with self._fake.changed:
            while (message := self._stream.poll()) is None:
                self._fake.changed.wait(_LOOK)
            return message

    def cancel(self) -> None:
        self._fake.close_stream(self._stream)


class _AsyncTransport:
    def __init__(self, fake: FakeEtcd) -> None:
        self._fake = fake

    async def call(self, call: Call) -> Message:
        await asyncio.sleep(0)
        return self._fake.call(call)

    async def open(self, request: Open) -> _AsyncStream:
        return _AsyncStream(self._fake, self._fake.open(request))

    async def close(self) -> None:
        pass


class _AsyncStream:
    def __init__(self, fake: FakeEtcd, stream: _Stream) -> None:
        self._fake = fake
        self._stream = stream
        self._woken = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(self._woken.set)
            except RuntimeError:
                # The loop has ended; nobody waits any more.
                pass

        stream.on_wake = wake

    async def receive(self, timeout: float | None) -> Message:  # noqa: ASYNC109 - the protocol's signature
        while True:
            self._woken.clear()
            with self._fake.changed:
                message = self._stream.poll()
            if message is not None:
                return message
            try:
                async with asyncio.timeout(_LOOK):
                    await self._woken.wait()
            except TimeoutError:
                pass

    def cancel(self) -> None:
        self._fake.close_stream(self._stream)
