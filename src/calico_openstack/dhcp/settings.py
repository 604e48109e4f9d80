"""The DHCP agent's settings. Names are Neutron's where Neutron has the option, so a host's neutron.conf will do."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from calico_openstack.daemon.settings import CalicoOptions, IniFile, SettingsError, calico_options
from calico_openstack.dhcp.files import closed_ancestor
from calico_openstack.dhcp.hostnames import is_domain
from calico_openstack.dhcp.serving import DEFAULT_DOMAIN, DEFAULT_LEASE, Serving
from calico_openstack.model.net import Net, host_net

_SHORTEST_LEASE = 120  # dnsmasq takes anything shorter as two minutes
_LONGEST_LEASE = 365 * 86400


@dataclass(frozen=True, slots=True)
class DhcpSettings:
    """`health_port` 0 = no health server."""

    calico: CalicoOptions
    serving: Serving
    state_directory: Path
    dnsmasq: str
    verbose: bool
    health_host: str
    health_port: int


def read_settings(path: str | Path) -> DhcpSettings:
    """SettingsError for anything that cannot be understood, or cannot work on this host."""
    file = IniFile(path)
    lease = file.integer("DEFAULT", "dhcp_lease_duration", DEFAULT_LEASE, low=-1, high=_LONGEST_LEASE)
    domain = file.text("DEFAULT", "dns_domain", DEFAULT_DOMAIN).rstrip(".")
    if not is_domain(domain):
        raise SettingsError(f"{file.path}: [DEFAULT] dns_domain = {domain!r}: labels joined by dots are expected")
    directory = Path(file.text("calico", "dhcp_state_dir", "/var/lib/calico/dhcp"))
    if not directory.is_absolute():
        raise SettingsError(f"{file.path}: [calico] dhcp_state_dir = {str(directory)!r}: an absolute path is expected")
    closed = closed_ancestor(directory)
    if closed is not None and closed != directory.resolve():
        raise SettingsError(
            f"{file.path}: [calico] dhcp_state_dir = {str(directory)!r}: {closed} is closed to others, and "
            f"dnsmasq, which does not run as root, could not read its files; chmod o+x {closed}, or choose another one"
        )
    return DhcpSettings(
        calico=calico_options(file),
        serving=Serving(
            # -1 is Neutron's word for "for ever"; a year is as good, and fits dnsmasq's range syntax.
            lease=_LONGEST_LEASE if lease == -1 else max(lease, _SHORTEST_LEASE),
            dns_servers=_servers(file),
            domain=domain,
            renewal=file.integer("DEFAULT", "dhcp_renewal_time", 0) or None,
            rebinding=file.integer("DEFAULT", "dhcp_rebinding_time", 0) or None,
        ),
        state_directory=directory,
        dnsmasq=_binary(file),
        verbose=file.boolean("DEFAULT", "debug", False),
        health_host=file.text("calico", "dhcp_health_host", "127.0.0.1"),
        health_port=file.integer("calico", "dhcp_health_port", 0, high=65535),
    )


def _servers(file: IniFile) -> tuple[Net, ...]:
    servers: list[Net] = []
    for word in file.words("DEFAULT", "dnsmasq_dns_servers"):
        try:
            servers.append(host_net(word))
        except ValueError as error:
            raise SettingsError(f"{file.path}: [DEFAULT] dnsmasq_dns_servers: {error}") from error
    return tuple(servers)


def _binary(file: IniFile) -> str:
    name = file.text("calico", "dnsmasq_binary", "dnsmasq")
    # sudo and unit files may leave /usr/sbin out of the search path.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin:/usr/bin")
    if found is None:
        raise SettingsError(
            f"{file.path}: [calico] dnsmasq_binary = {name!r} is not there; install the package dnsmasq-base"
        )
    return str(Path(found).resolve())
