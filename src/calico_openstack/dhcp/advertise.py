"""What each tap's router advertisements should say (RFC 4861, 8106, 4191), from the port's IPv6 subnets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from calico_openstack.dhcp.modes6 import Mode, mode_of
from calico_openstack.dhcp.ports import Port
from calico_openstack.dhcp.problems import Problem
from calico_openstack.dhcp.render6 import servers6
from calico_openstack.dhcp.serving import Serving
from calico_openstack.dhcp.tap_addresses import LINK_LOCAL
from calico_openstack.model.net import Net

ROUTER_LIFETIME: Final = 1800
"""Seconds; three times the longest interval, so that a guest keeps its route while an agent is restarted."""
_LEAST_MTU = 1280
_MOST_DNS = 6


class Advertisement(NamedTuple):
    """One tap's advertisement, without its link-layer address.

    `prefixes` are for autonomous addresses, never on-link. `routes` are sent with their own lifetime where this router
    is not a default one. `source` is a link-local gateway that guests expect; None for the tap's own address.
    Lifetimes in seconds.
    """

    managed: bool = False
    other: bool = False
    router_lifetime: int = ROUTER_LIFETIME
    mtu: int | None = None
    prefixes: tuple[Net, ...] = ()
    routes: tuple[Net, ...] = ()
    dns_servers: tuple[Net, ...] = ()
    search: str = ""
    source: Net | None = None


def advertisements(
    ports: Iterable[Port], mtus: Mapping[str, int], serving: Serving
) -> tuple[dict[str, Advertisement], list[Problem]]:
    """By tap, for every port with an IPv6 address."""
    wanted: dict[str, Advertisement] = {}
    problems: dict[Problem, None] = {}
    for port in ports:
        if port.v6:
            wanted[port.tap] = _advertisement(port, mtus.get(port.tap), serving)
            problems.update(dict.fromkeys(_problems(port)))
    return wanted, list(problems)


def _advertisement(port: Port, mtu: int | None, serving: Serving) -> Advertisement:
    subnets = [fixed.subnet for fixed in port.v6]
    modes = {mode_of(subnet) for subnet in subnets}
    routed = any(subnet.gateway is not None for subnet in subnets)
    link_local = [
        subnet.gateway for subnet in subnets if subnet.gateway is not None and LINK_LOCAL.contains(subnet.gateway)
    ]
    prefixes = {subnet.cidr: None for subnet in subnets if mode_of(subnet).autonomous and subnet.cidr.length == 64}
    # Without a gateway this is no default router; but nothing is on-link, so the subnet itself is a route through it.
    routes = {} if routed else {subnet.cidr: None for subnet in subnets}
    return Advertisement(
        managed=Mode.STATEFUL in modes,
        other=modes != {Mode.SLAAC},
        router_lifetime=ROUTER_LIFETIME if routed else 0,
        mtu=mtu if mtu is not None and mtu >= _LEAST_MTU else None,
        prefixes=tuple(prefixes),
        routes=tuple(routes),
        dns_servers=tuple(servers6(port, serving)[:_MOST_DNS]),
        search=port.domain,
        source=link_local[0] if link_local else None,
    )


def _problems(port: Port) -> list[Problem]:
    return [
        Problem(
            f"subnet {fixed.subnet.id}",
            f"guests cannot make their own address in {fixed.subnet.cidr}",
            "use a /64 for slaac and dhcpv6-stateless, or dhcpv6-stateful",
        )
        for fixed in port.v6
        if mode_of(fixed.subnet).autonomous and fixed.subnet.cidr.length != 64
    ]
