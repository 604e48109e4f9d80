"""Which subnet is an address of? Kept up to date event by event, asked per port."""

from __future__ import annotations

from dataclasses import dataclass, field

from calico_openstack.model.net import Net
from calico_openstack.model.subnet import Subnet


@dataclass(slots=True)
class SubnetIndex:
    """All DHCP subnets of the region, grouped by network."""

    _by_id: dict[str, Subnet] = field(default_factory=dict)
    _by_network: dict[str, dict[str, Subnet]] = field(default_factory=dict)

    def put(self, subnet: Subnet) -> None:
        self.remove(subnet.id)
        self._by_id[subnet.id] = subnet
        self._by_network.setdefault(subnet.network_id, {})[subnet.id] = subnet

    def remove(self, subnet_id: str) -> None:
        """Forget a subnet; nothing happens if it is not known."""
        old = self._by_id.pop(subnet_id, None)
        if old is None:
            return
        siblings = self._by_network[old.network_id]
        del siblings[subnet_id]
        if not siblings:
            del self._by_network[old.network_id]

    def find(self, address: Net, network_id: str | None) -> Subnet | None:
        """The subnet of `address` in the network; without a network, only if no two networks claim the address.

        Of several in one network (Neutron allows no overlap there) the longest prefix, then the lowest id.
        """
        if network_id is not None:
            candidates = list(self._by_network.get(network_id, {}).values())
        else:
            candidates = list(self._by_id.values())
        found = [subnet for subnet in candidates if subnet.cidr.contains(address)]
        if not found or len({subnet.network_id for subnet in found}) > 1:
            return None
        return min(found, key=lambda subnet: (-subnet.cidr.length, subnet.id))

    def __len__(self) -> int:
        return len(self._by_id)
