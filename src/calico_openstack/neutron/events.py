"""From "this happened in Neutron" to "these objects may have to be written again".

Old and new state of a row both count: a port whose `device_owner` was cleared must still be looked at, with the slots
that it had. No receiver here raises; a fault in one is logged, and the periodic check finds what was missed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from neutron_lib import constants
from neutron_lib.callbacks import events
from oslo_log import log

from calico_openstack.neutron import database, provisioning
from calico_openstack.neutron.process import Process
from calico_openstack.neutron.sync import Ref
from calico_openstack.neutron.translate.slots import VIF_TYPE, Slot, is_endpoint, possible_slots

LOG = log.getLogger(__name__)

Row = Mapping[str, Any]
Receiver = TypeVar("Receiver", bound=Callable[..., None])

WITHOUT_MEANING: Final = frozenset({"status", "updated_at", "revision_number"})
"""A port update that changes only these changes no document; each status report makes one."""
SOON: Final = 1.0
"""Seconds after which what was about to be deleted is gone; if it takes longer, the periodic check finds it."""
UNBOUND: Final = frozenset({"unbound", "", None})


def _never_raises(receiver: Receiver) -> Receiver:
    @functools.wraps(receiver)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            receiver(*args, **kwargs)
        except Exception:
            LOG.exception("%s failed; the periodic check will repair what it missed", receiver.__name__)

    return guarded  # type: ignore[return-value]


class Events:
    def __init__(self, process: Process) -> None:
        self._process = process

    # --- from ML2's hooks

    @_never_raises
    def port(self, old: Row | None, new: Row | None) -> None:
        """A port was created (`old` None), updated, or deleted (`new` None)."""
        rows = [row for row in (old, new) if row is not None]
        if not any(is_endpoint(row) for row in rows) or (old and new and not _differs(old, new)):
            return
        seen: frozenset[Slot] = frozenset(slot for row in rows for slot in possible_slots(row))
        if not seen or (old is None and new is not None and new.get("binding:vif_type") in UNBOUND):
            return  # never bound: nothing can be stored, and ML2 tells us when it has bound the port
        background = self._process.parts.background
        background.changed({Ref("port", rows[0]["id"]): seen})
        if new is not None and _waits_for_status(new):
            parts = self._process.parts
            background.soon(functools.partial(provisioning.announce_again, parts, new["id"]))

    @_never_raises
    def network(self, old: Row, new: Row) -> None:
        if any(old.get(name) != new.get(name) for name in ("name", "qos_policy_id")):
            self._ports(database.port_ids_of_networks([new["id"]]))

    @_never_raises
    def subnet(self, old: Row | None, new: Row | None) -> None:
        row = new or old
        if row is None:
            return
        self._changed([Ref("subnet", row["id"])])
        if old and new and any(old.get(name) != new.get(name) for name in ("gateway_ip", "cidr")):
            self._ports(database.port_ids_of_networks([new["network_id"]]))

    def qos_policy_changed(self, policy_id: str) -> None:
        self._guarded_qos(policy_id)

    @_never_raises
    def _guarded_qos(self, policy_id: str) -> None:
        self._ports(database.port_ids_of_qos_policy(policy_id))

    # --- from the registry

    @_never_raises
    def security_group(self, resource: Any, event: Any, trigger: Any, payload: Any = None) -> None:
        group_id = payload.resource_id
        if event == events.BEFORE_DELETE:
            # The database deletes the rules of other groups that name this one, and no event tells.
            naming = database.group_ids_of_remote_group(group_id) - {group_id}
            self._process.parts.background.owe({Ref("group", other): frozenset() for other in naming}, delay=SOON)
            return
        self._changed([Ref("group", group_id)])
        states = list(payload.states or [])
        if len(states) == 2 and states[0].get("name") != states[1].get("name"):
            self._ports(database.port_ids_of_groups([group_id]))

    @_never_raises
    def security_group_rule(self, resource: Any, event: Any, trigger: Any, payload: Any = None) -> None:
        groups = {state["security_group_id"] for state in payload.states or () if state.get("security_group_id")}
        groups |= {(payload.metadata or {}).get("security_group_id")} - {None}
        self._changed(Ref("group", group_id) for group_id in groups)

    @_never_raises
    def address_group(self, resource: Any, event: Any, trigger: Any, payload: Any = None) -> None:
        groups = database.group_ids_of_address_group(payload.resource_id)
        self._changed(Ref("group", group_id) for group_id in groups)

    @_never_raises
    def floating_ip(self, resource: Any, event: Any, trigger: Any, payload: Any = None) -> None:
        """Both the port that has the address now and the one that had it before."""
        ids = {_fixed_port(state) for state in payload.states or ()} - {""}
        self._ports(ids)

    @_never_raises
    def router_interface(self, resource: Any, event: Any, trigger: Any, payload: Any = None) -> None:
        """A router's port is as active as it will ever be: there is no L3 agent, every host is the router."""
        port_id = ((payload.metadata or {}).get("port") or {}).get("id")
        if port_id:
            provisioning.activate_router_port(port_id)

    # ---

    def _ports(self, ids: Iterable[str]) -> None:
        rows = database.port_states(list(ids))
        changes = {
            Ref("port", row["id"]): possible_slots(row)
            for row in rows.values()
            if is_endpoint(row) and possible_slots(row)
        }
        if changes:
            self._process.parts.background.changed(changes)

    def _changed(self, refs: Iterable[Ref]) -> None:
        changes: dict[Ref, frozenset[Slot]] = {ref: frozenset() for ref in refs}
        if changes:
            self._process.parts.background.changed(changes)


def _differs(old: Row, new: Row) -> bool:
    return any(old.get(name) != new.get(name) for name in (old.keys() | new.keys()) - WITHOUT_MEANING)


def _waits_for_status(port: Row) -> bool:
    """Bound by us and not ACTIVE: Felix may have said `up` already and will not say it again (a profile change made ML2
    bind anew, or the port came back to its host)."""
    return (
        port.get("binding:vif_type") == VIF_TYPE
        and port.get("status") != constants.PORT_STATUS_ACTIVE
        and bool(port.get("admin_state_up"))
    )


def _fixed_port(state: Any) -> str:
    for name in ("port_id", "fixed_port_id"):
        try:
            value = state[name]
        except (KeyError, AttributeError, TypeError):
            continue
        if value:
            return str(value)
    return ""
