"""Agent rows: what `openstack network agent list` shows, and what binding asks ("is there a live Felix?").

Each report of an agent in etcd refreshes its row; Neutron itself marks a row dead after `agent_down_time`.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from neutron_lib.plugins import directory
from oslo_utils import timeutils

from calico_openstack.model.keys import BgpStatusKey, DhcpStatusKey, HostStatusKey
from calico_openstack.neutron import binding, database
from calico_openstack.neutron.light import GATE

AgentKey = HostStatusKey | DhcpStatusKey | BgpStatusKey


class AgentKind(NamedTuple):
    agent_type: str
    binary: str


KINDS: Final[dict[type, AgentKind]] = {
    HostStatusKey: AgentKind(binding.FELIX_AGENT, "calico-felix"),
    DhcpStatusKey: AgentKind("Calico DHCP agent", "calico-dhcp-agent"),
    BgpStatusKey: AgentKind("Calico BGP agent", "calico-bgp-agent"),
}
TOPIC: Final = "N/A"
"""Upstream's value: nothing listens there."""


def describe(key: AgentKey) -> str:
    return KINDS[type(key)].agent_type


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """What fits into a row: short values as they are, lists and objects as their length (the column has 4095 bytes)."""
    short: dict[str, Any] = {}
    for name, item in document.items():
        if name in ("time", "first_update"):
            continue
        if isinstance(item, list | dict):
            short[name] = len(item)
        elif not isinstance(item, str) or len(item) <= 100:
            short[name] = item
    return dict(list(short.items())[:20])


def report(key: AgentKey, value: bytes) -> None:
    """Refresh the row of the agent that wrote `value`. Raises what the database raises; ValueError for a bad report."""
    try:
        document: Any = json.loads(value)
    except ValueError as error:
        raise ValueError(f"the report of {describe(key)} on {key.host} is not JSON") from error
    if not isinstance(document, dict):
        raise ValueError(f"the report of {describe(key)} on {key.host} is not an object")
    kind = KINDS[type(key)]
    state: dict[str, Any] = {
        "agent_type": kind.agent_type,
        "binary": kind.binary,
        "host": key.host,
        "topic": TOPIC,
        "configurations": summary(document),
    }
    if document.get("first_update") is True:
        state["start_flag"] = True
    with GATE:
        directory.get_plugin().create_or_update_agent(database.admin(), state, timeutils.utcnow())
