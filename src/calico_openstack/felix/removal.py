"""Taking Felix's own things out of a host's kernel, when something else is to protect its guests. Needs CAP_NET_ADMIN.

Tables of nf_tables (one transaction) and bandwidth limits. Routes, neighbours and sysctls stay: guests need them
whoever filters, and the upstream Felix wants the same ones. Nothing else keeps guests apart then, so whoever calls this
has made sure that something does.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_openstack.daemon.reconcile import Changes
from calico_openstack.felix.foreign import ForeignTable
from calico_openstack.felix.kernel.foreign_tables import foreign_tables, our_tables, read_chains
from calico_openstack.felix.kernel.legacy_tables import in_use
from calico_openstack.felix.kernel.legacy_tables import read_chains as read_legacy_chains
from calico_openstack.felix.kernel.shapers import Shapers
from calico_openstack.felix.kernel.upstream_remains import remove_from_nft
from calico_openstack.felix.upstream import Leftovers, leftovers
from calico_openstack.netlink.socket import NETFILTER, ROUTE, NetlinkSocket

CHAINS = frozenset(("cali-FORWARD", "cali-from-wl-dispatch"))


def upstream_filters() -> bool:
    """Whether the upstream Felix has put its filters into this kernel. OSError if that cannot be read."""
    with NetlinkSocket(NETFILTER) as connection:
        tables = foreign_tables(connection)
        chains = [*read_chains(connection, tables, False), *read_legacy_chains(in_use(), False)]
    found = leftovers(tables, chains)
    whole = ForeignTable("ip", "calico") in found.tables
    return whole or {place.chain for place in found.chains} >= CHAINS


def remove(prefixes: Iterable[str]) -> list[str]:
    """Remove it all; what that was, in words. OSError if the kernel refuses."""
    wanted = tuple(prefixes)
    with NetlinkSocket(ROUTE, strict=True) as route:
        shapers = Shapers(route, lambda name: name.startswith(wanted))
        limits = list(shapers.read())
        failed = shapers.apply(Changes({}, limits))
    if failed:
        key, why = next(iter(failed.items()))
        raise OSError(5, f"limit {key}: {why}")
    with NetlinkSocket(NETFILTER) as netfilter:
        tables = our_tables(netfilter)
        remove_from_nft(netfilter, Leftovers(tables=tuple(tables)))
    return [f"limit {key}" for key in limits] + [f"table {table.family} {table.name}" for table in tables]
