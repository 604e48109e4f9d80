"""The DHCPv6 server's two files. As in `render4`, everything of a port hangs on the tag of its tap.

A port has one line, with all its stateful addresses; a port that only wants options (stateless) has a line without an
address, because the server is silent to guests that it does not know. A pure SLAAC port has no line.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_openstack.dhcp.modes6 import Mode, mode_of
from calico_openstack.dhcp.ports import Fixed, Port
from calico_openstack.dhcp.problems import Problem
from calico_openstack.dhcp.render4 import MOST_SERVERS, announced_servers
from calico_openstack.dhcp.serving import Serving
from calico_openstack.model.net import Net

MOST_ADDRESSES = 20
"""DHCPv6 addresses of one port. So many fit into a line of dnsmasq's (1,024 characters); what is behind its limit would
be a line of its own, without the tap's tag. Neutron allows five (`max_fixed_ips_per_port`)."""


def stateful(port: Port) -> tuple[Fixed, ...]:
    """The addresses that DHCPv6 hands out."""
    return _stateful(port)[:MOST_ADDRESSES]


def problems6(ports: Iterable[Port]) -> list[Problem]:
    """The ports with more addresses than can be handed out."""
    return [
        Problem(
            port.subject,
            f"{count - MOST_ADDRESSES} of its {count} DHCPv6 addresses are not handed out",
            f"give the port at most {MOST_ADDRESSES}, or set the others in the guest",
        )
        for port in ports
        if (count := len(_stateful(port))) > MOST_ADDRESSES
    ]


def _stateful(port: Port) -> tuple[Fixed, ...]:
    return tuple(fixed for fixed in port.v6 if mode_of(fixed.subnet) is Mode.STATEFUL)


def wants_dhcp(port: Port) -> bool:
    return any(mode_of(fixed.subnet) is not Mode.SLAAC for fixed in port.v6)


def hosts6(ports: Iterable[Port]) -> str:
    lines = []
    for port in ports:
        if wants_dhcp(port):
            addresses = "".join(f"[{fixed.address.address}]," for fixed in stateful(port))
            lines.append(f"{port.mac},tag:{port.tap},{addresses}{port.hostname}\n")
    return "".join(lines)


def options6(ports: Iterable[Port], serving: Serving) -> str:
    lines = []
    for port in ports:
        if not wants_dhcp(port):
            continue
        servers = ",".join(f"[{server.address}]" for server in servers6(port, serving))
        if servers:
            lines.append(f"tag:{port.tap},option6:dns-server,{servers}\n")
        if port.domain:
            lines.append(f"tag:{port.tap},option6:domain-search,{port.domain}\n")
    return "".join(lines)


def servers6(port: Port, serving: Serving) -> list[Net]:
    """The DNS servers of all the port's IPv6 subnets, without repetition."""
    found = [
        server for fixed in port.v6 for server in announced_servers(fixed.subnet.dns_servers, serving.dns_servers, 6)
    ]
    return list(dict.fromkeys(found))[:MOST_SERVERS]
