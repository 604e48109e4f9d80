"""The tables, sets and maps of the ruleset by name, and the elements that no endpoint owns.

A rule that asks one of the optional sets is there while that set has an element, so that what nobody uses costs
nothing. Who fills which: `endpoints.py` (taps, sources, floating IPs), `limits.py` (rates, connections, marks),
`pools.py`, `host_endpoints.py`.
"""

from __future__ import annotations

from calico_openstack.felix.ruleset import fields, floods, host_chains
from calico_openstack.felix.ruleset.fields import byte
from calico_openstack.felix.ruleset.objects import Key, SetSpec, Table, Value
from calico_openstack.felix.ruleset.settings import BOOT_TABLE, INET_TABLE
from calico_openstack.felix.ruleset.statements import DROP

INET, ARP, BOOT = Table("inet", INET_TABLE), Table("arp", INET_TABLE), Table("inet", BOOT_TABLE)

TAPS = SetSpec("taps", (fields.IFNAME,))
GUESTS = SetSpec("guests", (fields.IFNAME, fields.ETHER))
GUESTS_WIDE = SetSpec("guests-wide", (fields.IFNAME, fields.ETHER), interval=True)
SOURCES = {v: SetSpec(f"source{v}", (fields.IFNAME, fields.ETHER, fields.ADDRESS[v])) for v in (4, 6)}
SOURCES_WIDE = {v: spec._replace(name=f"{spec.name}-wide", interval=True) for v, spec in SOURCES.items()}
EGRESS = SetSpec("egress", (fields.IFNAME,), value=fields.VERDICT)
INGRESS = SetSpec("ingress", (fields.IFNAME,), value=fields.VERDICT)
FLOATING = {v: SetSpec(f"floating{v}", (fields.ADDRESS[v],), value=fields.ADDRESS[v]) for v in (4, 6)}
HAIRPIN = {v: SetSpec(f"hairpin{v}", (fields.ADDRESS[v],) * 2, value=fields.ADDRESS[v]) for v in (4, 6)}
LINK_ICMPV6 = SetSpec("link-icmpv6", (fields.ICMPV6_TYPE,))
HOST_ICMPV6 = SetSpec("host-icmpv6", (fields.ICMPV6_TYPE,))
ARP_OWNED = SetSpec("owned", (fields.IFNAME, fields.ETHER, fields.IPV4))
ARP_OWNED_WIDE = ARP_OWNED._replace(name="owned-wide", interval=True)
ARP_SELF = SetSpec("self", (fields.IFNAME, fields.IPV4))

INET_SETS = (
    TAPS, GUESTS, GUESTS_WIDE, EGRESS, INGRESS, LINK_ICMPV6, HOST_ICMPV6,
    *SOURCES.values(), *SOURCES_WIDE.values(), *FLOATING.values(), *HAIRPIN.values(), *floods.INET_SETS,
)  # fmt: skip

RATES = {d: SetSpec(f"{d}-rate", (fields.IFNAME,), value=fields.VERDICT) for d in ("ingress", "egress")}
CONNECTIONS = {d: SetSpec(f"{d}-connections", (fields.IFNAME,), value=fields.VERDICT) for d in ("ingress", "egress")}
MARKS = SetSpec("marks", (fields.IFNAME,), value=fields.VERDICT)
POOLS = {v: SetSpec(f"pools{v}", (fields.ADDRESS[v],), interval=True) for v in (4, 6)}
TRANSLATED = {v: spec._replace(name=f"nat-outgoing{v}") for v, spec in POOLS.items()}
HOSTS = {v: spec._replace(name=f"hosts{v}") for v, spec in POOLS.items()}
OUTBOUND = {v: SetSpec(f"outbound{v}", (fields.ADDRESS[v],), value=fields.ADDRESS[v]) for v in (4, 6)}

OPTIONAL_SETS = (
    *RATES.values(), *CONNECTIONS.values(), MARKS,
    *POOLS.values(), *TRANSLATED.values(), *HOSTS.values(), *OUTBOUND.values(), *host_chains.SETS,
)  # fmt: skip
Used = frozenset[str]
"""Names of those optional sets that have elements."""

ARP_SETS = (GUESTS, GUESTS_WIDE, ARP_OWNED, ARP_OWNED_WIDE, ARP_SELF, *floods.ARP_SETS)

# ICMPv6: MLD query, report, done; router solicitation; neighbour solicitation and advertisement; MLDv2
# report (RFC 3810).
_LINK_TYPES = (130, 131, 132, 133, 135, 136, 143)

ELEMENTS: dict[str, dict[Key, Value]] = {
    LINK_ICMPV6.name: {byte(kind): None for kind in _LINK_TYPES},
    HOST_ICMPV6.name: {byte(kind): None for kind in _LINK_TYPES},
    EGRESS.name: {b"": DROP},
    INGRESS.name: {b"": DROP},
}
"""Elements that no endpoint owns. The verdict maps drop what they do not list: an interface nobody vouches
for passes nothing."""
