"""What Felix's reports mean for a port's status in Neutron.

Only the host to which the port is bound has a say, or, while the port migrates, its destination (that is what Nova
waits for). A report of any other host means nothing: after a migration the old host's key vanishes, and that is no
failure.

| migrating | bound host reports | destination reports | port is | then |
|---|---|---|---|---|
| no | up | - | not ACTIVE | activate |
| no | down | - | ACTIVE | down |
| no | error | - | not ERROR | error |
| no | nothing, though its Felix is alive | - | ACTIVE | down |
| yes | any | up | any | activate without telling Nova; tell Nova that the *destination* is plugged, once |
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from calico_openstack.neutron.translate.slots import VIF_TYPE, is_endpoint, migrating_to


class Verdict(Enum):
    NOTHING = "nothing"
    ACTIVATE = "activate"
    DOWN = "down"
    ERROR = "error"
    DESTINATION_READY = "destination ready"


def verdict(port: Mapping[str, Any], reports: Mapping[str, str], live_hosts: frozenset[str] | set[str]) -> Verdict:
    """`reports`: what hosts say about this port (`up`, `down`, `error`), by host. `live_hosts`: hosts with a live
    Felix.
    """
    host = str(port.get("binding:host_id") or "")
    if not is_endpoint(port) or not host or port.get("binding:vif_type") != VIF_TYPE:
        return Verdict.NOTHING
    if not port.get("admin_state_up", True):
        return Verdict.DOWN if port.get("status") == "ACTIVE" else Verdict.NOTHING
    target = migrating_to(port)
    if target is not None and target != host:
        return Verdict.DESTINATION_READY if reports.get(target) == "up" else Verdict.NOTHING
    status, report = port.get("status"), reports.get(host)
    if report == "up":
        return Verdict.NOTHING if status == "ACTIVE" else Verdict.ACTIVATE
    if report == "error":
        return Verdict.NOTHING if status == "ERROR" else Verdict.ERROR
    if status != "ACTIVE" or (report is None and host not in live_hosts):
        return Verdict.NOTHING
    return Verdict.DOWN
