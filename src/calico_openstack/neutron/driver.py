"""The ML2 mechanism driver `calico`: Neutron's hooks on one side, `Events` on the other.

ML2 reports ports, networks and subnets through the postcommit hooks here; security groups, address groups and
floating IPs come through Neutron's registry. Every hook only says *what may have changed*; `Events` turns that into
objects to look at, `sync` does the rest. A hook never raises for the sake of etcd: ML2 would undo the user's create,
or keep the change and log (update, delete), so the object is remembered instead.

    hook ─► Events (which objects) ─► Background ─► Synchroniser ─► etcd
                                        └─ etcd away: remembered, retried
    neutron-periodic-workers ─► ChoresWorker: the elected one watches status, checks, compacts

Nothing connects before the fork: `Process` makes its parts at first use in each process.
"""

from __future__ import annotations

from typing import Any

from neutron_lib.api.definitions import portbindings
from neutron_lib.callbacks import events, registry, resources
from neutron_lib.plugins.ml2 import api
from oslo_config import cfg
from oslo_log import log
from sqlalchemy import orm

from calico_openstack.neutron import binding, compat, options, provisioning
from calico_openstack.neutron.events import Events
from calico_openstack.neutron.process import Process
from calico_openstack.neutron.qos import CalicoQosDriver
from calico_openstack.neutron.trunk import CalicoTrunkDriver
from calico_openstack.neutron.worker import ChoresWorker, start_in_api

LOG = log.getLogger(__name__)

options.register()


class CalicoMechanismDriver(api.MechanismDriver):
    """Loaded by `[ml2] mechanism_drivers = calico`, with the plain `ml2` core plugin."""

    def initialize(self) -> None:
        options.check()  # a bad option stops the server here, with its name
        self.process = Process()
        self.events = Events(self.process)
        self.qos_driver = CalicoQosDriver(self.events.qos_policy_changed)
        self.trunk_driver = CalicoTrunkDriver()
        self._subscribe()

    def _subscribe(self) -> None:
        registry.subscribe(self._process_started, resources.PROCESS, events.AFTER_INIT)
        after = (events.AFTER_CREATE, events.AFTER_UPDATE, events.AFTER_DELETE)
        for resource, receiver in (
            (resources.SECURITY_GROUP, self.events.security_group),
            (resources.SECURITY_GROUP_RULE, self.events.security_group_rule),
            (resources.ADDRESS_GROUP, self.events.address_group),
            (resources.FLOATING_IP, self.events.floating_ip),
        ):
            for event in after:
                registry.subscribe(receiver, resource, event)
        registry.subscribe(self.events.security_group, resources.SECURITY_GROUP, events.BEFORE_DELETE)
        registry.subscribe(self.events.router_interface, resources.ROUTER_INTERFACE, events.AFTER_CREATE)

    def _process_started(self, resource: Any, event: Any, trigger: Any, payload: Any = None) -> None:
        # Without this, GET /ports as the first request of a process answers 500: a column that the query names is a
        # backref, which exists only once SQLAlchemy has configured its mappers.
        orm.configure_mappers()
        if isinstance(trigger, type):  # an API process, see start_in_api
            # Neutron's policy enforcer is published before its rules are loaded: of two requests that come first at
            # the same time, the second would be refused with 403.
            compat.init_policy()
        start_in_api(self.process, trigger)

    def get_workers(self) -> list[Any]:
        if cfg.CONF[options.GROUP].chores != "worker":
            return []
        return [ChoresWorker(self.process)]

    @property
    def connectivity(self) -> str:
        return str(portbindings.CONNECTIVITY_L3)

    # --- ports

    def create_port_precommit(self, context: Any) -> None:
        provisioning.add_block(context)

    def update_port_precommit(self, context: Any) -> None:
        if context.host != context.original_host:
            provisioning.add_block(context)

    def create_port_postcommit(self, context: Any) -> None:
        self.events.port(None, context.current)

    def update_port_postcommit(self, context: Any) -> None:
        self.events.port(context.original, context.current)

    def delete_port_postcommit(self, context: Any) -> None:
        self.events.port(context.current, None)

    def bind_port(self, context: Any) -> None:
        binding.bind(context)

    # --- networks and subnets

    def update_network_postcommit(self, context: Any) -> None:
        self.events.network(context.original, context.current)

    def create_subnet_postcommit(self, context: Any) -> None:
        self.events.subnet(None, context.current)

    def update_subnet_postcommit(self, context: Any) -> None:
        self.events.subnet(context.original, context.current)

    def delete_subnet_postcommit(self, context: Any) -> None:
        self.events.subnet(context.current, None)
