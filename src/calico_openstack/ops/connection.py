"""Where etcd is, from a verb's options: a list of endpoints, or a settings file that some agent of this cloud has.

A file with a group `[calico]` is read as the agents' and Neutron's files are; any other as Felix's. `FELIX_*` in the
environment counts as it does for Felix. Without options Felix's own file is taken if it is there, and else etcd on
this machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from calico_openstack.daemon.settings import IniFile, SettingsError, calico_options
from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.channels import target
from calico_openstack.etcd.errors import EtcdError, Unavailable
from calico_openstack.etcd.values import EtcdSettings
from calico_openstack.felix.main import DEFAULT_FILE, local_settings
from calico_openstack.felix.settings import FelixSettings

TROUBLE = 2
"""Exit status when there is no answer: wrong usage, wrong settings, or etcd cannot be reached."""

_CALICO_GROUP = re.compile(r"^\s*\[calico\]\s*$", re.MULTILINE)

CONFIG_FILE = "CALICO_CONFIG_FILE"
"""Environment variable that stands for --config-file; the sandbox sets it in every place."""

F = TypeVar("F", bound=Callable[..., Any])


def options(function: F) -> F:
    """The two options that say where etcd is."""
    file = click.option(
        "-c",
        "--config-file",
        metavar="FILE",
        envvar=CONFIG_FILE,
        help=f"An INI file with [calico], or a felix.cfg [{DEFAULT_FILE}].",
    )
    endpoints = click.option("--etcd-endpoints", metavar="URLS", help="Comma-separated; wins over the file's.")
    return file(endpoints(function))


def etcd_settings(config_file: str | None, endpoints: str | None) -> EtcdSettings:
    """SettingsError for anything that cannot be understood."""
    found = _from_file(config_file)
    if endpoints:
        listed = tuple(word.strip() for word in endpoints.split(",") if word.strip())
        try:
            for endpoint in listed:
                target(EtcdSettings(), endpoint)
        except ValueError as error:
            raise SettingsError(f"--etcd-endpoints: {error}") from error
        found = replace(found, endpoints=listed)
    return found


def _from_file(path: str | None) -> EtcdSettings:
    if path is not None:
        try:
            has_group = _CALICO_GROUP.search(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read {path}: {error}; give the right --config-file") from error
        if has_group:
            return calico_options(IniFile(path)).etcd
    settings, _ = local_settings(path or DEFAULT_FILE, explicit=path is not None)
    return settings.etcd


@contextmanager
def connected(settings: EtcdSettings) -> Iterator[BlockingClient]:
    """A client, closed at the end. SettingsError if the built-in address is asked and nobody answers there."""
    client = BlockingClient(settings)
    try:
        yield client
    except Unavailable as error:
        if settings.endpoints != FelixSettings("").etcd.endpoints:
            raise
        raise SettingsError(f"{error}; if etcd is elsewhere, say where with --config-file") from error
    finally:
        client.close()


def fail(reason: object) -> NoReturn:
    """Say why there is no answer, and end with `TROUBLE`."""
    click.echo(f"calico-openstack: {reason}", err=True)
    raise SystemExit(TROUBLE)


__all__ = ["CONFIG_FILE", "TROUBLE", "EtcdError", "SettingsError", "connected", "etcd_settings", "fail", "options"]
