"""Which host endpoint is in force on which interface of this host.

Of those that name an interface the one whose name comes first; else, of those that name addresses only, the first that
has an address of the interface; and the endpoint for all interfaces (`*`) for the rest. An endpoint that names an
interface is in force there also while there is no such interface: so it is closed from its first packet on. Interfaces
of guests are nobody's but their guests'. The loopback often has the host's address; only an endpoint that names it
closes it: a host that cannot speak to itself is of no use. (upstream felix/dataplane/linux/endpoint_mgr.go,
resolveHostEndpoints)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from calico_openstack.felix.wanted.state import WantedHostEndpoint
from calico_openstack.model.net import Net

EVERY_INTERFACE = "*"
LOOPBACK = "lo"


def in_force(
    endpoints: Iterable[WantedHostEndpoint], addresses: Mapping[str, Iterable[Net]], is_tap: Callable[[str], bool]
) -> dict[str, str]:
    """Names of host endpoints by interface. `addresses`: those of each interface, as /32 and /128; needed only if
    `asks_addresses` says so."""
    by_interface: dict[str, str] = {}
    ordered = sorted(endpoints, key=lambda endpoint: endpoint.name)
    for endpoint in ordered:
        if endpoint.interface and not is_tap(endpoint.interface):
            by_interface.setdefault(endpoint.interface, endpoint.name)
    for endpoint in ordered:
        if not endpoint.interface:
            expected = set(endpoint.addresses)
            for interface, own in addresses.items():
                if interface != LOOPBACK and not is_tap(interface) and not expected.isdisjoint(own):
                    by_interface.setdefault(interface, endpoint.name)
    return by_interface


def asks_addresses(endpoints: Iterable[WantedHostEndpoint]) -> bool:
    """Whether some endpoint is to be found by its addresses."""
    return any(not endpoint.interface for endpoint in endpoints)


def idle(
    endpoints: Iterable[WantedHostEndpoint], found: Mapping[str, str], is_tap: Callable[[str], bool]
) -> dict[str, str]:
    """Why host endpoints are in force nowhere, by name."""
    why = {}
    somewhere = set(found.values())
    for endpoint in endpoints:
        if endpoint.name in somewhere:
            continue
        if not endpoint.interface:
            why[endpoint.name] = "no interface of the host has one of its addresses that no other host endpoint has"
        elif is_tap(endpoint.interface):
            why[endpoint.name] = f"{endpoint.interface} is an interface of guests"
        else:
            why[endpoint.name] = f"{found.get(endpoint.interface)} comes before it on {endpoint.interface}"
    return why
