"""`calico-dhcp-agent --config-file <file>`."""

from __future__ import annotations

import argparse
import sys

from calico_openstack.daemon.logs import setup
from calico_openstack.daemon.run import BAD_SETTINGS, run
from calico_openstack.daemon.settings import SettingsError
from calico_openstack.dhcp.settings import read_settings

PROGRAM = "calico-dhcp-agent"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(PROGRAM, description="DHCP and router advertisements for one compute host.")
    parser.add_argument(
        "--config-file",
        default="/etc/neutron/neutron.conf",
        help="INI file with [DEFAULT] and [calico] (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        settings = read_settings(options.config_file)
    except SettingsError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return BAD_SETTINGS
    setup(settings.calico.log_level, host=settings.calico.host)

    async def agent() -> None:
        # Imported and made inside the loop: its events and sockets belong to it.
        from calico_openstack.dhcp.agent import DhcpAgent

        await DhcpAgent(settings).run()

    return run(agent(), PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
