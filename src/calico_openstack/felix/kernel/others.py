"""The door to what other software has in the kernel: packet filters, ipsets, limits. Needs CAP_NET_ADMIN.

Only what the upstream Felix left is ever removed; all else is only looked at.
"""

from __future__ import annotations

from collections.abc import Callable

from calico_openstack.felix.foreign import ForeignChain, ForeignTable
from calico_openstack.felix.kernel import ip_sets, legacy_tables, upstream_remains
from calico_openstack.felix.kernel.foreign_tables import foreign_tables, read_chains
from calico_openstack.felix.kernel.upstream_remains import Limits
from calico_openstack.felix.upstream import Leftovers, is_set
from calico_openstack.netlink.socket import NETFILTER, ROUTE, NetlinkSocket


class Others:
    """Sockets in the network namespace of the thread that makes it. Every method may raise OSError."""

    def __init__(self) -> None:
        self._netfilter = NetlinkSocket(NETFILTER, buffer=8 << 20)
        self._route = NetlinkSocket(ROUTE, strict=True)

    def close(self) -> None:
        self._netfilter.close()
        self._route.close()

    def tables(self, whole: bool = False) -> tuple[list[ForeignTable], list[ForeignChain]]:
        """The tables of nf_tables that are not ours, and their chains: as far as guests may come, or the whole."""
        tables = foreign_tables(self._netfilter)
        return tables, read_chains(self._netfilter, tables, whole)

    def legacy_chains(self, whole: bool = False) -> list[ForeignChain]:
        """The chains of the old tables, likewise. Starts programs if there are such tables, and only then."""
        return legacy_tables.read_chains(legacy_tables.in_use(), whole)

    def upstream_sets(self) -> list[str]:
        return [name for name in ip_sets.names(self._netfilter) if is_set(name)]

    def upstream_limits(self, is_tap: Callable[[str], bool]) -> Limits:
        return upstream_remains.find_limits(self._route, is_tap)

    def remove_rules(self, leftovers: Leftovers) -> int:
        """How many operations it took."""
        return upstream_remains.remove_from_nft(self._netfilter, leftovers) + legacy_tables.remove(leftovers)

    def remove_limits(self, limits: Limits) -> int:
        """How many operations it took."""
        return upstream_remains.remove_limits(self._route, limits)

    def remove_sets(self, names: list[str], seconds: float) -> dict[str, str]:
        """Those that are left, and why."""
        return ip_sets.destroy(self._netfilter, names, seconds)
