"""`calico-openstack felix show TABLE`: ask the Felix of this host what it knows, by its debug socket."""

from __future__ import annotations

import click

from calico_openstack.felix.debug_socket import ask
from calico_openstack.felix.settings import FelixSettings
from calico_openstack.felix.tables import TABLES

_DEFAULT = FelixSettings.__dataclass_fields__["debug_socket_path"].default
TROUBLE = 2


@click.group("felix")
def command() -> None:
    """Look into the Felix that runs on this host."""


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
    software of this host that stops guests. health. settings: values in force and where each comes from.

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


def _fail(reason: str) -> None:
    click.echo(f"calico-openstack: {reason}", err=True)
    raise SystemExit(TROUBLE)
