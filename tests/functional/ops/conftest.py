"""The operator's command as a process, in the network namespace of the test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from calico_openstack.testing.compute_host import Host, own_namespace
from calico_openstack.testing.etcd_server import EtcdServer

Verb = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def verb() -> Verb:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        code = "from calico_openstack.ops.main import main; main()"
        clean = {name: value for name, value in os.environ.items() if not name.upper().startswith("FELIX_")}
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env={**clean, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdServer]:
    with EtcdServer() as server:
        yield server


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with own_namespace():
        made = Host(tmp_path)
        try:
            made.etcd.start()
            yield made
        finally:
            made.close()
            if made.log.exists():
                print(made.log.read_text()[-4000:])
