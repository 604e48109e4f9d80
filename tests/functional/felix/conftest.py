"""A compute host in a namespace of its own, and guests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from calico_openstack.testing.compute_host import Guest, Host, own_namespace


@pytest.fixture
def namespace() -> Iterator[None]:
    with own_namespace():
        yield


@pytest.fixture
def guest(namespace: None) -> Iterator[Callable[..., Guest]]:
    made: list[Guest] = []

    def make(tap: str, mac: str, *addresses: str) -> Guest:
        made.append(Guest(tap, mac, *addresses))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def host(namespace: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    made = Host(tmp_path)
    try:
        made.etcd.start()
        yield made
    finally:
        made.close()
        if made.log.exists():
            print(made.log.read_text()[-8000:])
