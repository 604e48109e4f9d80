"""A compute host whose Felix can be harmed by order, four guests, and somebody who never stops to knock."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from calico_openstack.testing.compute_host import Host, own_namespace
from calico_openstack.testing.harmed_felix import VARIABLE, Mishaps


@pytest.fixture
def mishaps(tmp_path: Path) -> Mishaps:
    directory = tmp_path / "mishaps"
    directory.mkdir()
    return Mishaps(directory)


@pytest.fixture
def host(tmp_path: Path, mishaps: Mishaps) -> Iterator[Host]:
    with own_namespace():
        made = Host(tmp_path)
        made.program = "calico_openstack.testing.harmed_felix"
        made.environment = {VARIABLE: str(tmp_path / "mishaps")}
        try:
            made.etcd.start()
            yield made
        finally:
            made.close()
            if made.log.exists():
                print(made.log.read_text()[-8000:])
