"""What Felix would do to this host's kernel now, found out with Felix's own parts and without a single write.

    Changes (from the graph) ─► renderer ─► difference ◄─ NftTables.read
                             └► Taps     ─► diff       ◄─ Routes.read, Neighbours.read, Sysctls.read, Shapers.read

The parts and the way they are put together are `dataplane`'s; a test against a real kernel holds the two to the same
numbers of operations. Flows that a step would end are not part of it: those depend on what changes, not on what is.
Needs CAP_NET_ADMIN for reading nf_tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from calico_openstack.daemon.reconcile import Changes as KeyedChanges
from calico_openstack.daemon.reconcile import diff
from calico_openstack.felix.arrivals import recall
from calico_openstack.felix.dataplane import DataplaneSettings
from calico_openstack.felix.kernel.links import Links
from calico_openstack.felix.kernel.neighbours import NeighbourKey, Neighbours
from calico_openstack.felix.kernel.nft import NftTables
from calico_openstack.felix.kernel.routes import GRACE, RouteKey, Routes
from calico_openstack.felix.kernel.shapers import ShaperKey, Shapers
from calico_openstack.felix.kernel.sysctls import Sysctls
from calico_openstack.felix.own_interfaces import OwnInterfaces
from calico_openstack.felix.ruleset.difference import Actual, difference
from calico_openstack.felix.ruleset.objects import NftChanges, Ruleset
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.shaping import wished
from calico_openstack.felix.taps import Taps
from calico_openstack.felix.wanted.host import Sysctl, global_sysctls
from calico_openstack.felix.wanted.migration import Migrations
from calico_openstack.felix.wanted.shaping import Shape
from calico_openstack.felix.wanted.state import Changes, Wanted, WantedEndpoint
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.netlink.rtnl_addresses import Address, dump_addresses, read_address
from calico_openstack.netlink.rtnl_links import Link
from calico_openstack.netlink.rtnl_routes import Route
from calico_openstack.netlink.socket import ROUTE, NetlinkSocket


class SysctlDifference(NamedTuple):
    """`actual` is None if there is no such file."""

    sysctl: Sysctl
    actual: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs, per target, and what is known about those concerned.

    `interfaces` has the names by index, `owners` the endpoint of each tap name. `refused` are endpoints that the
    ruleset refuses; `waiting` those whose tap is not there or does not carry.
    """

    nft: NftChanges
    nft_wanted: Ruleset
    nft_actual: Actual
    routes: KeyedChanges[RouteKey, Route]
    routes_actual: Mapping[RouteKey, Route]
    neighbours: KeyedChanges[NeighbourKey, str]
    neighbours_actual: Mapping[NeighbourKey, str]
    sysctls: tuple[SysctlDifference, ...]
    shaping: KeyedChanges[ShaperKey, Shape]
    shaping_actual: Mapping[ShaperKey, Shape]
    interfaces: Mapping[int, str]
    owners: Mapping[str, WantedEndpoint]
    refused: Mapping[EndpointKey, str]
    waiting: tuple[WantedEndpoint, ...]

    def counts(self) -> dict[str, int]:
        """Single operations, as a step counts them."""
        return {
            "nft": len(self.nft),
            "routes": len(self.routes.puts) + len(self.routes.deletes),
            "neighbours": len(self.neighbours.puts) + len(self.neighbours.deletes),
            "sysctls": len(self.sysctls),
            "shaping": len(self.shaping.puts) + len(self.shaping.deletes),
        }

    def __bool__(self) -> bool:
        return any(self.counts().values())


def compare(settings: DataplaneSettings, changes: Changes) -> Comparison:
    """Compare what `changes` lead to, starting from nothing, with this network namespace. OSError if it cannot be read.

    A stranger's route that Felix would leave alone for its time of grace is reported as one to be removed.
    """
    connection, tables = NetlinkSocket(ROUTE, strict=True), NftTables()
    try:
        return _compare(settings, changes, connection, tables)
    finally:
        tables.close()
        connection.close()


