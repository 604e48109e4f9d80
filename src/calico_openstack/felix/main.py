"""`calico-felix`: read the host's own settings, start the agent."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import click

from calico_openstack.daemon import logs
from calico_openstack.daemon.health import Health
from calico_openstack.daemon.run import BAD_SETTINGS, run
from calico_openstack.daemon.settings import SettingsError
from calico_openstack.felix.agent import Felix
from calico_openstack.felix.settings import FelixSettings, Source, resolve
from calico_openstack.felix.settings_sources import client_source, environment_source, file_source

DEFAULT_FILE = "/etc/calico/felix.cfg"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-c", "--config-file", default=DEFAULT_FILE, show_default=True, help="Felix's settings, INI.")
def main(config_file: str) -> None:
    """Program this host for its OpenStack guests: firewall, routes, neighbours; report what is up."""
    try:
        settings, local = local_settings(config_file, explicit=config_file != DEFAULT_FILE)
    except SettingsError as error:
        print(f"calico-felix: {error}", file=sys.stderr)
        sys.exit(BAD_SETTINGS)
    logs.setup(settings.log_severity_screen)
    sys.exit(run(_felix(settings, local), "calico-felix"))


async def _felix(settings: FelixSettings, local: list[Source]) -> None:
    await Felix(settings, local, Health()).run()


def local_settings(config_file: str, explicit: bool) -> tuple[FelixSettings, list[Source]]:
    """What environment and file say. The default file may be missing; one that was asked for may not."""
    local = [environment_source(os.environ)]
    if explicit or Path(config_file).exists():
        local.append(file_source(config_file))
    local.append(client_source(os.environ))
    resolved = resolve(socket.gethostname().lower(), local)
    return resolved.settings, local


if __name__ == "__main__":
    main()
