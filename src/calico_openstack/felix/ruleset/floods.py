"""How much of the host one guest may use before any policy is asked, so that none takes it from the others.

    what                              bound                               whose resource it is
    router and neighbour discovery,   packets per second and tap          the host's soft interrupts, the router
    MLD, ARP                                                              advertiser, proxy ARP
    DHCP, DNS                         packets per second and tap          the one dnsmasq of the host
    link-local source addresses       the one made of the MAC (RFC 4291)  the host's neighbour table: each source that
                                      always; others: a few, and a few    solicits it becomes an entry there
                                      more per minute

Each tap has buckets of its own, kept by the kernel in dynamic sets: one look-up per packet, none for what is forwarded.
What is more than the bound is dropped. An address that a guest chose (RFC 7217, a virtual router) stays good while it
is used, and `LINK_TIME` longer. The bounds are far above what a busy guest needs, a router that knows a thousand
neighbours included.
"""

from __future__ import annotations

from collections.abc import Iterator

from calico_openstack.felix.ruleset import fields
from calico_openstack.felix.ruleset.fields import byte, port
from calico_openstack.felix.ruleset.objects import Dynamic, SetSpec
from calico_openstack.felix.ruleset.statements import ACCEPT, DROP, Equal, InSet, RateOf, Remember, Statement

MOST_TAPS = 65535
IDLE = 60
"""Seconds after which an unused bucket, long full again, is forgotten."""

LINK_TIME, LINK_BURST, LINK_RATE = 600, 8, 2
"""New link-local sources of one tap: so many at once, and so many a minute; each is known for so many seconds. So no
more than 28 are known at a time."""

DISCOVERY, ARP, DHCP, DNS = (200, 400), (200, 500), (20, 50), (1000, 2000)
"""Packets per second, and at once."""

_IFNAME = (fields.IFNAME,)
_LINK = (fields.IFNAME, fields.IPV6)
LINK_OWN = SetSpec("link-own", _LINK)
LINK_SEEN = SetSpec("link-seen", _LINK, dynamic=Dynamic(MOST_TAPS, LINK_TIME))
LINK_NEW = SetSpec("link-new", _IFNAME, dynamic=Dynamic(MOST_TAPS, LINK_TIME))
DISCOVERY_RATE = SetSpec("discovery-rate", _IFNAME, dynamic=Dynamic(MOST_TAPS, IDLE))
DHCP_RATE = DISCOVERY_RATE._replace(name="dhcp-rate")
DNS_RATE = DISCOVERY_RATE._replace(name="dns-rate")
ARP_RATE = DISCOVERY_RATE._replace(name="arp-rate")

INET_SETS = (LINK_OWN, LINK_SEEN, LINK_NEW, DISCOVERY_RATE, DHCP_RATE, DNS_RATE)
ARP_SETS = (ARP_RATE,)

_SENDER = (fields.IN, fields.SOURCE6)


def link_source(*, limit: bool = True) -> Iterator[tuple[Statement, ...]]:
    """For packets from a guest's MAC and a link-local source, which may go where they go."""
    if not limit:
        yield (ACCEPT,)
        return
    v6 = Equal(fields.NFPROTO, fields.V6)
    yield v6, InSet(_SENDER, LINK_OWN.name), ACCEPT
    yield v6, InSet(_SENDER, LINK_SEEN.name), Remember(_SENDER, LINK_SEEN.name, refresh=True), ACCEPT
    few = RateOf((fields.IN,), LINK_NEW.name, LINK_RATE, "minute", LINK_BURST)
    yield v6, few, Remember(_SENDER, LINK_SEEN.name), ACCEPT
    yield (DROP,)


def to_host(discovery: tuple[Statement, ...], *, dhcp: bool, dns: bool) -> Iterator[tuple[Statement, ...]]:
    """Drops what is too much, before anything is accepted. `discovery` are the conditions of that traffic."""
    yield *discovery, _over(DISCOVERY_RATE, DISCOVERY), DROP
    for asked, which, most in ((dhcp, DHCP_RATE, DHCP), (dns, DNS_RATE, DNS)):
        for number in (67, 547) if which is DHCP_RATE else (53,):
            if asked:
                udp = (Equal(fields.L4PROTO, byte(fields.UDP)), Equal(fields.DESTINATION_PORT, port(number)))
                yield *udp, _over(which, most), DROP


def arp() -> Iterator[tuple[Statement, ...]]:
    yield _over(ARP_RATE, ARP), DROP


def _over(spec: SetSpec, most: tuple[int, int]) -> RateOf:
    rate, burst = most
    return RateOf((fields.IN,), spec.name, rate, "second", burst, over=True)


def link_local_of(mac: bytes) -> bytes:
    """fe80::/64 and the modified EUI-64 of the MAC (RFC 4291, appendix A)."""
    return bytes.fromhex("fe80000000000000") + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
