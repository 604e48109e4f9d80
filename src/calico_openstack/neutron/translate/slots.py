"""On which hosts a port should have a WorkloadEndpoint.

A slot is one (port, host). The port's own row decides, and nothing else, so that an event, the check and an audit
agree:

| the port | slot at `binding:host_id` | slot at `migrating_to` |
|---|---|---|
| not a guest's port, no device, admin-down | absent | absent |
| bound by this driver (`tap`), or `binding_failed` (see below) | present | present if set |
| `unbound` with `migrating_to` (ML2 is binding anew) | present | present |
| `unbound` otherwise (ML2 has not decided yet) | as it is: brought up to date, not created, not deleted | - |
| bound by another driver, or another vnic_type | absent | absent |

A binding fails when Felix looked dead while ML2 bound anew; the guest may still run there. Without the last but one
row, every change of the binding profile would take a running guest off the network for the moment in which ML2 binds
anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

ENDPOINT_OWNERS: Final = ("compute:", "kuryr:container")
"""A port whose `device_owner` starts like this belongs to a guest and is networked by Calico."""

VIF_TYPE: Final = "tap"
_OURS: Final = frozenset({VIF_TYPE, "binding_failed"})
_UNDECIDED: Final = frozenset({"unbound", ""})


class Presence(Enum):
    PRESENT = "present"
    AS_STORED = "as stored"


class Slot(NamedTuple):
    """Where an endpoint of a port is or was: both are parts of the document's name."""

    host: str
    device_id: str


class Slots(NamedTuple):
    """What a port row wants. `destination` is the host it migrates to, which is also in `wanted`."""

    wanted: Mapping[Slot, Presence]
    source: Slot | None = None
    destination: Slot | None = None


NO_SLOTS: Final = Slots({})


def is_endpoint(port: Mapping[str, Any]) -> bool:
    return str(port.get("device_owner") or "").startswith(ENDPOINT_OWNERS)


def migrating_to(port: Mapping[str, Any]) -> str | None:
    profile = port.get("binding:profile")
    target = profile.get("migrating_to") if isinstance(profile, Mapping) else None
    return target if isinstance(target, str) and target else None


def slots(port: Mapping[str, Any]) -> Slots:
    """The slots of a Neutron port dict (with the admin's binding attributes)."""
    host = str(port.get("binding:host_id") or "")
    device_id = str(port.get("device_id") or "")
    if not (is_endpoint(port) and host and device_id and port.get("admin_state_up", True)):
        return NO_SLOTS
    if (port.get("binding:vnic_type") or "normal") != "normal":
        return NO_SLOTS
    vif_type = str(port.get("binding:vif_type") or "")
    target = migrating_to(port)
    source = Slot(host, device_id)
    if vif_type in _OURS or (vif_type in _UNDECIDED and target):
        wanted = {source: Presence.PRESENT}
    elif vif_type in _UNDECIDED:
        wanted = {source: Presence.AS_STORED}
    else:
        return NO_SLOTS
    if target is None or target == host:
        return Slots(wanted, source)
    destination = Slot(target, device_id)
    wanted[destination] = Presence.PRESENT
    return Slots(wanted, source, destination)


def possible_slots(port: Mapping[str, Any]) -> frozenset[Slot]:
    """Every slot that this state of the row may ever have had: what to look at when the row changes or goes."""
    device_id = str(port.get("device_id") or "")
    hosts = (str(port.get("binding:host_id") or ""), migrating_to(port) or "")
    return frozenset(Slot(host, device_id) for host in hosts if host and device_id)
