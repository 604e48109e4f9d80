"""Who peers with whom: the mesh, the peerings that operators asked for, and their opposite ends.

PURE. A `Peering` is one address that this host should talk to, and why; what the session looks like is
settled in `calico_openstack.bgp.sessions`. The answer of `requested` is in order of precedence: global
peerings, then those of a node or node selector, then the generated opposites; the mesh comes last. The rules
are upstream's (confd/pkg/backends/calico/bgp_processor.go, behaviour only):

- the mesh joins all nodes that are no reflectors, one session per family that both ends have;
- a BGPPeer with a `peerSelector` makes a session to each address of each matching node;
- with `reversePeering: Auto` a node that is selected as a peer gets the opposite session without being asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from calico_openstack.model.bgp import BgpConfiguration, BgpPeer, Node, SecretRef
from calico_openstack.model.net import Net

Kind = Literal["Mesh", "Global", "Node"]


@dataclass(frozen=True, slots=True)
class Peering:
    """One neighbour. `port` is set only if it was given with the address; `node` if the neighbour is one of ours.

    `symmetrical`: the other end surely has the same peering, so that one side may wait for the other.
    """

    kind: Kind
    subject: str
    address: Net
    peer: BgpPeer | None = None
    node: Node | None = None
    port: int | None = None
    as_number: int | None = None
    symmetrical: bool = False
    password: SecretRef | None = None
    restart_time: int | None = None


def mesh(default: BgpConfiguration, own: Node, nodes: Mapping[str, Node]) -> Iterator[Peering]:
    if default.mesh is False or own.cluster_id is not None:
        return
    for other in _in_order(nodes.values()):
        if other.name == own.name or other.cluster_id is not None:
            continue
        for address in _addresses(other):
            yield Peering(
                kind="Mesh",
                subject=f"Node/{other.name}",
                address=address,
                node=other,
                symmetrical=True,
                password=default.mesh_password,
                restart_time=default.mesh_restart_time,
            )


def requested(peers: Iterable[BgpPeer], own: Node, nodes: Mapping[str, Node]) -> Iterator[Peering]:
    """All peerings that BGPPeers give `own`; a neighbour may come more than once, the first one counts."""
    in_order = sorted((peer for peer in peers if not peer.local_workloads), key=lambda peer: peer.name)
    by_address = {address: node for node in _in_order(nodes.values()) for address in _addresses(node)}
    forward = [peer for peer in in_order if peer.selects(own)]
    for peer in [*filter(_is_global, forward), *(peer for peer in forward if not _is_global(peer))]:
        kind: Kind = "Global" if _is_global(peer) else "Node"
        if peer.peer_ip is not None:
            yield _peering(peer, kind, peer.peer_ip, by_address.get(peer.peer_ip), peer.peer_port)
        elif peer.peer_selector is not None:
            for other in _in_order(nodes.values()):
                if other.name != own.name and peer.peer_selector.matches(other.labels):
                    for address in _addresses(other):
                        yield _peering(peer, kind, address, other)
    for peer in in_order:
        if peer.reverse and peer.peer_selector is not None and peer.peer_selector.matches(own.labels):
            for other in _in_order(nodes.values()):
                if other.name != own.name and peer.selects(other):
                    for address in _addresses(other):
                        yield _peering(peer, "Node", address, other)


def _peering(peer: BgpPeer, kind: Kind, address: Net, node: Node | None, port: int | None = None) -> Peering:
    return Peering(
        kind=kind,
        subject=f"BGPPeer/{peer.name}",
        address=address,
        peer=peer,
        node=node,
        port=port,
        as_number=peer.as_number,
        # Only here do we know that the other node has the session too; elsewhere both sides connect, and BGP itself
        # settles the collision (RFC 4271, 6.8).
        symmetrical=kind == "Global" and peer.peer_selector is not None and peer.reverse,
        password=peer.password,
        restart_time=peer.restart_time,
    )


def _is_global(peer: BgpPeer) -> bool:
    return peer.node is None and peer.node_selector is None


def _in_order(nodes: Iterable[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: node.name)


def _addresses(node: Node) -> list[Net]:
    return [address for address in (node.ipv4, node.ipv6) if address is not None]
