"""The chores under neutron-periodic-workers, as in production; and a port's life in a database of one writer."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
from oslo_utils import uuidutils

from calico_openstack.model.keys import ElectionKey, HostStatusKey
from calico_openstack.testing.etcd_server import EtcdServer


@pytest.fixture
def stopped_neutron(tmp_path: Path, sqlite_template: Path, etcd: EtcdServer, neutron_class: Any) -> Any:
    made = neutron_class(tmp_path, sqlite_template, etcd)
    path = tmp_path / "neutron.conf"
    path.write_text(path.read_text().replace("chores = api", "chores = worker"))
    yield made
    made.client.close()


def test_the_worker_leads_lists_agents_and_resigns_when_it_is_stopped(stopped_neutron: Any, binaries: Path) -> None:
    neutron = stopped_neutron
    with neutron.log.open("ab") as log:
        process = subprocess.Popen(
            [str(binaries / "neutron-periodic-workers"), "--config-file", str(neutron.directory / "neutron.conf")],
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
            stdout=log,
            stderr=log,
        )
    try:
        host = f"host-{uuidutils.generate_uuid()[:8]}"
        report = {"time": "2026-11-21T02:00:00Z", "uptime": 1.5, "first_update": True}
        neutron.client.put(HostStatusKey(None, host).path, json.dumps(report).encode())

        def listed() -> Any:
            assert process.poll() is None, neutron.log.read_text()[-3000:]
            with sqlite3.connect(f"file:{neutron.directory}/neutron.sqlite?mode=ro", uri=True) as database:
                return database.execute("select binary from agents where host = ?", (host,)).fetchall()

        neutron.wait(lambda: listed() == [("calico-felix",)], 90, "the agent's row")
        assert neutron.client.get(ElectionKey(None).path) is not None
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    neutron.wait(lambda: neutron.client.get(ElectionKey(None).path) is None, 10, "the leader resigned")
