"""What hosts' own interfaces add to an answer about guests: which of their host endpoints are asked about a flow, too.

Which interface a packet takes is for routes, which etcd does not know; so this names who may have a say, and decides
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from calico_openstack.model.endpoint import HostEndpoint
from calico_openstack.policy.explanation import Explanation
from calico_openstack.policy.host_verdict import Stage
from calico_openstack.policy.known import Known
from calico_openstack.policy.parties import Party
from calico_openstack.policy.verdict import Direction

_PASSING: dict[Direction, tuple[Stage, ...]] = {
    "ingress": (Stage.UNTRACKED, Stage.PRE_DNAT, Stage.FORWARD),
    "egress": (Stage.FORWARD,),
}
"""Where host endpoints speak about what goes to or comes from a guest: it arrives on, or leaves by, their interface."""


def host_of(known: Known, party: Party) -> str | None:
    """The host that has the party's address itself, if there is one."""
    if party.key is not None or party.address is None:
        return None
    owners = (one.host for one in known.state.host_endpoints.values() if party.address in one.addresses)
    return known.hosts.get(party.address) or next(owners, None)


def host_notes(known: Known, answer: Explanation, party: Party, direction: Direction) -> list[str]:
    """Sentences about one end; none if no host endpoint has a say there."""
    host = host_of(known, party)
    if host is not None:
        names = [_words(one) for one in _of(known, host)]
        said = f"in force there, and not asked here: {', '.join(names)}" if names else "it has no host endpoint"
        return [f"{party.text} is host {host} itself; {said}"]
    other = answer.destination if party is answer.source else answer.source
    if party.key is None or (other.key is not None and other.key.host == party.key.host):
        return []
    names = [_words(one) for one in _of(known, party.key.host) if _speaks(known, one, direction)]
    if not names:
        return []
    return [f"policies of host {party.key.host}'s own interfaces are not asked here: {', '.join(names)}"]


def _of(known: Known, host: str) -> Iterator[HostEndpoint]:
    for _, endpoint in sorted(known.state.host_endpoints.items()):
        if endpoint.host == host:
            yield endpoint


def _speaks(known: Known, endpoint: HostEndpoint, direction: Direction) -> bool:
    """Whether a policy about packets that pass selects the endpoint."""
    labels = known.state.effective_labels(endpoint.labels, endpoint.profiles)
    return any(
        policy.selector.matches(labels)
        and (policy.ingress if direction == "ingress" else policy.egress) is not None
        and any(stage.speaks(policy) for stage in _PASSING[direction])
        for policy in known.state.policies.values()
    )


def _words(endpoint: HostEndpoint) -> str:
    where = endpoint.interface or ", ".join(net.address for net in endpoint.addresses)
    return f"host endpoint {endpoint.name} ({'all interfaces' if where == '*' else where})"
