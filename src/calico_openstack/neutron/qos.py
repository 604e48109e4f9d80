"""The QoS driver: tells Neutron what Calico can limit, and brings ports up to date when a policy's rules change.

What Calico cannot do is not declared, so the API refuses it instead of ignoring it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.db import constants as db_constants
from neutron_lib.services.qos import base
from neutron_lib.services.qos import constants as qos

_ANY_SIZE: Final = {"type:range": [0, db_constants.DB_INTEGER_MAX_VALUE]}
_DIRECTION: Final = {"type:values": constants.VALID_DIRECTIONS}

SUPPORTED_RULES: Final = {
    qos.RULE_TYPE_BANDWIDTH_LIMIT: {
        qos.MAX_KBPS: _ANY_SIZE,
        qos.MAX_BURST: _ANY_SIZE,
        qos.DIRECTION: _DIRECTION,
    },
    qos.RULE_TYPE_PACKET_RATE_LIMIT: {
        qos.MAX_KPPS: _ANY_SIZE,
        # The burst of a packet-rate limit is an option of the deployment.
        qos.MAX_BURST_KPPS: {"type:values": [0]},
        qos.DIRECTION: _DIRECTION,
    },
}


class CalicoQosDriver(base.DriverBase):
    """`policy_changed(policy_id)` is called after the change is committed; it must not raise."""

    def __init__(self, policy_changed: Callable[[str], None]) -> None:
        super().__init__(
            name="calico",
            vif_types=["tap"],
            vnic_types=[portbindings.VNIC_NORMAL],
            supported_rules=SUPPORTED_RULES,
            requires_rpc_notifications=False,
        )
        self._policy_changed = policy_changed

    def update_policy(self, context: Any, policy: Any) -> None:
        self._policy_changed(policy.id)
