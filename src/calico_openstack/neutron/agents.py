"""Agent rows: what `openstack network agent list` shows, and what binding asks ("is there a live Felix?").

Each report of an agent in etcd refreshes its row; Neutron itself marks a row dead after `agent_down_time`.
"""

from __future__ import annotations

from neutron_lib.plugins import directory
from oslo_utils import timeutils

from calico_openstack.neutron import database
from calico_openstack.neutron.light import GATE
from calico_openstack.neutron.translate.agent_rows import AgentKey, agent_row


def report(key: AgentKey, value: bytes) -> None:
    """Refresh the row of the agent that wrote `value`. Raises what the database raises; ValueError for a bad report."""
    row = agent_row(key, value)
    with GATE:
        directory.get_plugin().create_or_update_agent(database.admin(), row, timeutils.utcnow())
