"""etcd for threads: the client for Neutron's processes, and for tests and commands.

Safe to share between threads, and to make before a fork: nothing is connected until the first call, and what is
connected belongs to the process id that connected it (uWSGI and neutron fork their workers after loading the
drivers; a gRPC channel does not survive a fork). Its only threads are those that gRPC needs, and a timer while a watch
is being opened.

What each call does, raises and promises is written once, in `calls`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


class Stream(Protocol):
    """One open watch stream. All raise `RpcFault`."""

    def receive(self, timeout: float | None) -> Message: ...
    def cancel(self) -> None: ...


class Transport(Protocol):
    """What carries messages: gRPC (`blocking_grpc`), or the fake in `testing.fake_etcd`."""

    def call(self, call: Call) -> Message: ...
    def open(self, request: Open) -> Stream: ...
    def close(self) -> None: ...


class Run:
    """Drives one generator of the core; `stop` may be called from another thread and ends it soon."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stream: Stream | None = None
        self._stopped = threading.Event()

    def drive(self, steps: Steps[T]) -> Iterator[Any]:
        """Iterate over what the core delivers. Ends when the core does, or after `stop`."""
        outcome: Outcome | None = None
        try:
            while not self._stopped.is_set():
                try:
                    effect = next(steps) if outcome is None else steps.send(outcome)
                except StopIteration:
                    return
                if isinstance(effect, Deliver):
                    yield effect.item
                    outcome = Reply(time.monotonic())
                else:
                    outcome = self.perform(effect)
        finally:
            self._close()
            steps.close()

    def finish(self, steps: Steps[T]) -> T:
        """Run to the end and return the result; what is delivered on the way is dropped."""
        outcome: Outcome | None = None
        while True:
            try:
                effect = next(steps) if outcome is None else steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = self.perform(effect)

    def stop(self) -> None:
        self._stopped.set()
        stream = self._stream
        if stream is not None:
            stream.cancel()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def perform(self, effect: Effect) -> Outcome:
        message: Message = None
        try:
            match effect:
                case Call():
                    message = self._transport.call(effect)
                case Receive(timeout):
                    message = self._stream.receive(timeout) if self._stream else None
                case Open():
                    self._stream = self._transport.open(effect)
                    if self._stopped.is_set():
                        # `stop` came while the stream was being opened and could not see it.
                        self._stream.cancel()
                case Close():
                    self._close()
                case Pause(seconds):
                    self._stopped.wait(seconds * random.uniform(0.8, 1.2))
                case Now() | Deliver():
                    pass
        except RpcFault as fault:
            return Fault(time.monotonic(), fault.code, fault.details)
        return Reply(time.monotonic(), message)

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()


class Watch:
    """An endless iterator of `WatchBatch`, resumed across failures. `close()` works from any thread and ends it."""

    def __init__(self, transport: Transport, steps: Steps[None]) -> None:
        self._run = Run(transport)
        self._items = self._run.drive(steps)

    def __iter__(self) -> Iterator[WatchBatch]:
        return self

    def __next__(self) -> WatchBatch:
        for item in self._items:
            if isinstance(item, WatchBatch):
                return item
        raise StopIteration

    def close(self) -> None:
        self._run.stop()


class BlockingClient:
    """See `calls` for what each method promises. `timeout`: seconds for the whole call; None = the settings'."""

    def __init__(self, settings: EtcdSettings, transport: Transport | None = None) -> None:
        if transport is None:
            from calico_openstack.etcd.blocking_grpc import GrpcTransport

            transport = GrpcTransport(settings)
        self.settings = settings
        self.transport = transport
        self.session = Session(settings, first=random.randrange(len(settings.endpoints) or 1))

    def get(self, key: str, timeout: float | None = None) -> KeyValue | None:
        return self.run(calls.get(self.session, key, timeout))

    def get_many(self, keys: Iterable[str], timeout: float | None = None) -> Found:
        return self.run(calls.get_many(self.session, keys, timeout))

    def snapshot(self, prefixes: str | Sequence[str], revision: int = 0, timeout: float | None = None) -> Snapshot:
        return self.run(calls.snapshot(self.session, _several(prefixes), revision, timeout))

    def put(self, key: str, value: bytes, lease: int = 0, timeout: float | None = None) -> int:
        return self.run(calls.put(self.session, key, value, lease, timeout))

    def delete(self, key: str, timeout: float | None = None) -> bool:
        return self.run(calls.delete(self.session, key, timeout))

    def delete_prefix(self, prefix: str, timeout: float | None = None) -> int:
        return self.run(calls.delete_prefix(self.session, prefix, timeout))

    def txn(
        self,
        compares: Sequence[Compare],
        operations: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
        timeout: float | None = None,
    ) -> TxnResult:
        return self.run(calls.txn(self.session, compares, operations, otherwise, timeout))

    def grant(self, ttl: int, timeout: float | None = None) -> int:
        return self.run(calls.grant(self.session, ttl, timeout))

    def keep_alive(self, lease: int, timeout: float | None = None) -> int:
        return self.run(calls.keep_alive(self.session, lease, timeout))

    def lease_ttl(self, lease: int, timeout: float | None = None) -> tuple[int, int]:
        return self.run(calls.lease_ttl(self.session, lease, timeout))

    def revoke(self, lease: int, timeout: float | None = None) -> None:
        self.run(calls.revoke(self.session, lease, timeout))

    def compact(self, revision: int, timeout: float | None = None) -> None:
        self.run(calls.compact(self.session, revision, timeout))

    def watch(self, prefixes: str | Sequence[str], start_revision: int | Mapping[str, int] = 0) -> Watch:
        """Changes from `start_revision` on (0 = from now on; a mapping: per prefix). Iterating raises `Compacted`."""
        return Watch(self.transport, feed.watch(self.session, _several(prefixes), start_revision))

    def close(self) -> None:
        self.transport.close()

    def run(self, steps: Steps[T]) -> T:
        """Drive any steps of this room over this client's session."""
        return Run(self.transport).finish(steps)


def _several(prefixes: str | Sequence[str]) -> tuple[str, ...]:
    return (prefixes,) if isinstance(prefixes, str) else tuple(prefixes)
