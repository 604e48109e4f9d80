"""Which ports this driver binds, and with what.

A port is bound when a live Felix reports from its host. The details carry the MAC of the tap's host side: Nova gives
it to the device, and it must be the same on every host, or a guest loses its gateway for a while after a live
migration.
"""

from __future__ import annotations

from typing import Any, Final

from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api
from oslo_log import log

from calico_openstack.model.names import tap_mac
from calico_openstack.neutron.translate.agent_rows import FELIX_AGENT
from calico_openstack.neutron.translate.slots import VIF_TYPE

LOG = log.getLogger(__name__)

NETWORK_TYPES: Final = frozenset({"local", "flat"})


def bind(context: Any) -> None:
    """ML2's `bind_port`: sets the binding or leaves it alone, and says why where an operator would wonder."""
    port = context.current
    port_id, host = port["id"], context.host
    vnic_type = port.get(portbindings.VNIC_TYPE) or portbindings.VNIC_NORMAL
    if vnic_type != portbindings.VNIC_NORMAL:
        LOG.debug("Port %s has vnic_type %s; Calico binds normal ones only", port_id, vnic_type)
        return
    if not felix_is_alive(context):
        _explain_missing_felix(port_id, host)
        return
    for segment in context.segments_to_bind:
        if segment[api.NETWORK_TYPE] in NETWORK_TYPES:
            details = {
                portbindings.CAP_PORT_FILTER: True,
                portbindings.VIF_DETAILS_CONNECTIVITY: portbindings.CONNECTIVITY_L3,
                "mac_address": tap_mac(port["mac_address"]),
            }
            context.set_binding(segment[api.ID], VIF_TYPE, details)
            return
    LOG.warning(
        "Port %s not bound: its network is of type %s. Calico needs local or flat; set [ml2] project_network_types "
        "to local",
        port_id,
        ", ".join(sorted({str(segment[api.NETWORK_TYPE]) for segment in context.segments_to_bind})) or "none",
    )


def felix_is_alive(context: Any) -> bool:
    return any(agent["alive"] for agent in context.host_agents(FELIX_AGENT))


def _explain_missing_felix(port_id: str, host: str) -> None:
    if host != host.lower():
        LOG.error(
            "Port %s not bound: no live Felix on host %s. Felix writes its host name in lower case: set [DEFAULT] host "
            "of Nova on that host to %s, or FelixHostname to %s",
            port_id,
            host,
            host.lower(),
            host,
        )
        return
    LOG.warning(
        "Port %s not bound: no live Felix on host %s. Is calico-felix running there, with EndpointReportingEnabled, "
        "and does `openstack network agent list` show it under exactly this name?",
        port_id,
        host,
    )
