"""What host endpoints own in the maps of `host_chains`: for each interface of each stage, the list of policies to ask.

The verdict for interfaces without an endpoint, and for those whose endpoint has no say in a stage, is to go on. With an
endpoint for all interfaces (`*`), its list is the verdict for all that no other endpoint names. Guests' interfaces
never come here, and the loopback is spared: a host that cannot speak to itself is of no use to anybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from calico_openstack.felix.ruleset import host_chains
from calico_openstack.felix.ruleset.endpoints import Claim
from calico_openstack.felix.ruleset.fields import ifname
from calico_openstack.felix.ruleset.objects import ANY_KEY, SetSpec, Table
from calico_openstack.felix.ruleset.policies import Direction, Place, PolicyList, policy_tiers
from calico_openstack.felix.ruleset.statements import ACCEPT, RETURN, Verdict, jump
from calico_openstack.felix.wanted.state import WantedHostEndpoint, WantedTier

EVERY_INTERFACE = "*"
LOOPBACK = "lo"


class Stage(NamedTuple):
    """`tiers`: the attribute of a WantedHostEndpoint. `idle`: the verdict where the endpoint has no say."""

    spec: SetSpec
    direction: Direction
    tiers: str
    place: Place
    idle: Verdict = ACCEPT

    @property
    def is_final(self) -> bool:
        """What no policy allows is denied here."""
        return self.place in ("filter", "late")


STAGES = (
    Stage(host_chains.UNTRACKED["ingress"], "ingress", "untracked", "early"),
    Stage(host_chains.UNTRACKED["egress"], "egress", "untracked", "early"),
    Stage(host_chains.PRE_DNAT, "ingress", "pre_dnat", "early"),
    Stage(host_chains.FORWARD["ingress"], "ingress", "forward", "forward", RETURN),
    Stage(host_chains.FORWARD["egress"], "egress", "forward", "forward", RETURN),
    Stage(host_chains.NORMAL["ingress"], "ingress", "tiers", "filter"),
    Stage(host_chains.NORMAL["egress"], "egress", "tiers", "filter"),
    Stage(host_chains.TRANSLATED, "egress", "tiers", "late"),
)


def assignments(table: Table, in_force: Mapping[str, WantedHostEndpoint]) -> Iterator[tuple[Claim, PolicyList | None]]:
    """Elements of the maps, with the list that each leads to. `in_force`: by interface, or `*`."""
    for stage in STAGES:
        lists = {interface: _list(endpoint, stage) for interface, endpoint in in_force.items()}
        if not any(lists.values()):
            continue
        if EVERY_INTERFACE in lists:
            lists.setdefault(LOOPBACK, None)
        else:
            lists[EVERY_INTERFACE] = None
        for interface, wanted in lists.items():
            key = ANY_KEY if interface == EVERY_INTERFACE else ifname(interface)
            yield Claim(table, stage.spec, key, jump(wanted.name) if wanted else stage.idle), wanted


def _list(endpoint: WantedHostEndpoint, stage: Stage) -> PolicyList | None:
    tiers: tuple[WantedTier, ...] = getattr(endpoint, stage.tiers)
    asked = policy_tiers(tiers, stage.direction)
    if stage.is_final:
        return PolicyList(stage.direction, asked, endpoint.profiles, stage.place)
    return PolicyList(stage.direction, asked, (), stage.place) if asked else None
