"""SQLite with its single writer: what runs beside a request must not stand in its way."""

from __future__ import annotations

import time
from typing import Any


def test_no_request_waits_for_the_check_that_reads_all_ports(neutron: Any, cloud: Any) -> None:
    """Neutron reads a QoS policy of a port on a second connection while the first has a transaction open. A request
    that commits in between would wait for the first, and the second for the request, until SQLite gives up after 30 s.
    """
    policy = neutron.call("POST", "qos/policies", {"policy": {"name": "own"}})["policy"]["id"]
    ports = [cloud.port(qos_policy_id=policy)["id"] for _ in range(15)]
    longest, until = 0.0, time.monotonic() + 12  # check_interval_secs is 5
    while time.monotonic() < until:
        started = time.monotonic()
        neutron.update("port", ports[0], name=str(started))
        longest = max(longest, time.monotonic() - started)

    assert longest < 10
