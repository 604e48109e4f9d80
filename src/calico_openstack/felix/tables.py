"""What a running Felix knows, as tables of text. Knows no clock and no kernel: a `Snapshot` comes in, text goes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Final, NamedTuple

from calico_openstack.felix.obstacles import Obstacle
from calico_openstack.felix.rows import seconds, table, visible, words
from calico_openstack.felix.settings import TYPED, FelixSettings
from calico_openstack.felix.wanted.state import (
    SetId,
    WantedEndpoint,
    WantedHostEndpoint,
    WantedPolicy,
    WantedProfile,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.policy import PolicyKey

SECRETS = frozenset({"etcd_password"})


class Pending(NamedTuple):
    """Something that failed and is tried again. Times are seconds from now: since when, until when."""

    kind: str
    what: str
    since: float
    next_try: float
    why: str

    def row(self) -> tuple[str, ...]:
        return self.kind, self.what, f"{seconds(self.since)} ago", f"in {seconds(self.next_try)}", self.why


class Move(NamedTuple):
    """A guest that moves, or an address that one may take over. `ends`: seconds from now, None for when it is told."""

    interface: str
    what: str
    state: str
    ends: float | None = None

    def row(self) -> tuple[str, ...]:
        return self.interface, self.what, self.state, "-" if self.ends is None else f"in {seconds(max(0.0, self.ends))}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One instant. `downs`: why an endpoint is not programmed or not up; `sets`: how many members. `obstacles`: other
    software that stops guests."""

    settings: FelixSettings
    origins: Mapping[str, str]
    endpoints: Mapping[EndpointKey, WantedEndpoint]
    statuses: Mapping[EndpointKey, bool]
    downs: Mapping[EndpointKey, str]
    policies: Mapping[PolicyKey, WantedPolicy]
    profiles: Mapping[str, WantedProfile]
    sets: Mapping[SetId, int]
    pending: tuple[Pending, ...]
    documents: Mapping[str, str]
    health: str
    obstacles: tuple[Obstacle, ...] = ()
    host_endpoints: Mapping[str, WantedHostEndpoint] = field(default_factory=dict)
    host_interfaces: Mapping[str, str] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()


def endpoints(now: Snapshot) -> str:
    """Endpoints of this host, also those that are not programmed."""

    def row(key: EndpointKey) -> tuple[str, ...]:
        endpoint = now.endpoints.get(key)
        status = "absent" if endpoint is None else "up" if now.statuses.get(key) else "down"
        interface = endpoint.interface if endpoint else "-"
        addresses = words(endpoint.addresses) if endpoint else ""
        applied = asked(endpoint) if endpoint else ()
        return interface, status, words(key), addresses or "-", str(len(applied)), now.downs.get(key, "")

    def host_row(name: str) -> tuple[str, ...]:
        endpoint = now.host_endpoints[name]
        interfaces = sorted(interface for interface, owner in now.host_interfaces.items() if owner == name)
        status = "in force" if interfaces else "idle"
        why = "" if interfaces else "no interface has its addresses, or another endpoint is before it"
        named = f"HostEndpoint {visible(name)}"
        return (
            words(tuple(interfaces)) or "-",
            status,
            named,
            words(endpoint.addresses) or "-",
            str(len(asked(endpoint))),
            why,
        )

    keys = sorted(now.endpoints.keys() | now.downs.keys())
    rows = [*map(row, keys), *map(host_row, sorted(now.host_endpoints))]
    return table(("INTERFACE", "STATUS", "ENDPOINT", "ADDRESSES", "POLICIES", "WHY"), rows)


def asked(endpoint: WantedEndpoint | WantedHostEndpoint) -> set[PolicyKey]:
    """The policies that apply to it, of whatever kind."""
    tiers: tuple[WantedTier, ...] = endpoint.tiers
    if isinstance(endpoint, WantedHostEndpoint):
        tiers += endpoint.forward + endpoint.untracked + endpoint.pre_dnat
    return {policy for tier in tiers for policy in (*tier.ingress, *tier.egress)}


