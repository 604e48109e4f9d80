"""What translation must know about this deployment, apart from Neutron's objects."""

from __future__ import annotations

from dataclasses import dataclass

from calico_openstack.model.names import namespace_for
from calico_openstack.model.net import Net

ORCHESTRATOR = "openstack"


@dataclass(frozen=True, slots=True)
class QosDefaults:
    """The `[calico]` options behind `qosControls`; 0 means what datamodel of upstream says: no limit, or its
    default.
    """

    max_ingress_connections_per_port: int = 0
    max_egress_connections_per_port: int = 0
    ingress_burst_bits: int = 4294967296
    egress_burst_bits: int = 4294967296
    ingress_minburst_bytes: int = 0
    egress_minburst_bytes: int = 0
    ingress_burst_packets: int = 5
    egress_burst_packets: int = 5


@dataclass(frozen=True, slots=True)
class Site:
    """`region` is `[calico] openstack_region`. `pair_networks`: where allowed address pairs may be whole prefixes."""

    region: str | None = None
    qos: QosDefaults = QosDefaults()
    pair_networks: tuple[Net, ...] = ()

    @property
    def namespace(self) -> str:
        return namespace_for(self.region)
