"""Which endpoint an interface belongs to when several local ones claim its name.

It can happen for a moment while a port is rebuilt under another instance. The first in the order of (orchestrator,
workload, endpoint) is active, the others are shadowed until it goes (upstream endpoint_mgr.go).
"""

from __future__ import annotations

from collections.abc import Iterator

from calico_openstack.model.endpoint import EndpointKey


class InterfaceOwners:
    """Claims by interface name."""

    def __init__(self) -> None:
        self._claims: dict[str, set[EndpointKey]] = {}
        self._interfaces: dict[EndpointKey, str] = {}

    def claim(self, key: EndpointKey, interface: str | None) -> set[EndpointKey]:
        """`key` claims `interface` now (None: nothing any more); the endpoints that may have become or ceased to be
        active by it.
        """
        before = self._interfaces.get(key)
        if before == interface:
            return set()
        touched = {key}
        if before is not None:
            del self._interfaces[key]
            claims = self._claims[before]
            claims.discard(key)
            touched |= claims
            if not claims:
                del self._claims[before]
        if interface is not None:
            self._interfaces[key] = interface
            claims = self._claims.setdefault(interface, set())
            touched |= claims
            claims.add(key)
        return touched

    def is_active(self, key: EndpointKey) -> bool:
        interface = self._interfaces.get(key)
        return interface is not None and min(self._claims[interface], key=precedence) == key

    def shadowed(self) -> Iterator[tuple[EndpointKey, str]]:
        """The endpoints that wait for an interface, with its name."""
        for interface, claims in self._claims.items():
            for key in claims:
                if len(claims) > 1 and not self.is_active(key):
                    yield key, interface


def precedence(key: EndpointKey) -> tuple[str, str, str]:
    """Upstream's order of workload endpoints; its workload id is `<namespace>/<workload>`."""
    return (key.orchestrator, f"{key.namespace}/{key.workload}", key.endpoint)
