"""A DHCP subnet, as the Neutron driver tells it to the DHCP agent (upstream datamodel_v2, `/calico/dhcp/v2`)."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import msgspec

from calico_openstack.model.net import Net, host_net, parse_net
from calico_openstack.model.reading import decode

Ipv6Mode = Literal["slaac", "dhcpv6-stateful", "dhcpv6-stateless"]


class HostRoute(NamedTuple):
    destination: Net
    nexthop: Net


class Subnet(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`ra_mode` and `address_mode` are None unless both are set. `dns_servers` in the operator's order."""

    id: str
    network_id: str
    cidr: Net
    gateway: Net | None = None
    host_routes: tuple[HostRoute, ...] = ()
    dns_servers: tuple[Net, ...] = ()
    ra_mode: Ipv6Mode | None = None
    address_mode: Ipv6Mode | None = None


class HostRouteDoc(msgspec.Struct, gc=False):
    destination: str
    nexthop: str


class SubnetDoc(msgspec.Struct, gc=False, kw_only=True, omit_defaults=True):
    """The stored form. Upstream's fields, in upstream's order; `gateway_ip` is written also when null."""

    network_id: str
    cidr: str
    host_routes: list[HostRouteDoc]
    gateway_ip: str | None
    dns_servers: list[str] | None = None
    ipv6_ra_mode: str | None = None
    ipv6_address_mode: str | None = None


def read_subnet(subnet_id: str, value: bytes) -> Subnet:
    doc = decode(value, SubnetDoc)
    cidr = parse_net(doc.cidr)
    gateway = host_net(doc.gateway_ip) if doc.gateway_ip else None
    routes = tuple(HostRoute(parse_net(r.destination), host_net(r.nexthop)) for r in doc.host_routes)
    servers = tuple(host_net(text) for text in doc.dns_servers or ())
    for what, net in (("gateway_ip", gateway), *(("dns_servers", server) for server in servers)):
        if net is not None and net.version != cidr.version:
            raise ValueError(f"{what} {net.address} is not of the family of cidr {cidr}")
    if any({route.destination.version, route.nexthop.version} != {cidr.version} for route in routes):
        raise ValueError(f"host_routes: a route is not of the family of cidr {cidr}")
    both = bool(doc.ipv6_ra_mode and doc.ipv6_address_mode)
    return Subnet(
        id=subnet_id,
        network_id=doc.network_id,
        cidr=cidr,
        gateway=gateway,
        host_routes=routes,
        dns_servers=servers,
        ra_mode=_mode(doc.ipv6_ra_mode, "ipv6_ra_mode") if both else None,
        address_mode=_mode(doc.ipv6_address_mode, "ipv6_address_mode") if both else None,
    )


def _mode(text: str | None, field: str) -> Ipv6Mode:
    if text not in get_args(Ipv6Mode):
        raise ValueError(f"{field} {text!r}: one of {', '.join(get_args(Ipv6Mode))} is expected")
    return text  # type: ignore[return-value]
