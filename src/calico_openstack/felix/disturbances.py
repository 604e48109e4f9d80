"""What others did to what the taps have, told from events; echoes of our own writes are none of it. Touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from calico_openstack.felix.kernel.events import Happened
from calico_openstack.felix.kernel.neighbours import concerns
from calico_openstack.felix.kernel.routes import Routes, displaces
from calico_openstack.felix.taps import Taps


def disturbed(happened: Happened, routes: Routes, taps: Taps) -> Iterator[int]:
    """Indexes of interfaces whose routes or neighbours may not be as wanted any more."""
    for route in happened.routes:
        mine = taps.awarded(route.route.destination)
        if mine is not None and displaces(route, mine):
            yield mine.ifindex
        elif routes.concerns(route, taps.routes):
            yield route.route.ifindex
    for neighbour in happened.neighbours:
        if concerns(neighbour, taps.neighbours):
            yield neighbour.neighbour.ifindex


def unset(happened: Happened, taps: Taps, name_of: Callable[[int], str | None]) -> set[str]:
    """Taps of which a sysctl says something else than it should."""
    found = set()
    for ifindex, version, setting, value in happened.settings:
        name = name_of(ifindex)
        programmed = taps.programmed.get(name) if name is not None else None
        if name is not None and programmed is not None:
            path = f"ipv{version}/conf/{name}/{setting}"
            if any(sysctl.path == path and sysctl.value != str(value) for sysctl in programmed.wants.sysctls):
                found.add(name)
    return found
