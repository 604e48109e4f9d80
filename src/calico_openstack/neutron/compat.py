"""Everything that this room imports from `neutron.*`, except the WSGI application that `light` wraps.

neutron-lib is the interface that Neutron promises to keep; the names below are not promised, so they stand in one file.
The tests of this room pass with Neutron 29.0.0 (2026.2) and 28.0.2 (2026.1).
"""

from __future__ import annotations

from neutron import policy
from neutron.db import models_v2, provisioning_blocks
from neutron.db.models import l3 as l3_models
from neutron.db.models import securitygroup as group_models
from neutron.objects import address_group as address_group_objects
from neutron.objects import ports as port_objects
from neutron.objects import securitygroup as group_objects
from neutron.objects.qos import policy as qos_objects
from neutron.plugins.ml2 import db as ml2_db
from neutron.plugins.ml2 import models as ml2_models
from neutron.services.trunk.drivers import base as trunk_base

AddressGroup = address_group_objects.AddressGroup
FloatingIPModel = l3_models.FloatingIP
NetworkModel = models_v2.Network
SubnetModel = models_v2.Subnet
PortObject = port_objects.Port
QosPolicy = qos_objects.QosPolicy
SecurityGroup = group_objects.SecurityGroup
SecurityGroupRule = group_objects.SecurityGroupRule
TrunkDriverBase = trunk_base.DriverBase

PortBindingModel = ml2_models.PortBinding
PortModel = models_v2.Port
SecurityGroupModel = group_models.SecurityGroup
SecurityGroupPortBinding = group_models.SecurityGroupPortBinding

L2_AGENT_ENTITY = provisioning_blocks.L2_AGENT_ENTITY
add_provisioning_component = provisioning_blocks.add_provisioning_component
provisioning_complete = provisioning_blocks.provisioning_complete
get_port_row = ml2_db.get_port
init_policy = policy.init

__all__ = [
    "L2_AGENT_ENTITY",
    "AddressGroup",
    "FloatingIPModel",
    "NetworkModel",
    "PortBindingModel",
    "PortModel",
    "PortObject",
    "QosPolicy",
    "SecurityGroup",
    "SecurityGroupModel",
    "SecurityGroupPortBinding",
    "SecurityGroupRule",
    "SubnetModel",
    "TrunkDriverBase",
    "add_provisioning_component",
    "get_port_row",
    "init_policy",
    "provisioning_complete",
]
