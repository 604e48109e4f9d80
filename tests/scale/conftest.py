"""The benchmarks' own modules (`rig`) can be imported; a namespace for who needs one."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from calico_openstack.testing.compute_host import own_namespace

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture
def namespace() -> Iterator[None]:
    with own_namespace():
        yield
