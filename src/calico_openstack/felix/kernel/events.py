"""What others, and we ourselves, do to links, their settings, routes, neighbours, traffic control and nf_tables, for
the apply thread.

Events only say what to look at again. Lost events (ENOBUFS) mean: look at everything again. Needs CAP_NET_ADMIN only
for its large buffer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from calico_openstack.felix.kernel.foreign_tables import changes_others
from calico_openstack.netlink import rtnl
from calico_openstack.netlink.rtnl_links import LinkEvent, read_link
from calico_openstack.netlink.rtnl_neighbours import NeighbourEvent, read_neighbour
from calico_openstack.netlink.rtnl_netconf import GROUP_IPV4_NETCONF, GROUP_IPV6_NETCONF, Setting, read_settings
from calico_openstack.netlink.rtnl_routes import RouteEvent, read_route
from calico_openstack.netlink.socket import NETFILTER, ROUTE, NetlinkSocket, Overrun
from calico_openstack.netlink.traffic_control import GROUP_TC, changed_device
from calico_openstack.netlink.wire import Message

_GROUP_NFTABLES = 7
_GROUPS = (
    rtnl.GROUP_LINK,
    rtnl.GROUP_NEIGH,
    rtnl.GROUP_IPV4_ADDR,
    rtnl.GROUP_IPV6_ADDR,
    rtnl.GROUP_IPV4_ROUTE,
    rtnl.GROUP_IPV6_ROUTE,
    GROUP_TC,
    GROUP_IPV4_NETCONF,
    GROUP_IPV6_NETCONF,
)


@dataclass(slots=True)
class Happened:
    """Events since the last look, in order within each kind. `lost`: there were more. `nft`: somebody, perhaps we,
    committed a transaction; `others`: it was about tables, chains or rules that are not ours. `shaped`: indexes of
    interfaces whose traffic control changed. `settings`: sysctls of interfaces as they are now. `addresses`: some
    interface has others.
    """

    links: list[LinkEvent] = field(default_factory=list)
    routes: list[RouteEvent] = field(default_factory=list)
    neighbours: list[NeighbourEvent] = field(default_factory=list)
    shaped: set[int] = field(default_factory=set)
    settings: list[Setting] = field(default_factory=list)
    lost: bool = False
    nft: bool = False
    others: bool = False
    addresses: bool = False

    def take(self, message: Message) -> None:
        if (link := read_link(message)) is not None:
            self.links.append(link)
        elif (route := read_route(message)) is not None:
            self.routes.append(route)
        elif (neighbour := read_neighbour(message)) is not None:
            self.neighbours.append(neighbour)
        elif message.kind in (rtnl.NEWADDR, rtnl.DELADDR):
            self.addresses = True
        elif (shaped := changed_device(message)) is not None:
            self.shaped.add(shaped)
        else:
            self.settings += read_settings(message)


class KernelEvents:
    """The subscription; it begins when this is made, so what is listed afterwards cannot be missed."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(ROUTE, groups=_GROUPS, buffer=8 << 20)
        self._nft = NetlinkSocket(NETFILTER, groups=(_GROUP_NFTABLES,), buffer=8 << 20)

    def filenos(self) -> tuple[int, int]:
        """One of them is readable when something happened."""
        return self._socket.fileno(), self._nft.fileno()

    def drain(self) -> Happened:
        """What happened since the last call. Does not block."""
        happened = Happened()
        more = True
        while more:
            try:
                for message in self._socket.receive():
                    happened.take(message)
                more = False
            except Overrun:
                happened.lost = True
        more = True
        while more:
            try:
                for message in self._nft.receive():
                    happened.nft = True
                    happened.others = happened.others or changes_others(message)
                more = False
            except Overrun:
                happened.nft = happened.others = True
        return happened

    def close(self) -> None:
        self._socket.close()
        self._nft.close()
