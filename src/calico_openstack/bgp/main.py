"""`calico-bgp-agent --config-file <file>`: settings, logs, client, agent."""

from __future__ import annotations

import sys

from calico_openstack.bgp.agent import Agent
from calico_openstack.bgp.settings import BgpSettings, read_settings
from calico_openstack.daemon import health
from calico_openstack.daemon.program import Program
from calico_openstack.etcd.aio import AsyncClient


async def serve(settings: BgpSettings) -> None:
    client = AsyncClient(settings.calico.etcd)
    try:
        agent = Agent(settings, client)
        if settings.health_port:
            await health.serve(agent.health, settings.health_host, settings.health_port)
        await agent.run()
    finally:
        await client.close()


PROGRAM = Program(
    name="calico-bgp-agent",
    description="Keeps this host's BIRD as the BGP resources in etcd say.",
    file="/etc/calico/bgp.cfg",
    groups="[DEFAULT], [calico] and [bgp]",
    read=read_settings,
    serve=serve,
)
main = PROGRAM.main

if __name__ == "__main__":
    sys.exit(main())
