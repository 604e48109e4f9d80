"""Who else on this host may stop what Felix lets pass. Pure.

A packet needs the consent of every base chain on its way: "accept" ends one chain, "drop" ends the packet, whatever
the order of their priorities (nft(8), *base chains*). So nobody can let pass what Felix drops, but a chain of another
program that ends with a drop (by its policy, or by a last rule for everything) stops guests that Felix lets
pass, unless it lets the interfaces of guests pass itself. What its rules drop under conditions is not looked at.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import NamedTuple

from calico_openstack.felix.foreign import Chains, ForeignChain, ForeignRule, Place, fate
from calico_openstack.felix.upstream import Leftovers

_FAMILIES = frozenset(("ip", "ip6", "inet", "arp"))
_NEEDS = {
    "prerouting": ("into",),
    "input": ("into",),
    "forward": ("into", "out"),
    "output": ("out",),
    "postrouting": ("out",),
}
_BLOCKED = {
    "prerouting": "everything that guests send",
    "input": "what guests ask of the host (DHCP, DNS, metadata)",
    "forward": "the traffic of guests",
    "output": "what the host sends to guests (answers of DHCP, DNS and metadata)",
    "postrouting": "everything that goes to guests",
}


class Obstacle(NamedTuple):
    """What stands in the way, and what to do about it. `place`: the chain, if it is one."""

    where: str
    why: str
    cure: str
    place: Place | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.why}; {self.cure}"


def obstacles(chains: Chains, prefixes: Iterable[str], shared: Container[Place] = ()) -> list[Obstacle]:
    """Base chains that stop guests, whose interfaces begin with one of these.

    In `shared` ones the upstream Felix has rules as well: what is to let guests pass must not come before them, or
    guests pass unseen until ours is in place.
    """
    wanted = tuple(prefixes)
    found = []
    for chain in chains.values():
        needs = _NEEDS.get(chain.hook)
        if needs is None or chain.place.family not in _FAMILIES:
            continue
        said = {side: _stopped(chains, chain, side, wanted) for side in needs}
        missing = [side for side, why in said.items() if why]
        if missing:
            cure = _cure(chain.place, missing, wanted, behind=chain.place in shared)
            why = f"{said[missing[0]]}, so it stops {_BLOCKED[chain.hook]}"
            found.append(Obstacle(str(chain.place), why, cure, chain.place))
    return found


def upstream_runs(leftovers: Leftovers) -> list[Obstacle]:
    """Rules of the upstream Felix that are there although they were removed."""
    if not leftovers:
        return []
    where = next((f"table {table.family} {table.name}" for table in leftovers.tables), "")
    where = where or str(min(leftovers.chains or leftovers.rules))
    cure = "stop and disable it, then restart this Felix, which removes its rules"
    return [Obstacle(where, "the upstream Felix works on this host, too", cure)]


def _stopped(chains: Chains, chain: ForeignChain, side: str, prefixes: tuple[str, ...]) -> str:
    """Why new flows into, or out of, interfaces with one of these prefixes do not get through; empty if they do."""
    for prefix in prefixes:

        def concerns(rule: ForeignRule, prefix: str = prefix) -> bool:
            name, other = (rule.into, rule.out) if side == "into" else (rule.out, rule.into)
            covered = not name or (name.endswith("*") and prefix.startswith(name[:-1]))
            return covered and not other and not rule.conditional

        said = fate(chains, chain, concerns)
        if said in ("drop", "reject"):
            return f"a rule says {said}"
        if not said and not chain.accepts:
            return "its policy is drop"
    return ""


def _cure(place: Place, missing: list[str], prefixes: tuple[str, ...], behind: bool) -> str:
    if place.table == "firewalld":
        return "put the interfaces of guests into a zone and policies that accept, or stop firewalld on compute hosts"
    if place.layer == "legacy" or (place.family in ("ip", "ip6") and place.chain.isupper()):
        program = {"ip": "iptables", "ip6": "ip6tables"}[place.family] + ("-legacy" if place.layer == "legacy" else "")
        options = [f"{'-i' if side == 'into' else '-o'} {prefix}+" for side in missing for prefix in prefixes]
        table = "" if place.table == "filter" else f" -t {place.table}"
        how = "-A" if behind else "-I"
        commands = [f"{program}{table} {how} {place.chain} {option} -j ACCEPT" for option in options]
    else:
        names = [f'{"iifname" if side == "into" else "oifname"} "{prefix}*"' for side in missing for prefix in prefixes]
        how = "add" if behind else "insert"
        commands = [f"nft '{how} rule {place.family} {place.table} {place.chain} {name} accept'" for name in names]
    where = "there, behind upstream's rules" if behind else "there"
    return f"let them pass {where}, and make that last: {'; '.join(commands)}"
