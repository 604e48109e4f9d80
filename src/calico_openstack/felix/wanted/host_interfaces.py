"""Which host endpoint is in force on which interface of this host.

Of those that name an interface the one whose name comes first; else, of those that name addresses only, the first that
has an address of the interface; and the endpoint for all interfaces (`*`) for the rest. An endpoint that names an
interface is in force there also while there is no such interface: so it is closed from its first packet on. Interfaces
of guests are nobody's but their guests'. (upstream felix/dataplane/linux/endpoint_mgr.go, resolveHostEndpoints)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from calico_openstack.felix.wanted.state import WantedHostEndpoint
from calico_openstack.model.net import Net

EVERY_INTERFACE = "*"


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
                if not is_tap(interface) and not expected.isdisjoint(own):
                    by_interface.setdefault(interface, endpoint.name)
    return by_interface


def asks_addresses(endpoints: Iterable[WantedHostEndpoint]) -> bool:
    """Whether some endpoint is to be found by its addresses."""
    return any(not endpoint.interface for endpoint in endpoints)
