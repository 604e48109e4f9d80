"""Which BGP sessions this host should have, and everything BIRD must know about each.

PURE: the cluster's BGP resources and the host's name in, a `Speaker` out. Who peers with whom is in
`calico_openstack.bgp.peerings`; this file settles what one session is: ports, AS numbers, the passive side,
the reflector rule, secrets and filters.

Promise: a session that cannot be made exactly as it was asked for is not made at all, and a `Problem` names
the object, the reason and the cure. No other session suffers from it. The same cluster always gives the same,
sorted answer.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from calico_openstack.bgp.peerings import Kind, Peering, mesh, requested
from calico_openstack.model.bgp import (
    DEFAULT_AS,
    DEFAULT_PORT,
    DEFAULT_PRIORITY,
    Advertisement,
    BgpConfiguration,
    BgpPeer,
    Node,
    SecretRef,
)
from calico_openstack.model.bgp_filter import BgpFilter
from calico_openstack.model.net import Net


class Problem(NamedTuple):
    """Something an operator should mend. `subject` names the object, for example `BGPPeer/rack1-tor`."""

    subject: str
    reason: str
    cure: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """The BGP resources of one revision, by name. `absent` holds what could not be read: subject -> reason."""

    nodes: Mapping[str, Node] = field(default_factory=dict)
    peers: Mapping[str, BgpPeer] = field(default_factory=dict)
    configurations: Mapping[str, BgpConfiguration] = field(default_factory=dict)
    filters: Mapping[str, BgpFilter] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Session:
    """One BGP protocol of one family. `hops` is set for GTSM (RFC 5082); times in seconds, None = the default."""

    name: str
    kind: Kind
    address: Net
    remote_as: int
    local_as: int
    peer_port: int = DEFAULT_PORT
    local_port: int = DEFAULT_PORT
    source: Net | None = None
    strict_bind: bool = False
    passive: bool = False
    cluster_id: str | None = None
    password: str | None = field(default=None, repr=False)
    hops: int = 0
    restart_time: int | None = None
    keepalive_time: int | None = None
    allowed_local_as: int = 0
    next_hop: Literal["", "self", "keep"] = ""
    reachable_by: Net | None = None
    filters: tuple[BgpFilter, ...] = ()

    @property
    def version(self) -> int:
        return self.address.version

    @property
    def internal(self) -> bool:
        return self.remote_as == self.local_as


@dataclass(frozen=True, slots=True)
class Speaker:
    """All that this host's BIRD is told. `reflector`: routes learned by BGP are passed on to other peers."""

    host: str
    router_id: str
    as_number: int
    reflector: bool = False
    sessions: tuple[Session, ...] = ()
    problems: tuple[Problem, ...] = ()
    priorities: tuple[int, int] = (DEFAULT_PRIORITY, DEFAULT_PRIORITY)
    advertisements: tuple[Advertisement, ...] = ()
    ignored_interfaces: tuple[str, ...] = ()
    log_severity: str = "Info"


def speaker(cluster: Cluster, host: str, secrets: Mapping[SecretRef, str] | None = None) -> Speaker:
    """What `host` should be. `secrets` are the passwords that were found on the host."""
    node = cluster.nodes.get(host)
    problems = [
        Problem(subject, reason, "correct the object")
        for subject, reason in cluster.absent.items()
        if not subject.startswith("BGPConfiguration/node.") or subject == f"BGPConfiguration/node.{host}"
    ]
    blocked = obstacle(cluster, host)
    if blocked is not None:
        problems.append(blocked)
    elif node is not None and node.ipv4 is None and node.ipv6 is None:
        cure = "set ipv4_address or ipv6_address in the agent's settings, or give the host a default route"
        problems.append(Problem(f"Node/{host}", "has no BGP address, so this host has no sessions", cure))
    node = node or Node(name=host)
    default = cluster.configurations.get("default", BgpConfiguration(name="default"))
    own = cluster.configurations.get(f"node.{host}", BgpConfiguration(name=f"node.{host}"))
    made: list[Session] = []
    if blocked is None:
        for peering in [*requested(cluster.peers.values(), node, cluster.nodes), *mesh(default, node, cluster.nodes)]:
            session = _Maker(cluster, node, secrets or {}).make(peering)
            if isinstance(session, Problem):
                problems.append(session)
            elif session is not None:
                made.append(session)
    problems += [
        Problem(f"BGPPeer/{peer.name}", "peering with local workloads is not supported", "remove it or use peerIP")
        for peer in cluster.peers.values()
        if peer.local_workloads and peer.selects(node)
    ]
    return Speaker(
        host=host,
        router_id=router_id(node),
        as_number=_as_of(cluster, node),
        reflector=node.cluster_id is not None,
        sessions=tuple(sorted(_first_per_neighbour(made), key=lambda session: session.name)),
        problems=tuple(sorted(set(problems))),
        priorities=(default.ipv4_priority or DEFAULT_PRIORITY, default.ipv6_priority or DEFAULT_PRIORITY),
        advertisements=own.advertisements if own.advertisements is not None else default.advertisements or (),
        ignored_interfaces=default.ignored_interfaces or (),
        log_severity=own.log_severity or default.log_severity or "Info",
    )


def router_id(node: Node) -> str:
    """The IPv4 address, or for a host without one a number made from its name (upstream's router id `hash`)."""
    if node.ipv4 is not None:
        return node.ipv4.address
    number = int.from_bytes(hashlib.sha256(node.name.encode()).digest()[:4], "big")
    return str(ipaddress.IPv4Address(number or 1))


