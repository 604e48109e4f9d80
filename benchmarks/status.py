"""500 endpoints after a start: from the first apply until all of them are `up` in etcd.

A real etcd, our Felix as a process, real taps. Each round Felix is stopped, all status keys are removed, and it starts
again on a kernel that is right already. Baseline: the same 500 puts one after the other, by one client. Needs root.
"""

from __future__ import annotations

import contextlib
import time
from threading import Thread

from rig import documents, report
from rig.host import FelixHost, local_cloud
from rig.wires import Wires

from calico_openstack.etcd.mirror import BlockingMirror
from calico_openstack.model.keys import status_prefix
from calico_openstack.model.status import EndpointStatus, encode_status
from calico_openstack.testing.compute_host import eventually, own_namespace


class Seen:
    """When each status key appeared."""

    def __init__(self, host: FelixHost) -> None:
        self.times: dict[str, float] = {}
        self._mirror = BlockingMirror(host.client, f"{status_prefix(None)}{documents.HERE}/workload/")
        Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        for batch in self._mirror:
            now = time.perf_counter()
            for event in batch.events:
                if event.value is None:
                    self.times.pop(event.key, None)
                elif b'"up"' in event.value:
                    self.times[event.key] = now

    def close(self) -> None:
        self._mirror.close()


def main() -> None:
    endpoints, rounds = (20, 2) if report.small(__doc__) else (500, 5)
    times: dict[str, list[float]] = {"one put after the other (baseline)": []}
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_namespace())
        wires = Wires(range(endpoints))
        stack.callback(wires.close)
        host = FelixHost()
        stack.callback(host.close)
        host.write(local_cloud(endpoints))
        host.start()
        host.until_up(endpoints)
        seen = Seen(host)
        stack.callback(seen.close)
        eventually(lambda: len(seen.times) == endpoints)
        value = encode_status(EndpointStatus(status="up"))
        for _ in range(rounds):
            host.stop()
            keys = list(seen.times)
            _remove(host, seen)
            began = time.perf_counter()
            for key in keys:
                host.client.put(key, value)
            times["one put after the other (baseline)"].append(time.perf_counter() - began)
            eventually(lambda: len(seen.times) == endpoints)
            _remove(host, seen)
            began = time.perf_counter()
            host.start()
            host.until_applied()
            applied = time.perf_counter()
            eventually(lambda: len(seen.times) == endpoints, within=60)
            last = max(seen.times.values())
            for name, taken in (
                ("first apply to last status", last - applied),
                ("start of the process to last status", last - began),
            ):
                times.setdefault(name, []).append(taken)
    report.show(f"{endpoints} endpoints up in etcd, {rounds} rounds:", times)


def _remove(host: FelixHost, seen: Seen) -> None:
    for key in list(seen.times):
        host.client.delete(key)
    eventually(lambda: not seen.times)


if __name__ == "__main__":
    main()
