"""A compute host with a real etcd and our Felix as a process, in the namespace of the caller.

The cloud's documents are written many in one transaction, before Felix starts.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.values import EtcdSettings, Put
from calico_openstack.model.keys import status_prefix
from calico_openstack.testing.etcd_server import EtcdServer
from rig import documents
from rig.documents import Document

_AT_ONCE = 100


class FelixHost:
    """`start` it when the datastore is as it should be at the start."""

    def __init__(self) -> None:
        self.etcd = EtcdServer()
        self.etcd.start()
        self.client = BlockingClient(EtcdSettings((self.etcd.endpoint,)))
        self._directory = tempfile.TemporaryDirectory(prefix="cob-")
        self.log = Path(self._directory.name, "felix.log")
        self._felix: subprocess.Popen[bytes] | None = None

    def write(self, wanted: Sequence[Document]) -> None:
        for start in range(0, len(wanted), _AT_ONCE):
            self.client.txn([], [Put(*document) for document in wanted[start : start + _AT_ONCE]])

    def start(self, level: str = "info") -> None:
        config = Path(self._directory.name, "felix.cfg")
        config.write_text(
            f"[global]\nFelixHostname = {documents.HERE}\nEtcdEndpoints = {self.etcd.endpoint}\nMetadataAddr = none\n"
            f"HealthEnabled = false\nLogSeverityScreen = {level}\n"
            f"DebugSocketPath = {self._directory.name}/felix.sock\n"
        )
        command = [sys.executable, "-m", "calico_openstack.felix.main", "-c", str(config)]
        with self.log.open("ab") as log:
            self._felix = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        assert self._felix is not None, "not started"
        return self._felix.pid

    def until_applied(self, within: float = 300.0) -> None:
        """Until the first apply is done; read from the log, which costs nobody anything."""
        deadline = time.monotonic() + within
        while "felix.resync" not in self.log.read_text():
            if self._felix is None or self._felix.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Felix did not come up:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.002)

    def until_up(self, endpoints: int, within: float = 120.0) -> None:
        """Until so many endpoints are reported up."""
        deadline = time.monotonic() + within
        prefix = f"{status_prefix(None)}{documents.HERE}/workload/"
        while (up := sum(b'"up"' in item.value for item in self.client.snapshot(prefix).items)) < endpoints:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{up} of {endpoints} endpoints are up:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.02)

    def until_status(self, endpoint: int, there: bool, within: float = 30.0) -> None:
        """Until the endpoint is reported up, or has no status any more."""
        key = documents.status_key(endpoint, documents.HERE)
        deadline = time.monotonic() + within
        while True:
            found = self.client.get(key)
            if (found is not None and b'"up"' in found.value) if there else found is None:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{key}: {found}\n{self.log.read_text()[-3000:]}")
            time.sleep(0.001)

    def quiet(self, seconds: float = 0.3) -> None:
        """Give the echoes of what was done the time to be taken in."""
        time.sleep(seconds)

    def cpu(self) -> float:
        """Seconds of processor time that Felix has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def resident(self) -> int:
        """Bytes of Felix in memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096

    def stop(self) -> None:
        """End Felix; the kernel stays as it is, the log begins anew."""
        if self._felix is not None and self._felix.poll() is None:
            self._felix.terminate()
            self._felix.wait(10)
        self.log.write_text("")

    def close(self) -> None:
        self.stop()
        self.client.close()
        self.etcd.cleanup()
        self._directory.cleanup()


def local_cloud(local: int, groups: int = 10) -> list[Document]:
    """A host's endpoints alone, each in two groups, with what the driver writes first."""
    chosen: Iterable[Document] = (
        documents.endpoint(n, documents.HERE, [n % groups, n // 7 % groups]) for n in range(local)
    )
    return [*documents.preface(), *(documents.policy(group) for group in range(groups)), *chosen]
