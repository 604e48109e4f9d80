import os
from collections.abc import Iterator

import pytest

from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.remove import left_overs, remove


@pytest.fixture
def name() -> Iterator[str]:
    """A sandbox name of this test process; whatever the test leaves of it is removed."""
    name = f"ft{os.getpid()}"
    yield name
    remove(Layout(name))
    assert left_overs(Layout(name)) == []
