"""What a workload endpoint is: one bound port of a virtual machine on one host.

These are meanings, not documents: `intake` makes them from JSON after every check, so a reader never sees an
unparsed address. Absent things are None or an empty tuple.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from calico_openstack.model.net import Net


class EndpointKey(NamedTuple):
    """Identity of a workload endpoint, as the parts of its name.

    `workload` is the bare workload (Nova's device id); upstream's internal workload id is `<namespace>/<workload>`.
    """

    namespace: str
    host: str
    orchestrator: str
    workload: str
    endpoint: str


class Nat(NamedTuple):
    """A floating IP: `external` is translated to `internal`. Both have full length and one family."""

    internal: Net
    external: Net


class NamedPort(NamedTuple):
    name: str
    protocol: int
    port: int


class QosControls(msgspec.Struct, frozen=True, gc=False, kw_only=True, rename="camel", omit_defaults=True):
    """Limits of one endpoint; units as upstream's JSON: bit/s, bit, byte (minburst), packet/s, packet, connections."""

    ingress_bandwidth: int = 0
    egress_bandwidth: int = 0
    ingress_peakrate: int = 0
    egress_peakrate: int = 0
    ingress_burst: int = 0
    egress_burst: int = 0
    ingress_minburst: int = 0
    egress_minburst: int = 0
    ingress_packet_rate: int = 0
    egress_packet_rate: int = 0
    ingress_packet_burst: int = 0
    egress_packet_burst: int = 0
    ingress_max_connections: int = 0
    egress_max_connections: int = 0
    dscp: int | str | None = None


class Endpoint(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One workload endpoint, checked.

    `addresses` are the spec's `ipNetworks` (fixed IPs and allowed address pairs), `allowed_pairs` the subset that came
    from allowed address pairs. `labels` has no reserved keys and includes namespace and orchestrator as stored.
    """

    key: EndpointKey
    interface: str
    mac: str | None = None
    addresses: tuple[Net, ...] = ()
    allowed_pairs: tuple[Net, ...] = ()
    nats: tuple[Nat, ...] = ()
    gateway4: Net | None = None
    gateway6: Net | None = None
    labels: dict[str, str] = {}
    profiles: tuple[str, ...] = ()
    ports: tuple[NamedPort, ...] = ()
    spoof: tuple[Net, ...] = ()
    qos: QosControls | None = None
    network_id: str | None = None
    fqdn: str | None = None


class HostEndpoint(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An interface of a host itself; `interface` may be empty (found by address) or `*` (every interface)."""

    name: str
    host: str
    interface: str = ""
    addresses: tuple[Net, ...] = ()
    labels: dict[str, str] = {}
    profiles: tuple[str, ...] = ()
    ports: tuple[NamedPort, ...] = ()


class LiveMigration(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A workload on its way from one host to another. A side that is named in another way than by endpoint is None."""

    namespace: str
    name: str
    uid: str = ""
    source: EndpointKey | None = None
    target: EndpointKey | None = None
