"""The DHCPv4 server's two files: a line per port, and a group of options per tap.

Everything of a port hangs on the tag of its tap: dnsmasq tags a packet with the interface it came in on, so a guest
that sends another one's MAC address gets nothing. There is never a `set:` tag in a hosts line: up to dnsmasq 2.90
such a line, once used, brings the server down at the next reload.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from calico_openstack.dhcp.ports import Port
from calico_openstack.dhcp.problems import Problem
from calico_openstack.dhcp.routes4 import classless_routes
from calico_openstack.dhcp.serving import Serving
from calico_openstack.model.net import Net

MOST_SERVERS = 16
"""More DNS servers than any resolver asks; the rest of a list is left out, silently."""
_SMALLEST_MTU = 68  # RFC 2132, 5.1


def hosts4(ports: Iterable[Port]) -> str:
    return "".join(
        f"{port.mac},tag:{port.tap},{port.v4.address.address},{port.hostname}\n" for port in ports if port.v4
    )


def options4(ports: Iterable[Port], mtus: Mapping[str, int], serving: Serving) -> tuple[str, list[Problem]]:
    """The options file. `mtus` by tap; a tap that is not there yet has none, and no guest that would ask."""
    lines: list[str] = []
    problems: list[Problem] = []
    for port in ports:
        if port.v4 is None:
            continue
        options, found = _options(port, mtus.get(port.tap), serving)
        problems.extend(found)
        lines.extend(f"tag:{port.tap},{option}\n" for option in options)
    return "".join(lines), list(dict.fromkeys(problems))


def _options(port: Port, mtu: int | None, serving: Serving) -> tuple[list[str], list[Problem]]:
    assert port.v4 is not None
    subnet = port.v4.subnet
    routes = classless_routes(subnet)
    problems: list[Problem] = []
    options = [f"option:netmask,{_netmask(subnet.cidr)}"]
    if subnet.cidr.length <= 30:
        options.append(f"28,{_broadcast(subnet.cidr)}")
    # An option without a value keeps dnsmasq from announcing itself (the tap's address) as router.
    options.append(f"option:router,{routes.router.address}" if routes.router else "option:router")
    servers = announced_servers(subnet.dns_servers, serving.dns_servers, 4)
    if servers:
        options.append("option:dns-server," + ",".join(server.address for server in servers))
    listed = ",".join(f"{destination},{via.address}" for destination, via in routes.routes)
    # By number: dnsmasq reads lines of at most 1024 characters, and 255 bytes of routes come near that.
    options.append(f"121,{listed}")
    options.append(f"249,{listed}")  # the same for old Windows
    if routes.left_out:
        problems.append(
            Problem(
                f"subnet {subnet.id}",
                f"{len(routes.left_out)} host routes do not fit into a DHCP option: {_some(routes.left_out)}",
                "DHCP carries about 28 routes: summarise them",
            )
        )
    if mtu is not None and mtu >= _SMALLEST_MTU:
        options.append(f"option:mtu,{mtu}")
    if port.domain:
        options.append(f"option:domain-name,{port.domain}")
    return options, problems


def announced_servers(own: Iterable[Net], common: Iterable[Net], version: int) -> list[Net]:
    """The DNS servers of one family: the subnet's; none if it says 0.0.0.0 or ::; the host's if it says nothing.

    Neutron's meaning of `dns_nameservers` (neutron agent/linux/dhcp.py).
    """
    mine = [server for server in own if server.version == version]
    if mine:
        return [] if any(server.value == 0 for server in mine) else mine[:MOST_SERVERS]
    return [server for server in common if server.version == version][:MOST_SERVERS]


def _netmask(cidr: Net) -> str:
    return Net(4, (0xFFFFFFFF << (32 - cidr.length)) & 0xFFFFFFFF, 32).address


def _broadcast(cidr: Net) -> str:
    return Net(4, cidr.value | (0xFFFFFFFF >> cidr.length), 32).address


def _some(nets: tuple[Net, ...]) -> str:
    return ", ".join(str(net) for net in nets[:3]) + (", ..." if len(nets) > 3 else "")
