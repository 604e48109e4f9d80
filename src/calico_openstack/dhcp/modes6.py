"""How a guest gets its IPv6 address on a subnet, from Neutron's two mode attributes.

| ra mode / address mode | a guest's address comes from | M | O | prefix option   |
|------------------------|------------------------------|---|---|-----------------|
| slaac                  | itself, out of the prefix    | 0 | 0 | A=1, L=0        |
| dhcpv6-stateless       | itself; options from DHCPv6  | 0 | 1 | A=1, L=0        |
| dhcpv6-stateful        | DHCPv6                       | 1 | 1 | none            |
| unset, or mixed        | DHCPv6, as upstream          | 1 | 1 | none            |

L is never set: a guest that took the prefix for on-link would ask its neighbours for addresses that live on other
hosts.
"""

from __future__ import annotations

from enum import Enum

from calico_openstack.model.subnet import Subnet


class Mode(Enum):
    SLAAC = "slaac"
    STATELESS = "dhcpv6-stateless"
    STATEFUL = "dhcpv6-stateful"

    @property
    def autonomous(self) -> bool:
        return self is not Mode.STATEFUL


def mode_of(subnet: Subnet) -> Mode:
    """The mode of an IPv6 subnet."""
    if subnet.ra_mode != subnet.address_mode:
        return Mode.STATEFUL
    return {mode.value: mode for mode in Mode}.get(subnet.ra_mode or "", Mode.STATEFUL)
