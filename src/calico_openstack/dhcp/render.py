"""Everything that this host should serve, as one value made from endpoints, subnets and taps.

Pure: the same inputs give the same texts, in any order of arrival. It says nothing about how the texts reach dnsmasq
(`dnsmasq`), the addresses a tap (`taps`) or the advertisements the wire (`radv`).

```
    endpoints ─┐                ┌─► hosts and options, DHCPv4 and DHCPv6
    subnets  ──┼─► ports ───────┼─► gateway addresses by tap
    tap MTUs ──┘                ├─► router advertisements by tap
                                └─► problems
```
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from calico_openstack.dhcp.advertise import Advertisement, advertisements
from calico_openstack.dhcp.grants import Grant
from calico_openstack.dhcp.ports import Port, read_ports
from calico_openstack.dhcp.problems import Problem
from calico_openstack.dhcp.render4 import hosts4, options4
from calico_openstack.dhcp.render6 import hosts6, options6, problems6, stateful
from calico_openstack.dhcp.serving import Serving
from calico_openstack.dhcp.subnets import SubnetIndex
from calico_openstack.dhcp.tap_addresses import TapAddress, tap_addresses
from calico_openstack.model.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Files:
    """What one dnsmasq reads, and the addresses that it may lease by it."""

    hosts: str = ""
    options: str = ""
    grants: frozenset[Grant] = frozenset()


@dataclass(frozen=True, slots=True)
class Rendered:
    v4: Files
    v6: Files
    addresses: Mapping[str, frozenset[TapAddress]]
    advertisements: Mapping[str, Advertisement]
    problems: tuple[Problem, ...]


def render(endpoints: Iterable[Endpoint], subnets: SubnetIndex, mtus: Mapping[str, int], serving: Serving) -> Rendered:
    """`mtus` are the taps that exist, by name; a tap that is missing is rendered all the same and has no MTU yet."""
    ports, problems = read_ports(endpoints, subnets, serving.domain)
    options, found = options4(ports, mtus, serving)
    problems += found + problems6(ports)
    addresses, found = tap_addresses(ports)
    problems += found
    advertised, found = advertisements(ports, mtus, serving)
    problems += found
    return Rendered(
        v4=Files(hosts4(ports), options, frozenset(_grants4(ports))),
        v6=Files(hosts6(ports), options6(ports, serving), frozenset(_grants6(ports))),
        addresses=addresses,
        advertisements=advertised,
        problems=tuple(problems),
    )


def _grants4(ports: Iterable[Port]) -> Iterable[Grant]:
    return (Grant(port.v4.address.address, port.mac, port.tap) for port in ports if port.v4 is not None)


def _grants6(ports: Iterable[Port]) -> Iterable[Grant]:
    return (Grant(fixed.address.address, port.mac, port.tap) for port in ports for fixed in stateful(port))
