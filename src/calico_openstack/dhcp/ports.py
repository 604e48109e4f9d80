"""From an endpoint to a port that can be served: its addresses with their subnets, its tap, its name.

An endpoint's `addresses` are its fixed IPs and its allowed address pairs; only the former are handed out. The subnet
of a fixed IP is looked for within the endpoint's own network, so that two networks with the same CIDR do not mix; an
endpoint that names no network (written before the annotation existed) takes whichever network has it alone.

```
    endpoint ─► fixed IPs ─► subnets of its network ─► Port(leased IPv4, IPv6 addresses, name) + problems
```
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from calico_openstack.dhcp.hostnames import default_hostname, is_domain, is_hostname, split_fqdn
from calico_openstack.dhcp.problems import Problem
from calico_openstack.dhcp.subnets import SubnetIndex
from calico_openstack.model.endpoint import Endpoint
from calico_openstack.model.net import Net
from calico_openstack.model.subnet import Subnet

TAP_PREFIX = "tap"
_INTERFACE = re.compile(r"tap[A-Za-z0-9_.-]{1,12}\Z")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")


class Fixed(NamedTuple):
    address: Net
    subnet: Subnet


class Port(NamedTuple):
    """One port to serve. `v4` is the one IPv4 address that DHCP can give it, `v6` all its IPv6 addresses."""

    subject: str
    tap: str
    mac: str
    v4: Fixed | None
    v6: tuple[Fixed, ...]
    hostname: str
    domain: str


def fixed_addresses(endpoint: Endpoint) -> tuple[Net, ...]:
    """The fixed IPs in port order.

    The pairs stand behind the fixed IPs. Where they do not (a document by another hand), what is listed as a pair is
    taken out wherever it stands.
    """
    addresses, pairs = endpoint.addresses, endpoint.allowed_pairs
    if pairs and addresses[-len(pairs) :] == pairs:
        fixed = addresses[: -len(pairs)]
    else:
        fixed = tuple(net for net in addresses if net not in pairs)
    return tuple(net for net in fixed if net.is_host)


def read_ports(endpoints: Iterable[Endpoint], subnets: SubnetIndex, domain: str) -> tuple[list[Port], list[Problem]]:
    """The ports of all endpoints, by tap; `domain` is for those without one of their own.

    A tap and an address belong to one port only: the first by name gets it, so the answer does not depend on the
    order of arrival.
    """
    ports: list[Port] = []
    problems: list[Problem] = []
    taps: dict[str, str] = {}
    owners: dict[Net, str] = {}
    for endpoint in sorted(endpoints, key=lambda one: one.key):
        subject = f"port {endpoint.key.endpoint}"
        refused = _refusal(endpoint, subject, taps)
        if refused is not None:
            problems.append(refused)
            continue
        taps[endpoint.interface] = subject
        port, found = _port(endpoint, subject, subnets, owners, domain)
        problems.extend(found)
        if port is not None:
            ports.append(port)
    ports.sort(key=lambda port: port.tap)
    return ports, problems


def _refusal(endpoint: Endpoint, subject: str, taps: dict[str, str]) -> Problem | None:
    if not _INTERFACE.match(endpoint.interface):
        return Problem(
            subject,
            f"interface {endpoint.interface!r} is not a tap name",
            "DHCP is served on interfaces named tap... of at most 15 characters; see the port's binding",
        )
    if endpoint.mac is None or not _MAC.match(endpoint.mac):
        return Problem(subject, f"MAC address {endpoint.mac!r} is not usable", "give the port a MAC address")
    if endpoint.interface in taps:
        return Problem(
            subject,
            f"interface {endpoint.interface} already belongs to {taps[endpoint.interface]}",
            "delete one of the two ports; their ids begin alike",
        )
    return None


def _port(
    endpoint: Endpoint, subject: str, subnets: SubnetIndex, owners: dict[Net, str], domain: str
) -> tuple[Port | None, list[Problem]]:
    problems: list[Problem] = []
    v4: Fixed | None = None
    v6: list[Fixed] = []
    homeless: list[Net] = []
    for address in fixed_addresses(endpoint):
        if address.version == 4 and v4 is not None:
            continue  # a DHCPv4 client gets one address: the first that can be leased
        subnet = subnets.find(address, endpoint.network_id)
        if subnet is None:
            homeless.append(address)
            continue
        if address in owners:
            problems.append(
                Problem(
                    subject,
                    f"address {address.address} already belongs to {owners[address]} on this host",
                    "give one of the two ports another address",
                )
            )
            continue
        owners[address] = subject
        if address.version == 4:
            v4 = Fixed(address, subnet)
        else:
            v6.append(Fixed(address, subnet))
    if v4 is None and not v6:
        listed = ", ".join(net.address for net in homeless) or "none"
        if homeless or not problems:
            problems.append(
                Problem(
                    subject,
                    f"no subnet with DHCP is known for its addresses ({listed})",
                    "nothing to do if the subnet has no DHCP; else it begins when the subnet arrives in etcd",
                )
            )
        return None, problems
    hostname, own_domain, misnamed = _names(endpoint, subject, v4.address if v4 else v6[0].address)
    problems.extend(misnamed)
    port = Port(subject, endpoint.interface, str(endpoint.mac), v4, tuple(v6), hostname, own_domain or domain)
    return port, problems


def _names(endpoint: Endpoint, subject: str, address: Net) -> tuple[str, str, list[Problem]]:
    """Host name and domain from the port's DNS assignment; Neutron's default where there is none, or no good one."""
    default = default_hostname(address)
    if not endpoint.fqdn:
        return default, "", []
    hostname, domain = split_fqdn(endpoint.fqdn)
    problems: list[Problem] = []
    if not is_hostname(hostname):
        problems.append(
            Problem(
                subject,
                f"host name {hostname!r} cannot be sent; the guest is told {default!r}",
                "set the port's dns_name to letters, digits and inner dashes, not all digits",
            )
        )
        hostname = default
    if domain and not is_domain(domain):
        problems.append(
            Problem(subject, f"domain {domain!r} cannot be sent", "set dns_domain to labels joined by dots")
        )
        domain = ""
    return hostname, domain, problems
