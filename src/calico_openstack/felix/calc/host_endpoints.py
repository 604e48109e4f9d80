"""The host's own interfaces as endpoints: which policies of which kind apply to each.

One policy is of one kind: untracked (doNotTrack, before connection tracking), pre-DNAT (preDNAT, before addresses are
translated; ingress only), or normal. Normal ones are about what the host itself sends and receives, and, with
applyOnForward, also about what it forwards. Tiers of the first two kinds end with pass: what they do not decide is for
the kinds after them (upstream felix/calc/policy_sorter.go).
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_openstack.felix.calc.endpoint_tiers import EndpointTiers
from calico_openstack.felix.wanted.state import WantedHostEndpoint, WantedTier
from calico_openstack.model.endpoint import HostEndpoint
from calico_openstack.model.policy import Policy


def wanted_host_endpoint(
    endpoint: HostEndpoint, policies: Iterable[Policy], tiers: EndpointTiers
) -> WantedHostEndpoint:
    """What the endpoint needs, with the policies that select it."""
    normal, forward, untracked, pre_dnat = [], [], [], []
    for policy in policies:
        if policy.do_not_track:
            untracked.append(policy)
        if policy.pre_dnat:
            pre_dnat.append(policy)
        if not (policy.do_not_track or policy.pre_dnat):
            normal.append(policy)
            if policy.apply_on_forward:
                forward.append(policy)
    return WantedHostEndpoint(
        name=endpoint.name,
        interface=endpoint.interface,
        addresses=endpoint.addresses,
        tiers=tiers.tiers_of(normal),
        forward=tiers.tiers_of(forward),
        untracked=tuple(_passing(tier) for tier in tiers.tiers_of(untracked)),
        pre_dnat=tuple(_passing(tier, egress=False) for tier in tiers.tiers_of(pre_dnat) if tier.ingress),
        profiles=endpoint.profiles,
    )


def _passing(tier: WantedTier, *, egress: bool = True) -> WantedTier:
    return WantedTier(name=tier.name, ingress=tier.ingress, egress=tier.egress if egress else (), default_pass=True)
