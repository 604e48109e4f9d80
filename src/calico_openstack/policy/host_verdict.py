"""The verdict on a packet that passes an interface of the host itself, for an interface with a host endpoint.

    arrives ─► untracked ─► pre-DNAT ─► for the host: failsafes, normal policies, profiles, deny
                                    └─► to forward:   policies with applyOnForward; nothing governs: go on
    leaves  ─► the same without pre-DNAT, in the other direction

An untracked policy that allows ends the matter, also for replies: it knows no flows. A pre-DNAT policy that allows does
too, for the interface where the packet arrived. What they do not decide goes on; so they never end with deny by
themselves. Failsafe ports and neighbour discovery are open before any policy, but for forwarded packets.
(upstream felix/rules/endpoints.go, static.go)
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from calico_openstack.model.endpoint import HostEndpoint
from calico_openstack.model.failsafe import NEIGHBOUR_DISCOVERY, Failsafe
from calico_openstack.model.policy import Policy
from calico_openstack.policy.state import Packet, State
from calico_openstack.policy.verdict import Direction, Verdict, applied_tiers, ask_profiles, ask_tiers

_ICMPV6 = 58
_Kind = Callable[[Policy], bool]


class Stage(Enum):
    """Where host endpoints have a say, and the policies that speak there."""

    UNTRACKED = "untracked"
    PRE_DNAT = "pre-DNAT"
    FORWARD = "forward"
    NORMAL = "normal"

    def speaks(self, policy: Policy) -> bool:
        if policy.staged:
            return False
        match self:
            case Stage.UNTRACKED:
                return policy.do_not_track
            case Stage.PRE_DNAT:
                return policy.pre_dnat
            case Stage.FORWARD:
                return policy.apply_on_forward and not (policy.do_not_track or policy.pre_dnat)
            case Stage.NORMAL:
                return not (policy.do_not_track or policy.pre_dnat)


def host_verdict(
    state: State,
    endpoint: HostEndpoint,
    stage: Stage,
    direction: Direction,
    packet: Packet,
    failsafes: tuple[Failsafe, ...] = (),
) -> Verdict | None:
    """None: this stage does not decide, the packet goes on. `failsafes` are those of the direction.

    Before the untracked and pre-DNAT stages nobody knows yet whether the packet is for the host: failsafes are open.
    """
    if stage is not Stage.FORWARD and is_failsafe(failsafes, direction, packet):
        return Verdict(True, None, "failsafe ports")
    if stage is not Stage.FORWARD and is_discovery(packet):
        return Verdict(True, None, "neighbour discovery")
    tiers = applied_tiers(state, endpoint, direction, stage.speaks)
    if stage in (Stage.UNTRACKED, Stage.PRE_DNAT):
        tiers = tuple(tier._replace(default_pass=True) for tier in tiers)
    found = ask_tiers(state, tiers, direction, packet)
    if found is not None or stage is not Stage.NORMAL:
        return found
    return ask_profiles(state, endpoint.profiles, direction, packet)


def is_discovery(packet: Packet) -> bool:
    return (
        packet.version == 6
        and packet.protocol == _ICMPV6
        and packet.icmp is not None
        and packet.icmp[0] in NEIGHBOUR_DISCOVERY
    )


def is_failsafe(failsafes: tuple[Failsafe, ...], direction: Direction, packet: Packet) -> bool:
    """Whether the packet asks for a failsafe port: of the host if it arrives, of another if it leaves."""
    other = packet.source if direction == "ingress" else packet.destination
    return any(
        failsafe.protocol == packet.protocol
        and failsafe.port == packet.destination_port
        and (failsafe.net is None or failsafe.net.contains(other))
        for failsafe in failsafes
    )
