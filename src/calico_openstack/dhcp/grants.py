"""Who may hold a lease of which address in a running dnsmasq.

dnsmasq keeps its leases in memory and refuses an address to a new owner while the old one's lease runs: for IPv4 the
owner is a MAC address, for IPv6 a client's DUID, which changes when a guest is rebuilt behind a new tap. It has no
word for "forget this one" that works for both families and also when the old tap is gone, and a restart takes 30 ms
and loses nothing that is written in the hosts file. So this ledger remembers every owner since the server's start,
and says when an address has a new one: then, and only then, the server is started anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Grant(NamedTuple):
    """The server may lease `address` to the guest with `mac` behind `tap`."""

    address: str
    mac: str
    tap: str


def owners4(grants: Iterable[Grant]) -> dict[str, str]:
    """The owner of each IPv4 address: a MAC (a client that changes its client id keeps its address)."""
    return {grant.address: grant.mac for grant in grants}


def owners6(grants: Iterable[Grant], ifindexes: Mapping[str, int]) -> dict[str, str]:
    """The owner of each IPv6 address: a MAC behind one life of a tap. Without a tap nobody can ask for a lease."""
    return {grant.address: f"{grant.mac}@{ifindexes[grant.tap]}" for grant in grants if grant.tap in ifindexes}


@dataclass(slots=True)
class Ledger:
    """All owners since the server started. An address no longer granted keeps its last owner: so does dnsmasq."""

    owners: dict[str, str] = field(default_factory=dict)

    def moved(self, now: Mapping[str, str]) -> list[str]:
        """The addresses that have another owner than the running server may believe."""
        return sorted(address for address, owner in now.items() if self.owners.get(address, owner) != owner)

    def note(self, now: Mapping[str, str]) -> bool:
        """Write down the present owners; True if any is new."""
        before = len(self.owners)
        self.owners.update(now)
        return len(self.owners) != before
