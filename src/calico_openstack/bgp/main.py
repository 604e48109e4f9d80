"""`calico-bgp-agent --config-file <file>`: settings, logs, client, agent."""

from __future__ import annotations

import argparse
import sys

from calico_openstack.bgp.agent import Agent
from calico_openstack.bgp.settings import BgpSettings, read_settings
from calico_openstack.daemon import health, logs
from calico_openstack.daemon.run import BAD_SETTINGS, run
from calico_openstack.daemon.settings import SettingsError
from calico_openstack.etcd.aio import AsyncClient

PROGRAM = "calico-bgp-agent"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(PROGRAM, description="Keeps this host's BIRD as the BGP resources in etcd say.")
    parser.add_argument(
        "--config-file",
        default="/etc/calico/bgp.cfg",
        help="INI file with [DEFAULT], [calico] and [bgp] (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        settings = read_settings(options.config_file)
    except SettingsError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return BAD_SETTINGS
    logs.setup(settings.calico.log_level, host=settings.calico.host)
    return run(serve(settings), PROGRAM)


async def serve(settings: BgpSettings) -> None:
    client = AsyncClient(settings.calico.etcd)
    try:
        agent = Agent(settings, client)
        if settings.health_port:
            await health.serve(agent.health, settings.health_host, settings.health_port)
        await agent.run()
    finally:
        await client.close()


if __name__ == "__main__":
    sys.exit(main())