def session_name(kind: Kind, address: Net, port: int | None) -> str:
    """Upstream's protocol name, so that tools which read it go on working."""
    suffix = f"_port_{port}" if port is not None else ""
    return f"{kind}_{re.sub('[.:]', '_', address.address)}{suffix}"


def obstacle(cluster: Cluster, host: str) -> Problem | None:
    """Why no answer may be given at all, so that BIRD should stay as it is.

    Without its own Node the host would change its router id, which resets every session; with a configuration
    that cannot be read it would fall back to the mesh and the default AS.
    """
    for subject in ("BGPConfiguration/default", f"BGPConfiguration/node.{host}", f"Node/{host}"):
        if subject in cluster.absent:
            return Problem(subject, cluster.absent[subject], "correct the object; until then BIRD stays as it is")
    if host not in cluster.nodes:
        return Problem(f"Node/{host}", "this host has no Node record", "let the agent write it, or create it")
    return None


def _as_of(cluster: Cluster, node: Node) -> int:
    default = cluster.configurations.get("default")
    return node.as_number or (default.as_number if default else None) or DEFAULT_AS


def _port_of(cluster: Cluster, host: str) -> int:
    for name in (f"node.{host}", "default"):
        configuration = cluster.configurations.get(name)
        if configuration is not None and configuration.listen_port is not None:
            return configuration.listen_port
    return DEFAULT_PORT


def _binds(cluster: Cluster, host: str) -> bool:
    for name in (f"node.{host}", "default"):
        configuration = cluster.configurations.get(name)
        if configuration is not None and configuration.bind_node_ip is not None:
            return configuration.bind_node_ip
    return False


@dataclass(frozen=True, slots=True)
class _Maker:
    cluster: Cluster
    node: Node
    secrets: Mapping[SecretRef, str]

    def make(self, peering: Peering) -> Session | Problem | None:
        """The session, the reason why not, or None when the family is off on this host."""
        own = self.node.address(peering.address.version)
        if own is None or own == peering.address:
            return None
        peer = peering.peer
        password: str | None = None
        if peering.password is not None:
            password = self.secrets.get(peering.password)
            problem = _password_problem(peering, password)
            if problem:
                return problem
        filters: list[BgpFilter] = []
        for name in peer.filters if peer else ():
            if name not in self.cluster.filters:
                reason = self.cluster.absent.get(f"BGPFilter/{name}", "there is no such filter")
                return Problem(
                    peering.subject, f"filter {name!r} cannot be used: {reason}", "create or correct the BGPFilter"
                )
            filters.append(self.cluster.filters[name])
        local_as = (peer.local_as_number if peer else None) or _as_of(self.cluster, self.node)
        remote_as = peering.as_number or (_as_of(self.cluster, peering.node) if peering.node else None)
        if remote_as is None:
            # Without a number upstream falls back to the cluster's, which makes an external router an iBGP peer.
            remote_as = _as_of(self.cluster, Node(name=""))
        port = peering.port or (_port_of(self.cluster, peering.node.name) if peering.node else DEFAULT_PORT)
        binds = _binds(self.cluster, self.node.name)
        internal = local_as == remote_as
        far_cluster = peering.node.cluster_id if peering.node else None
        reflects = self.node.cluster_id is not None and internal and far_cluster != self.node.cluster_id
        return Session(
            name=session_name(peering.kind, peering.address, peering.port),
            kind=peering.kind,
            address=peering.address,
            remote_as=remote_as,
            local_as=local_as,
            peer_port=port,
            local_port=_port_of(self.cluster, self.node.name),
            source=own if binds or peer is None or peer.use_node_ip else None,
            strict_bind=binds,
            # Both ends must come to opposite answers; upstream compares the texts, and so do we.
            passive=peering.symmetrical and own.address < peering.address.address,
            cluster_id=self.node.cluster_id if reflects else None,
            password=password,
            hops=peer.ttl_security if peer else 0,
            restart_time=peering.restart_time,
            keepalive_time=peer.keepalive_time if peer else None,
            allowed_local_as=peer.allowed_local_as if peer else 0,
            next_hop=_next_hop(peer, internal),
            reachable_by=peer.reachable_by if peer else None,
            filters=tuple(filters),
        )


def _next_hop(peer: BgpPeer | None, internal: bool) -> Literal["", "self", "keep"]:
    if peer is None:
        return ""
    if peer.next_hop_mode == "Auto":
        return "keep" if peer.keep_original_next_hop and not internal else ""
    return "self" if peer.next_hop_mode == "Self" else "keep"


def _password_problem(peering: Peering, password: str | None) -> Problem | None:
    assert peering.password is not None
    where = f"{peering.password.name}/{peering.password.key}"
    if not password:
        cure = "put the password into that file below the agent's secrets directory"
        return Problem(peering.subject, f"the password {where} is not on this host", cure)
    # BIRD's strings know no escape, and the kernel takes 80 bytes (TCP_MD5SIG_MAXKEYLEN).
    if not re.fullmatch(r"[ !#-~]{1,80}", password):
        cure = 'use 1 to 80 printable ASCII characters without "'
        return Problem(peering.subject, f"the password {where} has a character or a length that BIRD cannot take", cure)
    return None


def _first_per_neighbour(sessions: list[Session]) -> list[Session]:
    """The first session to an address and port stays: explicit before generated before mesh, global before node.

    Two BIRD protocols to the same neighbour would fight over one incoming connection.
    """
    taken: dict[tuple[Net, int], Session] = {}
    for session in sessions:
        taken.setdefault((session.address, session.peer_port), session)
    return list(taken.values())