def _compare(settings: DataplaneSettings, changes: Changes, connection: NetlinkSocket, tables: NftTables) -> Comparison:
    links = Links()
    links.read(connection)
    is_tap = settings.ruleset.is_tap

    def is_tap_index(ifindex: int) -> bool:
        name = name_of(ifindex)
        return name is not None and is_tap(name)

    def carrying(name: str) -> Link | None:
        return links.carrying(name) if is_tap(name) else None

    def addresses() -> Iterator[Address]:
        for message in connection.dump(dump_addresses()):
            event = read_address(message)
            if event is not None:
                yield event.address

    def name_of(ifindex: int) -> str | None:
        link = links.by_index.get(ifindex)
        return link.name if link is not None else None

    wanted = Wanted()
    wanted.apply(changes)
    OwnInterfaces(wanted, addresses, name_of, is_tap).settle(changes, 0.0)
    renderer = RulesetRenderer(settings.ruleset)
    renderer.apply(changes)
    actual = tables.read()
    migrations = Migrations(settings.host.convergence)
    taps = Taps(settings.host, carrying, migrations.phase)
    clock = _Clock()
    routes = Routes(connection, is_tap_index, taps.has_claims, clock)
    routes.use(settings.host.protocol, settings.remove_external_routes, settings.host.program_routes)
    migrations.update(changes, clock(), recall(taps, links.by_name, routes.present(links.by_index)))
    taps.update(changes)
    routes.read()
    clock.now += GRACE
    found_routes = routes.read()
    found_neighbours = Neighbours(connection, is_tap_index).read()
    found_shaping = Shapers(connection, is_tap).read()
    return Comparison(
        nft=difference(renderer.full(), actual),
        nft_wanted=renderer.full(),
        nft_actual=actual,
        routes=diff(taps.routes, found_routes),
        routes_actual=found_routes,
        neighbours=diff(taps.neighbours, found_neighbours),
        neighbours_actual=found_neighbours,
        sysctls=_sysctls(settings, taps),
        shaping=diff(_shapes(taps, links, is_tap), found_shaping),
        shaping_actual=found_shaping,
        interfaces={index: link.name for index, link in links.by_index.items()},
        owners=dict(taps.owners),
        refused=dict(renderer.refused),
        waiting=tuple(
            owner
            for name, owner in sorted(taps.owners.items())
            if name not in taps.programmed and owner.key not in renderer.refused
        ),
    )


def _shapes(taps: Taps, links: Links, is_tap: Callable[[str], bool]) -> dict[ShaperKey, Shape]:
    wishes: dict[ShaperKey, Shape] = {}
    for name, owner in taps.owners.items():
        if is_tap(name):
            wishes.update(wished(links.by_name.get(name), owner.qos))
    return wishes


@dataclass(slots=True)
class _Clock:
    """Stands still until it is put forward."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


_FORWARDING = {"ipv4/ip_forward": "ipv4/conf/", "ipv6/conf/all/forwarding": "ipv6/conf/"}
"""The host's switches that the kernel copies to all interfaces when they are written (net/ipv4/devinet.c,
net/ipv6/addrconf.c)."""


def _sysctls(settings: DataplaneSettings, taps: Taps) -> tuple[SysctlDifference, ...]:
    """The writes. A file that is missing and not required is none, and neither is one that an earlier write sets."""
    read = Sysctls().read
    wanted = list(global_sysctls(settings.host.ipv6, settings.host.forwarding))
    for programmed in taps.programmed.values():
        wanted += programmed.wants.sysctls
    found: list[SysctlDifference] = []
    copied: list[str] = []
    for sysctl in wanted:
        actual = read(sysctl.path)
        if actual == sysctl.value or (actual is None and not sysctl.required):
            continue
        if sysctl.path.endswith("/forwarding") and sysctl.path.startswith(tuple(copied)):
            continue
        found.append(SysctlDifference(sysctl, actual))
        if sysctl.path in _FORWARDING:
            copied.append(_FORWARDING[sysctl.path])
    return tuple(found)
