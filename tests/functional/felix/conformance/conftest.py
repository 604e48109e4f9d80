"""One compute host with three guests for all tests of a file; each test finds it as at the start."""

from collections.abc import Iterator

import pytest

from calico_openstack.testing.trio import Trio
from calico_openstack.testing.trio import trio as trio_of_settings


@pytest.fixture(scope="module")
def made() -> Iterator[Trio]:
    with trio_of_settings() as one:
        yield one


@pytest.fixture
def trio(made: Trio) -> Iterator[Trio]:
    yield made
    made.fresh()
