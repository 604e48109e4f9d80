"""What an endpoint wants of the host beside the firewall: routes, permanent neighbours, sysctls of its tap.

Pure: an endpoint, the host's settings and nothing else. Whether the tap exists, and with which index, is the caller's
knowledge; these wishes hold for any tap that carries.

Addresses get a route of full length each, allowed address pairs that are networks one of their own length, floating
IPs one as well. Neighbours are permanent, in both families: dnsmasq injects ordinary entries when it answers a DHCP
request, and a guest with `arp_ignore=2` never answers the host (upstream: IPv4 only). A network has no neighbour, the
guest must answer for its members itself.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from calico_openstack.felix.wanted.migration import Phase
from calico_openstack.felix.wanted.state import WantedEndpoint
from calico_openstack.model.net import Net


class HostRules(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that decide it, upstream's names in brackets.

    `ipv6` [Ipv6Support]; `metric4`, `metric6` [IPv4NormalRoutePriority, IPv6NormalRoutePriority]; `protocol`
    [DeviceRouteProtocol]; `source4`, `source6` [DeviceRouteSourceAddress(IPv6)]; `program_routes` [not
    RouteSyncDisabled]; `rp_filter` is the host's `net.ipv4.conf.default.rp_filter`; `localnet`: guests' packets are
    translated to 127.0.0.0/8 [MetadataAddr]; `forwarding` [IPForwarding]: Felix says that this host forwards;
    `elevated4`, `elevated6` [IPv4ElevatedRoutePriority, IPv6ElevatedRoutePriority], and the seconds of `convergence`
    [LiveMigrationRouteConvergenceTime] and `afterglow` [MovedRouteConvergenceTime], are for guests that have just come.
    """

    ipv6: bool = True
    metric4: int = 1024
    metric6: int = 1024
    protocol: int = 3
    source4: Net | None = None
    source6: Net | None = None
    program_routes: bool = True
    rp_filter: str = "1"
    localnet: bool = True
    forwarding: bool = True
    elevated4: int = 512
    elevated6: int = 512
    convergence: float = 30.0
    afterglow: float = 120.0

    def metric(self, version: int, elevated: bool = False) -> int:
        if elevated:
            return self.elevated4 if version == 4 else self.elevated6
        return self.metric4 if version == 4 else self.metric6

    def source(self, version: int) -> Net | None:
        return self.source4 if version == 4 else self.source6


class Sysctl(NamedTuple):
    """A file below `/proc/sys/net/` and what it should say. `required`: without it the endpoint is not up."""

    path: str
    value: str
    required: bool = True


class HostWants(NamedTuple):
    """What one endpoint wants of its tap. `elevated`: its routes have the elevated metric."""

    routes: tuple[Net, ...] = ()
    neighbours: tuple[tuple[Net, str], ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    elevated: bool = False


NOTHING = HostWants()


def host_wants(endpoint: WantedEndpoint, rules: HostRules, phase: Phase = Phase.BASE) -> HostWants:
    """The wishes of one endpoint. One to which a guest is on its way has everything but its routes."""
    targets = dict.fromkeys((*endpoint.addresses, *(nat.external for nat in endpoint.nats)))
    # A route for everything would take the place of the host's own default route (systemd-networkd's and the kernel's
    # for IPv6 have the same metric), and its way to etcd with it.
    nets = tuple(net for net in targets if net.length > 0 and (net.version == 4 or rules.ipv6))
    mac = endpoint.mac
    return HostWants(
        routes=nets if rules.program_routes and phase is not Phase.TARGET else (),
        neighbours=tuple((net, mac) for net in nets if net.is_host) if mac else (),
        sysctls=tap_sysctls(
            endpoint.interface,
            rules,
            may_spoof=bool(endpoint.spoof),
            arriving=phase is not Phase.BASE,
            needs_ipv6=any(net.version == 6 for net in nets),
        ),
        elevated=phase.elevated,
    )


def tap_sysctls(
    interface: str, rules: HostRules, may_spoof: bool = False, arriving: bool = False, needs_ipv6: bool = True
) -> tuple[Sysctl, ...]:
    """The sysctls of a tap, as upstream sets them (felix/dataplane/linux/endpoint_mgr.go), without `proxy_ndp`.

    The kernel's proxy NDP answers only for entries that nobody makes; an IPv6 guest's router is the tap's link-local
    address. `proxy_arp` is what the guest relies on: it believes that its whole subnet is on the link.

    As long as another host may announce a guest that is `arriving`, this host's way to it may lead there, and the
    strict reverse path check would drop what the guest sends: it is loose meanwhile. Senders are checked by the
    firewall in any case.
    """
    ipv4 = f"ipv4/conf/{interface}"
    reverse_path = "0" if may_spoof else "2" if arriving and rules.rp_filter == "1" else rules.rp_filter
    wanted = [
        # A guest must not configure the host. The file is missing if the kernel has no IPv6.
        Sysctl(f"ipv6/conf/{interface}/accept_ra", "0", required=False),
        Sysctl(f"ipv6/conf/{interface}/accept_redirects", "0", required=False),
        Sysctl(f"{ipv4}/accept_redirects", "0"),
        # Nor choose the way of its packets by IP options (RFC 791); the firewall sees one destination at a time.
        Sysctl(f"{ipv4}/accept_source_route", "0"),
        # Without need, a guest could address what listens on the host's loopback only.
        Sysctl(f"{ipv4}/route_localnet", "1" if rules.localnet else "0"),
        Sysctl(f"ipv4/neigh/{interface}/proxy_delay", "0", required=False),
        Sysctl(f"{ipv4}/proxy_arp", "1"),
        Sysctl(f"{ipv4}/rp_filter", reverse_path),
    ]
    if rules.forwarding:
        # IPv4 forwards what comes in by an interface that says so, whatever the others say.
        wanted.append(Sysctl(f"{ipv4}/forwarding", "1"))
        if rules.ipv6:
            # Where the MTU is below 1280 bytes the kernel has no such file, and guests with IPv4 alone do not miss it.
            wanted.append(Sysctl(f"ipv6/conf/{interface}/forwarding", "1", required=needs_ipv6))
    return tuple(wanted)


def global_sysctls(ipv6: bool, forwarding: bool) -> tuple[Sysctl, ...]:
    """The host's own sysctls [IPForwarding, Ipv6Support]; flow accounting may be missing."""
    wanted = [Sysctl("netfilter/nf_conntrack_acct", "1", required=False)]
    if forwarding:
        wanted.append(Sysctl("ipv4/ip_forward", "1"))
        if ipv6:
            wanted.append(Sysctl("ipv6/conf/all/forwarding", "1"))
    return tuple(wanted)
