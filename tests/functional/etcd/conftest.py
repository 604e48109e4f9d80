"""A store to talk to, pretended or real, through either client: the same suite runs on all four pairs."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from calico_openstack.etcd.aio import AsyncClient
from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.values import EtcdSettings
from calico_openstack.testing.etcd_server import EtcdServer
from calico_openstack.testing.fake_etcd import FakeEtcd

_numbers = itertools.count(1)


class Loop:
    """An event loop on a thread, so that a test without `await` can use an asyncio client."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Any, timeout: float = 60) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


class Driven:
    """An AsyncClient with the calls of a BlockingClient."""

    def __init__(self, client: AsyncClient, loop: Loop) -> None:
        self.async_client = client
        self._loop = loop

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.async_client, name)
        return lambda *arguments, **named: self._loop.run(method(*arguments, **named))

    def watch(self, *arguments: Any) -> DrivenWatch:
        return DrivenWatch(self.async_client.watch(*arguments), self._loop)


class DrivenWatch:
    def __init__(self, watch: Any, loop: Loop) -> None:
        self._watch = watch
        self._loop = loop

    def __iter__(self) -> DrivenWatch:
        return self

    def __next__(self) -> Any:
        try:
            return self._loop.run(anext(self._watch))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        self._loop.run(self._watch.aclose())


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="session")
def shared_server() -> Iterator[EtcdServer]:
    with EtcdServer() as server:
        yield server


@pytest.fixture
def server() -> Iterator[EtcdServer]:
    """A server of the test's own, to be killed and frozen."""
    with EtcdServer() as server:
        yield server


@pytest.fixture(params=["fake", "real"])
def settings_and_clients(request: pytest.FixtureRequest, loop: Loop) -> tuple[Any, Any]:
    """How to make a blocking and an asyncio client of one store."""
    if request.param == "fake":
        fake = FakeEtcd()
        return fake.blocking, fake.aio
    settings = EtcdSettings((request.getfixturevalue("shared_server").endpoint,))
    return (lambda: BlockingClient(settings)), (lambda: AsyncClient(settings))


@pytest.fixture(params=["blocking", "asyncio"])
def client(request: pytest.FixtureRequest, settings_and_clients: tuple[Any, Any], loop: Loop) -> Iterator[Any]:
    blocking, aio = settings_and_clients
    client = blocking() if request.param == "blocking" else Driven(aio(), loop)
    yield client
    client.close()


@pytest.fixture
def drive(loop: Loop) -> Callable[[AsyncClient], Driven]:
    """Lend an asyncio client the calls of a blocking one."""
    return lambda client: Driven(client, loop)


@pytest.fixture
def root() -> str:
    """A prefix that no other test uses."""
    return f"/test{next(_numbers)}/"
