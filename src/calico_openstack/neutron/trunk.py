"""Lets Neutron's trunk plugin start beside this driver.

Without any registered driver the trunk plugin refuses to start and takes the server with it. Calico networks a trunk's
parent port like any other; a subport (`trunk:subport`) is not a guest's own device and gets no endpoint.
"""

from __future__ import annotations

from calico_openstack.neutron import compat


class CalicoTrunkDriver(compat.TrunkDriverBase):
    """The base class registers it when the trunk plugin has started."""

    def __init__(self) -> None:
        super().__init__(
            "calico", interfaces=("tap",), segmentation_types=("vlan",), agent_type=None, can_trunk_bound_port=False
        )

    @property
    def is_loaded(self) -> bool:
        return True