def policies(now: Snapshot) -> str:
    """Policies that apply to an endpoint of this host, with their numbers of rules; profiles below."""

    def count(rules: tuple[WantedRule, ...] | None) -> str:
        return "-" if rules is None else str(len(rules))

    users = dict.fromkeys(now.policies, 0)
    listed = dict.fromkeys(now.profiles, 0)
    everything: list[WantedEndpoint | WantedHostEndpoint] = [*now.endpoints.values(), *now.host_endpoints.values()]
    for endpoint in everything:
        for key in asked(endpoint):
            users[key] = users.get(key, 0) + 1
        for name in set(endpoint.profiles):
            listed[name] = listed.get(name, 0) + 1
    rows = [
        (words(key), count(policy.ingress), count(policy.egress), str(users[key]))
        for key, policy in sorted(now.policies.items())
    ]
    rows += [
        (f"Profile {name}", count(profile.ingress), count(profile.egress), str(listed[name]))
        for name, profile in sorted(now.profiles.items())
    ]
    return table(("POLICY", "INGRESS", "EGRESS", "ENDPOINTS"), rows)


def sets(now: Snapshot) -> str:
    """Sets that rules use, the largest first."""
    largest = sorted(now.sets.items(), key=lambda item: (-item[1], item[0]))
    return table(("SET", "MEMBERS"), ((set_id, str(size)) for set_id, size in largest))


def wanted(now: Snapshot) -> str:
    """What this host should have, one value a line: endpoints, and policies and profiles with their rules."""
    return "".join(f"{line}\n" for line in _wanted(now))


def _wanted(now: Snapshot) -> Iterator[str]:
    for _, endpoint in sorted(now.endpoints.items()):
        yield f"endpoint {words(endpoint)}"
    for _, host_endpoint in sorted(now.host_endpoints.items()):
        yield f"host endpoint {words(host_endpoint)}"
    for key, policy in sorted(now.policies.items()):
        yield f"policy {words(key)}"
        yield from _rules(policy.ingress, policy.egress)
    for name, profile in sorted(now.profiles.items()):
        yield f"profile {visible(name)}"
        yield from _rules(profile.ingress, profile.egress)


def _rules(ingress: tuple[WantedRule, ...] | None, egress: tuple[WantedRule, ...] | None) -> Iterator[str]:
    for direction, rules in (("ingress", ingress), ("egress", egress)):
        for number, rule in enumerate(rules or ()):
            yield f"  {direction} {number}: {words(rule)}"


def pending(now: Snapshot) -> str:
    """What failed and waits for its next try, the oldest first."""
    oldest = sorted(now.pending, key=lambda one: -one.since)
    return table(("KIND", "WHAT", "SINCE", "NEXT TRY", "WHY"), (one.row() for one in oldest))


def documents(now: Snapshot) -> str:
    """Documents in etcd that cannot be used, and why."""
    return table(("DOCUMENT", "WHY"), sorted(now.documents.items()))


def others(now: Snapshot) -> str:
    """Other software on this host that stops what Felix lets pass, and what to do about it."""
    return table(("WHERE", "WHY", "CURE"), ((one.where, one.why, one.cure) for one in now.obstacles))


def moves(now: Snapshot) -> str:
    """Guests that come or go by live migration, and addresses that a guest of this host may take over from another."""
    return table(("INTERFACE", "WHAT", "STATE", "ENDS"), (move.row() for move in sorted(now.moves)))


def health(now: Snapshot) -> str:
    """The parts of this process and the signals of its start."""
    return "".join(f"{visible(line)}\n" for line in now.health.splitlines())


def settings(now: Snapshot) -> str:
    """All settings in force, and where each comes from."""
    known = {field.name for field in fields(now.settings)}

    def row(name: str, attribute: str) -> tuple[str, ...]:
        value = getattr(now.settings, attribute)
        secret = attribute in SECRETS and value is not None
        return name, "(set)" if secret else words(value), now.origins.get(name, "built in")

    rows = [row(name, typed.attribute) for name, typed in sorted(TYPED.items()) if typed.attribute in known]
    return table(("SETTING", "VALUE", "FROM"), rows)


TABLES: Final[dict[str, Callable[[Snapshot], str]]] = {
    "endpoints": endpoints,
    "policies": policies,
    "sets": sets,
    "wanted": wanted,
    "pending": pending,
    "documents": documents,
    "others": others,
    "moves": moves,
    "health": health,
    "settings": settings,
}
"""By the name under which people ask for them."""
