"""`calico-dhcp-agent --config-file <file>`."""

from __future__ import annotations

import sys

from calico_openstack.daemon.program import Program
from calico_openstack.dhcp.settings import DhcpSettings, read_settings


async def serve(settings: DhcpSettings) -> None:
    # Imported here, so that a bad setting or `--help` is told without loading the agent.
    from calico_openstack.dhcp.agent import DhcpAgent

    await DhcpAgent(settings).run()


PROGRAM = Program(
    name="calico-dhcp-agent",
    description="DHCP and router advertisements for one compute host.",
    file="/etc/neutron/neutron.conf",
    groups="[DEFAULT] and [calico]",
    read=read_settings,
    serve=serve,
)
main = PROGRAM.main

if __name__ == "__main__":
    sys.exit(main())
