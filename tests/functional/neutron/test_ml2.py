"""The driver inside a real ML2 plugin on an in-memory database, with an etcd in memory.

`Ml2PluginV2TestCase` comes with Neutron's wheel and promises nothing about its own stability, so it is used in this
file only.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from neutron.db import provisioning_blocks
from neutron.tests.unit.plugins.ml2 import test_plugin
from neutron_lib import context as neutron_context
from neutron_lib.plugins import directory
from oslo_config import cfg

from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import EndpointStatusKey, HostStatusKey
from calico_openstack.neutron import agents, database, options, provisioning
from calico_openstack.neutron.background import Background
from calico_openstack.neutron.process import Parts, Process
from calico_openstack.neutron.projects import Projects
from calico_openstack.neutron.sync import Synchroniser
from calico_openstack.neutron.translate.status import Verdict
from calico_openstack.testing.fake_etcd import FakeEtcd

PREFIX = "/calico/resources/v3/projectcalico.org"
REPORT = b'{"time": "2026-11-21T02:00:00Z", "uptime": 1.0, "first_update": true}'
DEVICE = "8f3d2c1a-4b5e-4f60-9a7b-0c1d2e3f4a5b"


def eventually(check: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


class TestDriver(test_plugin.Ml2PluginV2TestCase):
    _mechanism_drivers = ["calico"]  # noqa: RUF012 - the base class has a list

    def setUp(self) -> None:
        self.etcd = FakeEtcd()
        cfg.CONF.set_override("type_drivers", ["local", "flat"], group="ml2")
        cfg.CONF.set_override("project_network_types", ["local"], group="ml2")
        made = Process(self._make_parts)
        patch = mock.patch("calico_openstack.neutron.driver.Process", return_value=made)
        patch.start()
        self.addCleanup(patch.stop)
        # All threads would share the one connection of an in-memory SQLite: nothing may read behind the test's back.
        for name, value in (("SECOND_LOOK", 3600.0), ("Background.soon", lambda background, job: None)):
            quiet = mock.patch(f"calico_openstack.neutron.background.{name}", value)
            quiet.start()
            self.addCleanup(quiet.stop)
        super().setUp()
        self.driver = self.plugin.mechanism_manager.mech_drivers["calico"].obj
        self.addCleanup(self.driver.process.close)
        for host in ("host-a", "host-b"):
            agents.report(HostStatusKey(None, host), REPORT)

    def _make_parts(self) -> Parts:
        client = self.etcd.blocking()
        projects = Projects(database.endpoint_port_ids_of_project, make_lookup=lambda: None)
        synchroniser = Synchroniser(client, options.site(), database, projects.known)
        return Parts(client, projects, synchroniser, Background(synchroniser, 2, 2))

    def keys(self, kind: str) -> list[str]:
        return [item.key for item in self.etcd.blocking().snapshot(f"{PREFIX}/{kind}/").items]

    def make(self, **values: Any) -> dict[str, Any]:
        given = {
            "network_id": self.net["network"]["id"],
            "project_id": self.net["network"]["project_id"],
            "name": "",
            "admin_state_up": True,
            "device_owner": "compute:nova",
            "device_id": DEVICE,
            "fixed_ips": [{"subnet_id": self.sub["subnet"]["id"]}],
            "mac_address": "fa:16:3e:00:00:01",
            "binding:host_id": "host-a",
        }
        port: dict[str, Any] = self.plugin.create_port(self.admin, {"port": given | values})
        return port

    def says(self, status: str, host: str, port_id: str) -> None:
        key = EndpointStatusKey(None, EndpointKey("openstack", host, "openstack", DEVICE, port_id))
        self.etcd.blocking().put(key.path, json.dumps({"status": status}).encode())

    def test_a_port_waits_for_felix_and_nova_is_told_about_the_destination_of_a_migration(self) -> None:
        self.admin = neutron_context.get_admin_context()
        with self.network() as self.net, self.subnet(network=self.net) as self.sub:
            port = self.make()
            port_id = port["id"]
            assert (port["binding:vif_type"], port["status"]) == ("tap", "DOWN")
            assert {name: port["binding:vif_details"][name] for name in ("port_filter", "mac_address")} == {
                "port_filter": True,
                "mac_address": "fe:16:3e:00:00:01",
            }
            assert port["binding:vif_details"]["connectivity"] == "l3"
            assert provisioning_blocks.is_object_blocked(self.admin, port_id, "port")
            assert len(self.keys("workloadendpoints")) == 1

            self.says("up", "host-a", port_id)
            provisioning.announce_again(self.driver.process.parts, port_id)
            assert self.plugin.get_port(self.admin, port_id)["status"] == "ACTIVE"
            assert not provisioning_blocks.is_object_blocked(self.admin, port_id, "port")

            notifier = mock.MagicMock()
            cfg.CONF.set_override("notify_nova_on_port_status_changes", True)
            with mock.patch.object(directory.get_plugin(), "nova_notifier", notifier, create=True):
                migrating = {"binding:profile": {"migrating_to": "host-b"}}
                self.plugin.update_port(self.admin, port_id, {"port": migrating})
                row = database.port_states([port_id])[port_id]
                provisioning.announce_again(self.driver.process.parts, port_id)
                notifier.notify_port_active_direct.assert_not_called()
                assert row["status"] == "DOWN"

                self.says("up", "host-b", port_id)
                provisioning.announce_again(self.driver.process.parts, port_id)
                notifier.context_enabled.assert_any_call(False)
                assert port_id == notifier.notify_port_active_direct.call_args.args[0].id
            assert len(self.keys("workloadendpoints")) == 2
            assert len(self.keys("livemigrations")) == 1

            provisioning.apply(row, Verdict.DOWN)
            assert self.plugin.get_port(self.admin, port_id)["status"] == "DOWN"
            self.plugin.delete_port(self.admin, port_id)
            assert self.keys("workloadendpoints") + self.keys("livemigrations") == []

    def test_a_caller_who_cannot_see_a_group_does_not_make_its_policy_vanish(self) -> None:
        self.admin = neutron_context.get_admin_context()
        with self.network() as self.net, self.subnet(network=self.net) as self.sub:
            foreign = self.plugin.create_security_group(
                neutron_context.Context(user_id="x", project_id="project-two", is_admin=True),
                {
                    "security_group": {
                        "name": "foreign",
                        "description": "",
                        "project_id": "project-two",
                        "stateful": True,
                    }
                },
            )
            policy = f"{PREFIX}/networkpolicies/openstack/ossg.default.{foreign['id']}"
            port = self.make(security_groups=[foreign["id"]])
            assert policy in self.keys("networkpolicies")
            self.etcd.blocking().delete(policy)

            theirs = neutron_context.Context(user_id="u", project_id=port["project_id"], roles=["member"])
            self.plugin.update_port(theirs, port["id"], {"port": {"name": "renamed"}})
            assert policy in self.keys("networkpolicies")

    def test_precommit_hooks_do_not_speak_to_etcd(self) -> None:
        self.admin = neutron_context.get_admin_context()
        during: list[int] = []

        def counted(method: str) -> Any:
            original = getattr(self.driver, method)

            def hook(context: Any) -> None:
                before = len(self.etcd.calls)
                original(context)
                during.append(len(self.etcd.calls) - before)

            return mock.patch.object(self.driver, method, hook)

        methods = ("create_port_precommit", "update_port_precommit", "delete_port_precommit")
        with self.network() as self.net, self.subnet(network=self.net) as self.sub, contextlib.ExitStack() as stack:
            for method in methods:
                stack.enter_context(counted(method))
            port = self.make()
            self.plugin.update_port(self.admin, port["id"], {"port": {"binding:host_id": "host-b"}})
            self.plugin.delete_port(self.admin, port["id"])
        assert len(during) >= 4
        assert {0} == set(during)

    def test_a_broken_etcd_never_fails_a_call(self) -> None:
        self.admin = neutron_context.get_admin_context()
        with self.network() as self.net, self.subnet(network=self.net) as self.sub:
            self.etcd.stop()
            port = self.make()
            self.plugin.update_port(self.admin, port["id"], {"port": {"name": "x", "admin_state_up": False}})
            self.plugin.update_port(self.admin, port["id"], {"port": {"admin_state_up": True}})
            self.etcd.start()
            eventually(lambda: self.keys("workloadendpoints"))
