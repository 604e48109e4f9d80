"""An agent's report in etcd as the row that `openstack network agent list` shows."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple, TypeAlias

from calico_openstack.model.keys import BgpStatusKey, DhcpStatusKey, HostStatusKey

AgentKey: TypeAlias = HostStatusKey | DhcpStatusKey | BgpStatusKey

FELIX_AGENT: Final = "Calico per-host agent (felix)"
TOPIC: Final = "N/A"
"""Upstream's value: nothing listens there."""
COLUMNS: Final = 20
LONGEST_TEXT: Final = 100


class AgentKind(NamedTuple):
    agent_type: str
    binary: str


KINDS: Final[dict[type, AgentKind]] = {
    HostStatusKey: AgentKind(FELIX_AGENT, "calico-felix"),
    DhcpStatusKey: AgentKind("Calico DHCP agent", "calico-dhcp-agent"),
    BgpStatusKey: AgentKind("Calico BGP agent", "calico-bgp-agent"),
}


def describe(key: AgentKey) -> str:
    return KINDS[type(key)].agent_type


def agent_row(key: AgentKey, value: bytes) -> dict[str, Any]:
    """The row as Neutron's `create_or_update_agent` takes it. ValueError, naming agent and host, for a bad report.

    `start_flag` is set for the first report of a process: Neutron then notes when it started.
    """
    try:
        document: Any = json.loads(value)
    except ValueError as error:
        raise ValueError(f"the report of {describe(key)} on {key.host} is not JSON") from error
    if not isinstance(document, dict):
        raise ValueError(f"the report of {describe(key)} on {key.host} is not an object")
    row: dict[str, Any] = {
        "agent_type": KINDS[type(key)].agent_type,
        "binary": KINDS[type(key)].binary,
        "host": key.host,
        "topic": TOPIC,
        "configurations": _summary(document),
    }
    if document.get("first_update") is True:
        row["start_flag"] = True
    return row


def _summary(document: dict[str, Any]) -> dict[str, Any]:
    """What fits into a row: short values as they are, lists and objects as their length (the column has 4095 bytes)."""
    short: dict[str, Any] = {}
    for name, item in document.items():
        if name in ("time", "first_update"):
            continue
        if isinstance(item, list | dict):
            short[name] = len(item)
        elif not isinstance(item, str) or len(item) <= LONGEST_TEXT:
            short[name] = item
    return dict(list(short.items())[:COLUMNS])
