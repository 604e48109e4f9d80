"""`calico-openstack felix ...`: ask the Felix of this host what it knows, by its debug socket; take its work away."""

from __future__ import annotations

from typing import NoReturn

import click

from calico_openstack.daemon.settings import SettingsError
from calico_openstack.felix import removal
from calico_openstack.felix.debug_socket import ask
from calico_openstack.felix.main import DEFAULT_FILE, local_settings
from calico_openstack.felix.settings import FelixSettings
from calico_openstack.felix.tables import TABLES
from calico_openstack.ops.connection import CONFIG_FILE

_DEFAULT = FelixSettings.__dataclass_fields__["debug_socket_path"].default
TROUBLE = 2


@click.group("felix")
def command() -> None:
    """Look into the Felix that runs on this host, or take out of the kernel what it made."""


@command.command("show")
@click.argument("table", type=click.Choice(list(TABLES)))
@click.option(
    "--socket",
    "path",
    default=_DEFAULT,
    show_default=True,
    envvar="CALICO_FELIX_SOCKET",
    help="Felix's DebugSocketPath.",
)
def show(table: str, path: str) -> None:
    """Print a table of what Felix knows now. Needs root.

    endpoints: what is up, and why not. policies, sets: what applies here. wanted: all that the kernel should have.
    pending: what failed, since when, when it is tried again. documents: what in etcd cannot be used. others: other
    software of this host that stops guests. moves: guests that come or go by live migration. health. settings: values
    in force and where each comes from.

    Exit status: 0 printed, 2 no answer.
    """
    try:
        text = ask(path, table)
    except PermissionError:
        _fail(f"{path} is for root only")
    except (FileNotFoundError, ConnectionRefusedError):
        _fail(f"no Felix listens at {path}; does calico-felix run, and is its DebugSocketPath the same?")
    except (OSError, ValueError) as error:
        _fail(f"{path}: {error}")
    click.echo(text, nl=False)


@command.command("remove")
@click.option(
    *("-c", "--config-file"), default=DEFAULT_FILE, show_default=True, envvar=CONFIG_FILE, help="Felix's settings, INI."
)
@click.option("--unprotected", is_flag=True, help="Also where nothing else keeps guests apart.")
def remove(config_file: str, unprotected: bool) -> None:
    """Take Felix's tables and limits out of this host's kernel, to go back to the upstream Felix. Needs root.

    Stop calico-felix, start upstream's, wait until its rules are there, and then run this. Routes, neighbours and
    sysctls stay: upstream takes them over.

    Exit status: 0 removed, 2 not.
    """
    try:
        settings, _ = local_settings(config_file, explicit=config_file != DEFAULT_FILE)
        if settings.debug_socket_path is not None and _answers(settings.debug_socket_path):
            _fail("a Felix runs here and would make it all again; stop it first (systemctl disable --now calico-felix)")
        if not unprotected and not removal.upstream_filters():
            _fail(
                "nothing else keeps this host's guests apart: start upstream's Felix and wait for its rules, "
                "or say --unprotected"
            )
        for line in removal.remove(settings.interface_prefix):
            click.echo(f"removed {line}")
    except PermissionError as error:
        _fail(f"{error}; run it as root")
    except (SettingsError, OSError, ValueError) as error:
        _fail(str(error))


def _answers(path: str) -> bool:
    try:
        ask(path, "health")
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError as error:
        _fail(f"{path}: {error}")
    return True


def _fail(reason: str) -> NoReturn:
    click.echo(f"calico-openstack: {reason}", err=True)
    raise SystemExit(TROUBLE)
