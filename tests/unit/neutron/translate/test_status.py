from __future__ import annotations

from typing import Any

import pytest

from calico_openstack.neutron.translate.status import Verdict, verdict

PORT = {
    "device_owner": "compute:nova",
    "admin_state_up": True,
    "status": "DOWN",
    "binding:host_id": "a",
    "binding:vif_type": "tap",
    "binding:profile": {},
}
ACTIVE, ERROR = {"status": "ACTIVE"}, {"status": "ERROR"}
MIGRATING = {"binding:profile": {"migrating_to": "b"}}


@pytest.mark.parametrize(
    ("changes", "reports", "expected"),
    [
        ({}, {"a": "up"}, Verdict.ACTIVATE),
        (ERROR, {"a": "up"}, Verdict.ACTIVATE),
        (ACTIVE, {"a": "up"}, Verdict.NOTHING),
        (ACTIVE, {"a": "down"}, Verdict.DOWN),
        ({}, {"a": "down"}, Verdict.NOTHING),
        (ACTIVE, {"a": "error"}, Verdict.ERROR),
        (ERROR, {"a": "error"}, Verdict.NOTHING),
        ({}, {"b": "up"}, Verdict.NOTHING),
        (ACTIVE, {"a": "up", "b": "down"}, Verdict.NOTHING),
        (ACTIVE, {}, Verdict.DOWN),
        (ACTIVE | {"binding:host_id": "dead"}, {}, Verdict.NOTHING),
        ({}, {}, Verdict.NOTHING),
        (MIGRATING, {"a": "up"}, Verdict.NOTHING),
        (MIGRATING | ACTIVE, {"a": "down"}, Verdict.NOTHING),
        (MIGRATING, {"a": "up", "b": "up"}, Verdict.DESTINATION_READY),
        ({"binding:vif_type": "unbound"}, {"a": "up"}, Verdict.NOTHING),
        ({"device_owner": "network:dhcp"}, {"a": "up"}, Verdict.NOTHING),
        ({"admin_state_up": False}, {"a": "up"}, Verdict.NOTHING),
        ({"admin_state_up": False} | ACTIVE, {}, Verdict.DOWN),
    ],
)
def test_only_the_right_host_changes_a_ports_status(
    changes: dict[str, Any], reports: dict[str, str], expected: Verdict
) -> None:
    assert verdict(PORT | changes, reports, {"a", "b"}) is expected
