"""A kernel in memory, for laws about what happens between any two operations.

A transaction of nf_tables is one operation, all or nothing; routes, neighbours, sysctls, traffic control and ended
flows are one operation each, as in the real one. After each, `after` is called, and at number `kill_at` the caller is
killed (`Killed`, which nothing may catch). `refuses` makes nf_tables refuse single operations, `fails` gives the
error of a request or a dump of rtnetlink (0: none). Events echo what was done, as the real one's sockets do.

Requests arrive as the bytes that would go to the real one and are read with the readers of `netlink`; of nf_tables,
values. What the kernel checks beyond that (is this MAC well-formed, is this expression allowed) is not checked: that is
what functional tests are for.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

from calico_openstack.felix.kernel.access import KernelAccess
from calico_openstack.felix.kernel.barred import Barred
from calico_openstack.felix.kernel.events import Happened, KernelEvents
from calico_openstack.felix.kernel.nft import NftRefused, NftTables
from calico_openstack.felix.kernel.sysctls import Sysctls
from calico_openstack.felix.ruleset.difference import Actual, ActualTable, as_read
from calico_openstack.felix.ruleset.named_sets import ARP, BOOT, INET
from calico_openstack.felix.ruleset.objects import NamedSet, NftChanges, Operation, Ruleset, Table, TableContent, apply
from calico_openstack.felix.wanted.host import Sysctl
from calico_openstack.model.net import Net
from calico_openstack.netlink.rtnl_links import Link, LinkEvent
from calico_openstack.netlink.rtnl_routes import Route
from calico_openstack.netlink.socket import NetlinkError, NetlinkSocket
from calico_openstack.netlink.wire import Request
from calico_openstack.testing.fake_conntrack import FakeConntrack, FlowTable
from calico_openstack.testing.fake_rtnetlink import FakeRouteSocket


class Killed(BaseException):
    """SIGKILL: no handler of the code under test sees it."""


@dataclass(slots=True)
class FakeKernel:
    """State of one network namespace. `operations` counts what was done to it through its doors."""

    links: dict[int, Link] = field(default_factory=dict)
    kinds: dict[int, str] = field(default_factory=dict)
    routes: dict[tuple[Net, int, int], Route] = field(default_factory=dict)
    neighbours: dict[tuple[int, Net], str] = field(default_factory=dict)
    qdiscs: dict[tuple[int, int], bytes] = field(default_factory=dict)
    filters: dict[tuple[int, int], bytes] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    ruleset: Ruleset = field(default_factory=dict)
    generation: int = 1
    flows: FlowTable = field(default_factory=FlowTable)
    operations: int = 0
    kill_at: int | None = None
    after: Callable[[], None] = lambda: None
    refuses: Callable[[Operation], bool] = lambda operation: False
    fails: Callable[[Request], int] = lambda request: 0
    happened: Happened = field(default_factory=Happened)
    _next_index: int = 10

    def __post_init__(self) -> None:
        for path in ("netfilter/nf_conntrack_acct", "ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            self.sysctls[path] = "0"

    def access(self) -> KernelAccess:
        """New doors, as a new process opens them: events begin now."""
        self.happened = Happened()
        return KernelAccess(
            route=cast(NetlinkSocket, FakeRouteSocket(self)),
            events=_Events(self),
            tables=FakeTables(self),
            sysctls=_Sysctls(self),
            conntrack=FakeConntrack(self.flows, self.did),
            barred=Barred(FakeTables(self)),
        )

    def did(self) -> None:
        """One operation is done."""
        self.operations += 1
        self.after()
        if self.operations == self.kill_at:
            raise Killed

    def plug(self, name: str, kind: str = "tun", mtu: int = 1500) -> int:
        """A new interface that carries; its index."""
        self._next_index += 1
        index = self._next_index
        self.links[index] = Link(name, index, up=True, running=True, mtu=mtu, mac="02:00:00:00:00:01")
        self.kinds[index] = kind
        accepted = ("accept_redirects", "accept_source_route")
        for path in ("route_localnet", "proxy_arp", "forwarding", "rp_filter", *accepted):
            self.sysctls[f"ipv4/conf/{name}/{path}"] = "0"
        for path in ("accept_ra", "accept_redirects", "forwarding"):
            self.sysctls[f"ipv6/conf/{name}/{path}"] = "1"
        self.sysctls[f"ipv4/neigh/{name}/proxy_delay"] = "1"
        self.happened.links.append(LinkEvent(self.links[index], deleted=False))
        return index

    def unplug(self, name: str) -> None:
        """The interface goes, and takes with it what hangs on it."""
        index = self.index_of(name)
        if index is None:
            return
        link = self.links.pop(index)
        del self.kinds[index]
        for path in [path for path in self.sysctls if f"/{name}/" in path]:
            del self.sysctls[path]
        for route in [key for key, route in self.routes.items() if route.ifindex == index]:
            del self.routes[route]
        self.neighbours = {key: mac for key, mac in self.neighbours.items() if key[0] != index}
        self.qdiscs = {key: body for key, body in self.qdiscs.items() if key[0] != index}
        self.filters = {key: body for key, body in self.filters.items() if key[0] != index}
        self.happened.links.append(LinkEvent(link, deleted=True))

    def index_of(self, name: str) -> int | None:
        return next((index for index, link in self.links.items() if link.name == name), None)

    def name_of(self, index: int) -> str:
        link = self.links.get(index)
        return link.name if link is not None else ""

    def way_to(self, destination: Net) -> str:
        """The interface by which packets to this address leave; empty if no route leads there."""
        found = [route for route in self.routes.values() if route.destination.contains(destination)]
        best = min(found, key=lambda route: (-route.destination.length, route.metric), default=None)
        return self.name_of(best.ifindex) if best is not None else ""


class FakeTables(NftTables):
    """nf_tables: a transaction happens in whole or not at all. Reading and comparing are the real class's own."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.transactions = self.refusals = self.readings = self.failed_readings = 0
        self._kernel = kernel

    def close(self) -> None:
        pass

    def generation(self) -> int:
        return self._kernel.generation

    def read(self) -> Actual:
        self.readings += 1
        ours = {table: content for table, content in self._kernel.ruleset.items() if table in (INET, ARP, BOOT)}
        return as_read(ours)

    def read_table(self, table: Table) -> ActualTable:
        return as_read({table: self._kernel.ruleset.get(table, TableContent())})[table]

    def apply(self, changes: NftChanges) -> None:
        if not changes:
            return
        self.transactions += 1
        refused = next((operation for operation in changes.operations if self._kernel.refuses(operation)), None)
        if refused is not None:
            self.refusals += 1
            raise NftRefused(NetlinkError(errno.EINVAL, "refused by order"), refused)
        after = _copied(self._kernel.ruleset)
        try:
            apply(after, changes)
        except KeyError as missing:
            self.refusals += 1
            raise NftRefused(NetlinkError(errno.ENOENT, f"there is no {missing}")) from missing
        self._kernel.ruleset = after
        self._kernel.generation += 1
        self._kernel.happened.nft = True
        self._kernel.did()


class _Events(KernelEvents):
    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def filenos(self) -> tuple[int, int]:
        raise NotImplementedError("a kernel in memory wakes nobody up")

    def drain(self) -> Happened:
        happened, self._kernel.happened = self._kernel.happened, Happened()
        return happened

    def close(self) -> None:
        pass


class _Sysctls(Sysctls):
    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.operations = 0

    def read(self, path: str) -> str | None:
        return self._kernel.sysctls.get(path)

    def apply(self, wanted: Iterable[Sysctl]) -> list[str]:
        failures = []
        for path, value, required in wanted:
            known = self._kernel.sysctls.get(path)
            if known is None:
                failures += [f"{path}: No such file or directory"] if required else []
            elif known != value:
                self._kernel.sysctls[path] = value
                self.operations += 1
                self._kernel.did()
        return failures


def _copied(ruleset: Ruleset) -> Ruleset:
    return {
        table: TableContent(
            dict(content.chains),
            {name: NamedSet(named.spec, dict(named.elements)) for name, named in content.sets.items()},
        )
        for table, content in ruleset.items()
    }
