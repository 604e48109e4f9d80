"""etcd for asyncio: the client of the host agents. Its channels belong to the loop in which the first call is made.

What each call does, raises and promises is written once, in `calls`.
"""

# ruff: noqa: ASYNC109 - `timeout` is etcd's deadline, spent over several attempts, not a scope of cancellation.

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from calico_openstack.etcd import calls, feed
from calico_openstack.etcd.session import Session
from calico_openstack.etcd.steps import (
    Call,
    Close,
    Deliver,
    Effect,
    Fault,
    Now,
    Open,
    Outcome,
    Pause,
    Receive,
    Reply,
    RpcFault,
    Steps,
)
from calico_openstack.etcd.values import (
    Compare,
    EtcdSettings,
    Found,
    KeyValue,
    Operation,
    Snapshot,
    TxnResult,
    WatchBatch,
)
from calico_openstack.etcd.wire import Message

T = TypeVar("T")


class AsyncStream(Protocol):
    """One open watch stream. All raise `RpcFault`."""

    async def receive(self, timeout: float | None) -> Message: ...
    def cancel(self) -> None: ...


class AsyncTransport(Protocol):
    """What carries messages: gRPC (`aio_grpc`), or the fake in `testing.fake_etcd`."""

    async def call(self, call: Call) -> Message: ...
    async def open(self, request: Open) -> AsyncStream: ...
    async def close(self) -> None: ...


class AsyncRun:
    """Drives one generator of the core. Cancel the task to end it."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self._stream: AsyncStream | None = None

    async def drive(self, steps: Steps[T]) -> AsyncIterator[Any]:
        """Iterate over what the core delivers. Ends when the core does."""
        outcome: Outcome | None = None
        try:
            while True:
                try:
                    effect = next(steps) if outcome is None else steps.send(outcome)
                except StopIteration:
                    return
                if isinstance(effect, Deliver):
                    yield effect.item
                    outcome = Reply(time.monotonic())
                else:
                    outcome = await self.perform(effect)
        finally:
            self._close()
            steps.close()

    async def finish(self, steps: Steps[T]) -> T:
        """Run to the end and return the result; what is delivered on the way is dropped."""
        outcome: Outcome | None = None
        while True:
            try:
                effect = next(steps) if outcome is None else steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = await self.perform(effect)

    async def perform(self, effect: Effect) -> Outcome:
        message: Message = None
        try:
            match effect:
                case Call():
                    message = await self._transport.call(effect)
                case Receive(timeout):
                    message = await self._stream.receive(timeout) if self._stream else None
                case Open():
                    self._stream = await self._transport.open(effect)
                case Close():
                    self._close()
                case Pause(seconds):
                    await asyncio.sleep(seconds * random.uniform(0.8, 1.2))
                case Now() | Deliver():
                    pass
        except RpcFault as fault:
            return Fault(time.monotonic(), fault.code, fault.details)
        return Reply(time.monotonic(), message)

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()


class AsyncClient:
    """See `calls` for what each method promises. `timeout`: seconds for the whole call; None = the settings'."""

    def __init__(self, settings: EtcdSettings, transport: AsyncTransport | None = None) -> None:
        if transport is None:
            from calico_openstack.etcd.aio_grpc import GrpcAioTransport

            transport = GrpcAioTransport(settings)
        self.settings = settings
        self.transport = transport
        self.session = Session(settings, first=random.randrange(len(settings.endpoints) or 1))

    async def get(self, key: str, timeout: float | None = None) -> KeyValue | None:
        return await self.run(calls.get(self.session, key, timeout))

    async def get_many(self, keys: Iterable[str], timeout: float | None = None) -> Found:
        return await self.run(calls.get_many(self.session, keys, timeout))

    async def snapshot(
        self, prefixes: str | Sequence[str], revision: int = 0, timeout: float | None = None
    ) -> Snapshot:
        return await self.run(calls.snapshot(self.session, _several(prefixes), revision, timeout))

    async def put(self, key: str, value: bytes, lease: int = 0, timeout: float | None = None) -> int:
        return await self.run(calls.put(self.session, key, value, lease, timeout))

    async def delete(self, key: str, timeout: float | None = None) -> bool:
        return await self.run(calls.delete(self.session, key, timeout))

    async def delete_prefix(self, prefix: str, timeout: float | None = None) -> int:
        return await self.run(calls.delete_prefix(self.session, prefix, timeout))

    async def txn(
        self,
        compares: Sequence[Compare],
        operations: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
        timeout: float | None = None,
    ) -> TxnResult:
        return await self.run(calls.txn(self.session, compares, operations, otherwise, timeout))

    async def grant(self, ttl: int, timeout: float | None = None) -> int:
        return await self.run(calls.grant(self.session, ttl, timeout))

    async def keep_alive(self, lease: int, timeout: float | None = None) -> int:
        return await self.run(calls.keep_alive(self.session, lease, timeout))

    async def lease_ttl(self, lease: int, timeout: float | None = None) -> tuple[int, int]:
        return await self.run(calls.lease_ttl(self.session, lease, timeout))

    async def revoke(self, lease: int, timeout: float | None = None) -> None:
        await self.run(calls.revoke(self.session, lease, timeout))

    async def compact(self, revision: int, timeout: float | None = None) -> None:
        await self.run(calls.compact(self.session, revision, timeout))

    async def watch(
        self, prefixes: str | Sequence[str], start_revision: int | Mapping[str, int] = 0
    ) -> AsyncIterator[WatchBatch]:
        """Changes from `start_revision` on (0 = from now on; a mapping: per prefix). Iterating raises `Compacted`."""
        steps = feed.watch(self.session, _several(prefixes), start_revision)
        async with aclosing(AsyncRun(self.transport).drive(steps)) as items:  # type: ignore[type-var]
            async for item in items:
                if isinstance(item, WatchBatch):
                    yield item

    async def close(self) -> None:
        await self.transport.close()

    async def run(self, steps: Steps[T]) -> T:
        """Drive any steps of this room over this client's session."""
        return await AsyncRun(self.transport).finish(steps)


def _several(prefixes: str | Sequence[str]) -> tuple[str, ...]:
    return (prefixes,) if isinstance(prefixes, str) else tuple(prefixes)
