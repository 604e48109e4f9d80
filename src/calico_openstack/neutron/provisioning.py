"""Port status in Neutron's terms: provisioning blocks, ACTIVE, DOWN, and Nova's notification.

A port that is to be bound gets Neutron's L2 provisioning block; it is completed when Felix says `up`, and ML2 then
sets the port ACTIVE and tells Nova. Felix says `up` once. So whoever binds a port anew asks etcd whether it was said
already.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.callbacks import resources
from neutron_lib.plugins import directory
from oslo_config import cfg
from oslo_log import log

from calico_openstack.model.keys import EndpointStatusKey, HostStatusKey
from calico_openstack.neutron import compat, database
from calico_openstack.neutron.light import GATE
from calico_openstack.neutron.translate.agent_rows import FELIX_AGENT
from calico_openstack.neutron.translate.endpoints import endpoint_key
from calico_openstack.neutron.translate.slots import Slot, is_endpoint, migrating_to
from calico_openstack.neutron.translate.status import Verdict, verdict

if TYPE_CHECKING:
    from calico_openstack.neutron.process import Parts

LOG = log.getLogger(__name__)

PATIENCE: Final = 5.0
"""Seconds that a question to etcd may take; other work of the background thread waits behind it."""


def add_block(context: Any) -> None:
    """In ML2's precommit, inside the database transaction: keep the port from becoming ACTIVE before Felix says so."""
    port = context.current
    if not context.host or port["status"] == constants.PORT_STATUS_ACTIVE or not is_endpoint(port):
        return
    if (port.get(portbindings.VNIC_TYPE) or portbindings.VNIC_NORMAL) != portbindings.VNIC_NORMAL:
        return
    if context.host_agents(FELIX_AGENT):
        compat.add_provisioning_component(context.plugin_context, port["id"], resources.PORT, compat.L2_AGENT_ENTITY)


def read_status(value: bytes | None) -> str | None:
    """`up`, `down`, `error`; None for absent and for anything else."""
    try:
        document = json.loads(value) if value is not None else None
    except ValueError:
        return None
    status = document.get("status") if isinstance(document, dict) else None
    return status if status in ("up", "down", "error") else None


def announce_again(parts: Parts, port_id: str) -> None:
    """Ask etcd what Felix said of a port that was bound just now, and act on it. Runs in the background."""
    port = database.port_states([port_id]).get(port_id)
    if port is None:
        return
    site, device_id = parts.synchroniser.site, str(port["device_id"] or "")
    hosts = {str(port["binding:host_id"] or ""), migrating_to(port) or ""} - {""}
    keys = {
        host: EndpointStatusKey(site.region, endpoint_key(site, port_id, Slot(host, device_id))).path for host in hosts
    }
    alive = {host: HostStatusKey(site.region, host).path for host in hosts}
    items = parts.client.get_many([*keys.values(), *alive.values()], timeout=PATIENCE).items
    reports = {host: read_status(items[key].value) for host, key in keys.items() if key in items}
    live = {host for host, key in alive.items() if key in items}
    decision = verdict(port, {host: report for host, report in reports.items() if report}, live)
    if decision in (Verdict.ACTIVATE, Verdict.DESTINATION_READY):
        apply(port, decision)


def apply(port: Mapping[str, Any], decision: Verdict) -> None:
    """Write one port's status to the database (and tell Nova). Raises what the database raises."""
    plugin, context, port_id = directory.get_plugin(), database.admin(), str(port["id"])
    with GATE:
        if decision is Verdict.ACTIVATE:
            compat.provisioning_complete(context, port_id, resources.PORT, compat.L2_AGENT_ENTITY)
        elif decision is Verdict.DOWN:
            plugin.update_port_status(context, port_id, constants.PORT_STATUS_DOWN)
        elif decision is Verdict.ERROR:
            plugin.update_port_status(context, port_id, constants.PORT_STATUS_ERROR)
        elif decision is Verdict.DESTINATION_READY:
            _destination_ready(plugin, context, port_id)
    LOG.info("Port %s: %s", port_id, decision.value)


def activate_router_port(port_id: str) -> None:
    """Elsewhere an L3 agent would do this."""
    with GATE:
        directory.get_plugin().update_port_status(database.admin(), port_id, constants.PORT_STATUS_ACTIVE)


def _destination_ready(plugin: Any, context: Any, port_id: str) -> None:
    notifier = getattr(plugin, "nova_notifier", None)
    if notifier is None or not cfg.CONF.notify_nova_on_port_status_changes:
        plugin.update_port_status(context, port_id, constants.PORT_STATUS_ACTIVE)
        return
    # The usual notification would speak for the port's bound host; Nova waits for the destination.
    with notifier.context_enabled(False):
        plugin.update_port_status(context, port_id, constants.PORT_STATUS_ACTIVE)
    row = compat.get_port_row(context, port_id)
    if row is not None:
        notifier.notify_port_active_direct(row)
