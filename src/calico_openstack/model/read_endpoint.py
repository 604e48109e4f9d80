"""Workload endpoints, host endpoints and live migrations, from their documents to checked values.

An endpoint with anything wrong in it is refused as a whole, as upstream does: half an endpoint could pass traffic under
the wrong address. Invalid floating IPs alone are left out, since leaving one out can only close something. With a host
endpoint it is the other way round: without it its interface is open, so it stays with what is readable of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from calico_openstack.model.documents import EndpointDoc, HostEndpointDoc, NatDoc, PlainDoc
from calico_openstack.model.endpoint import Endpoint, EndpointKey, HostEndpoint, LiveMigration, Nat
from calico_openstack.model.names import ORCHESTRATOR, parse_endpoint_name
from calico_openstack.model.net import Net, host_net
from calico_openstack.model.read_policy import Broken
from calico_openstack.model.reading import decode, interface_name, labels, mac_address, named_ports, nets, texts

NETWORK_ID = "openstack.projectcalico.org/network-id"
FQDN = "openstack.projectcalico.org/fqdn"


def read_endpoint(namespace: str, name: str, value: bytes) -> Endpoint:
    """The endpoint stored under that name. Raises ValueError with the field and what is expected."""
    key = parse_endpoint_name(namespace, name)
    document = decode(value, EndpointDoc)
    spec = document.spec
    addresses = nets(spec.networks, "ipNetworks")
    if not addresses:
        raise ValueError("ipNetworks is empty: an endpoint without an address is not programmed")
    annotations = texts(document.metadata.annotations)
    return Endpoint(
        key=key,
        interface=interface_name(spec.interface),
        mac=mac_address(spec.mac) if spec.mac else None,
        addresses=addresses,
        allowed_pairs=nets(spec.allowed, "allowedIps"),
        nats=_nats(spec.nats),
        gateway4=_gateway(spec.gateway4, 4),
        gateway6=_gateway(spec.gateway6, 6),
        labels=labels(document.metadata.labels),
        profiles=tuple(spec.profiles or ()),
        ports=named_ports(spec.ports),
        spoof=nets(spec.spoof, "allowSpoofedSourcePrefixes"),
        qos=spec.qos,
        network_id=annotations.get(NETWORK_ID) or None,
        fqdn=annotations.get(FQDN) or None,
    )


def read_host_endpoint(name: str, value: bytes) -> HostEndpoint:
    """Raises ValueError with the field and what is expected; Broken, with the rest as a stand-in, if only addresses or
    ports are wrong. That it names a guest's interface is a host's business.
    """
    document = decode(value, HostEndpointDoc)
    spec = document.spec
    if not spec.node:
        raise ValueError("node is empty: the name of the host that has the interface is needed")
    if not spec.interface and not spec.expected:
        raise ValueError("interfaceName or expectedIPs is needed")
    addresses, wrong = _expected(spec.expected or ())
    if not spec.interface and not addresses:
        raise ValueError("; ".join(wrong))
    try:
        ports = named_ports(spec.ports)
    except ValueError as error:
        ports = ()
        wrong.append(str(error))
    read = HostEndpoint(
        name=name,
        host=spec.node,
        interface=spec.interface if spec.interface in ("", "*") else interface_name(spec.interface),
        addresses=addresses,
        labels=labels(document.metadata.labels),
        profiles=tuple(spec.profiles or ()),
        ports=ports,
    )
    if wrong:
        raise Broken(f"{'; '.join(wrong)}; the rest is in force", read)
    return read


def _expected(stored: Iterable[str]) -> tuple[tuple[Net, ...], list[str]]:
    """Addresses, and what is wrong with the others."""
    found: dict[Net, None] = {}
    wrong = []
    for text in stored:
        try:
            found[host_net(text)] = None
        except ValueError as error:
            wrong.append(f"expectedIPs: {error}")
    return tuple(found), wrong


def read_live_migration(namespace: str, name: str, value: bytes) -> LiveMigration:
    spec = decode(value, PlainDoc)
    return LiveMigration(
        namespace=namespace,
        name=name,
        uid=spec.metadata.uid or "",
        source=_migration_side(namespace, spec.spec, "source"),
        target=_migration_side(namespace, spec.spec, "target"),
    )


def _migration_side(namespace: str, spec: dict[str, object], side: str) -> EndpointKey | None:
    given = spec.get(side)
    endpoint = given.get("workloadEndpoint") if isinstance(given, dict) else None
    if not isinstance(endpoint, dict):
        return None
    parts = [endpoint.get(field) for field in ("hostname", "orchestratorID", "workloadID", "endpointID")]
    if not all(isinstance(part, str) and part for part in parts):
        raise ValueError(f"{side}.workloadEndpoint: hostname, orchestratorID, workloadID and endpointID are needed")
    host, orchestrator, workload, name = (str(part) for part in parts)
    owner, slash, device = workload.partition("/")
    return EndpointKey(owner if slash else namespace, host, orchestrator or ORCHESTRATOR, device or workload, name)


def _nats(stored: list[NatDoc] | None) -> tuple[Nat, ...]:
    found: dict[Nat, None] = {}
    for doc in stored or ():
        try:
            nat = Nat(host_net(doc.internal), host_net(doc.external))
        except ValueError:
            continue
        if nat.internal.version == nat.external.version:
            found[nat] = None
    return tuple(found)


@lru_cache(maxsize=4096)
def _gateway(text: str | None, version: int) -> Net | None:
    """Remembered, since all ports of a subnet have the same."""
    if not text:
        return None
    gateway = host_net(text)
    if gateway.version != version:
        raise ValueError(f"ipv{version}Gateway {text!r} is of the other family")
    return gateway
