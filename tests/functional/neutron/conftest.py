"""A real Neutron API (one process, SQLite, noauth, chores inside) on a real etcd, both on loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.values import EtcdSettings
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import EndpointStatusKey, HostStatusKey
from calico_openstack.testing.etcd_server import EtcdServer, free_port

BINARIES = Path(sys.executable).parent

CONFIGURATION = """\
[DEFAULT]
host = controller
auth_strategy = noauth
core_plugin = ml2
service_plugins = router,qos,trunk,revisions,timestamp
transport_url = fake://
rpc_workers = 0
rpc_state_report_workers = 0
api_paste_config = {paste}
state_path = {directory}/state
dns_domain = example.org.
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
[database]
connection = sqlite:///{directory}/neutron.sqlite?timeout=30
[oslo_concurrency]
lock_path = {directory}/lock
[oslo_messaging_notifications]
driver = noop
[oslo_policy]
policy_file = {directory}/policy.yaml
[ml2]
type_drivers = local,flat
tenant_network_types = local
mechanism_drivers = calico
extension_drivers = port_security,qos,dns_domain_ports
[ml2_type_flat]
flat_networks = *
[securitygroup]
enable_security_group = true
[calico]
etcd_endpoints = {etcd}
chores = api
elector_name = controller
etcd_request_timeout = 1
check_interval_secs = 5
{more}
"""


def eventually(check: Callable[[], Any], limit: float = 30.0, what: str = "") -> Any:
    """The first true answer of `check`, asked again and again; fails after `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not within {limit:.0f} s: {what or check}; last answer {answer!r}")
        time.sleep(0.05)


class Neutron:
    """One API server and the client for it. `log` is a file that shows up in a failure's report."""

    def __init__(self, directory: Path, template: Path, etcd: EtcdServer, more: str = "") -> None:
        self.directory = directory
        self.etcd = etcd
        self.port = free_port()
        self.log = directory / "neutron.log"
        shutil.copy(template, directory / "neutron.sqlite")
        (directory / "lock").mkdir()
        (directory / "policy.yaml").write_text('"service_api": "role:service or is_admin:True"\n')
        paste = Path(sys.prefix) / "etc/neutron/api-paste.ini"
        (directory / "neutron.conf").write_text(
            CONFIGURATION.format(paste=paste, directory=directory, etcd=etcd.endpoint, more=more)
        )
        self.client = BlockingClient(EtcdSettings(endpoints=(etcd.endpoint,), timeout=5))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {
            "OS_NEUTRON_CONFIG_DIR": str(self.directory),
            "OS_NEUTRON_CONFIG_FILES": "neutron.conf",
            "PYTHONWARNINGS": "ignore",
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(BINARIES / "waitress-serve"),
                    f"--listen=127.0.0.1:{self.port}",
                    "--threads=1",
                    "calico_openstack.neutron.light:application",
                ],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )
        eventually(self._answers, 120, "the Neutron API answers")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"Neutron ended at its start:\n{self.log.read_text()[-5000:]}")
        try:
            self.get("networks")
        except OSError:
            return False
        return True

    # --- the API

    def call(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v2.0/{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            pytest.fail(f"{method} {path}: {error.code} {error.read().decode()}\n{self.log.read_text()[-3000:]}")
        return json.loads(text) if text else None

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v2.0/{path}", timeout=60) as answer:
            return json.loads(answer.read())

    def create(self, kind: str, **values: Any) -> Any:
        plural = {"security_group": "security-groups", "security_group_rule": "security-group-rules"}.get(
            kind, {"address_group": "address-groups"}.get(kind, f"{kind}s")
        )
        return self.call("POST", plural, {kind: values})[kind]

    def update(self, kind: str, identity: str, **values: Any) -> Any:
        plural = {"security_group": "security-groups"}.get(kind, f"{kind}s")
        return self.call("PUT", f"{plural}/{identity}", {kind: values})[kind]

    # --- etcd

    def document(self, key: str) -> Any:
        item = self.client.get(key)
        return json.loads(item.value) if item is not None else None

    def keys(self, prefix: str) -> list[str]:
        return [item.key for item in self.client.snapshot(prefix).items]

    def wait(self, check: Callable[[], Any], limit: float = 30.0, what: str = "") -> Any:
        return eventually(check, limit, what)

    def felix_lives(self, host: str) -> None:
        """What a Felix does every 30 seconds; binding needs it."""
        status = {"time": "2026-11-21T02:00:00Z", "uptime": 1.5, "first_update": True}
        self.client.put(HostStatusKey(None, host).path, json.dumps(status).encode())
        eventually(
            lambda: any(agent["host"] == host and agent["alive"] for agent in self.get("agents")["agents"]),
            what=f"agent row of {host}",
        )


HOST = "compute-01"
OTHER_HOST = "compute-02"
DEVICE = "8f3d2c1a-4b5e-4f60-9a7b-0c1d2e3f4a5b"


def esc(text: str) -> str:
    return text.replace("-", "--")


class Cloud:
    """A network with both families, a security group, two live hosts; and where their documents should be."""

    host, other_host, device = HOST, OTHER_HOST, DEVICE

    def __init__(self, neutron: Neutron) -> None:
        self.neutron = neutron
        for host in (HOST, OTHER_HOST):
            neutron.felix_lives(host)
        self.network = neutron.create("network", name="calico net")
        self.v4 = neutron.create(
            "subnet",
            network_id=self.network["id"],
            ip_version=4,
            cidr="10.65.0.0/24",
            dns_nameservers=["192.0.2.53"],
            host_routes=[{"destination": "203.0.113.0/24", "nexthop": "10.65.0.1"}],
        )
        self.v6 = neutron.create(
            "subnet",
            network_id=self.network["id"],
            ip_version=6,
            cidr="2001:db8:a41::/64",
            gateway_ip="2001:db8:a41::1",
            ipv6_ra_mode="slaac",
            ipv6_address_mode="slaac",
        )
        self.group = neutron.create("security_group", name="web tier!")

    def port(self, **values: Any) -> Any:
        """A port of a guest, bound to `HOST` unless said otherwise."""
        given = {
            "network_id": self.network["id"],
            "device_owner": "compute:nova",
            "device_id": DEVICE,
            "binding:host_id": HOST,
            "security_groups": [self.group["id"]],
        }
        return self.neutron.create("port", **(given | values))

    def endpoint_path(self, port_id: str, host: str = HOST, device: str = DEVICE) -> str:
        name = f"{esc(host)}-openstack-{esc(device)}-{esc(port_id)}"
        return f"/calico/resources/v3/projectcalico.org/workloadendpoints/openstack/{name}"

    def migration_path(self, port_id: str, host: str) -> str:
        return self.endpoint_path(port_id, host).replace("workloadendpoints", "livemigrations")

    def policy_path(self, group_id: str) -> str:
        return f"/calico/resources/v3/projectcalico.org/networkpolicies/openstack/ossg.default.{group_id}"

    def endpoint(self, port_id: str, host: str = HOST, device: str = DEVICE) -> Any:
        return self.neutron.document(self.endpoint_path(port_id, host, device))

    def policy(self, group_id: str) -> Any:
        return self.neutron.document(self.policy_path(group_id))

    def felix_says(self, status: str | None, port_id: str, host: str = HOST, device: str = DEVICE) -> None:
        key = EndpointStatusKey(None, EndpointKey("openstack", host, "openstack", device, port_id)).path
        if status is None:
            self.neutron.client.delete(key)
        else:
            self.neutron.client.put(key, json.dumps({"status": status}).encode())

    def status(self, port_id: str) -> str:
        return str(self.neutron.get(f"ports/{port_id}")["port"]["status"])


@pytest.fixture(scope="module")
def cloud(neutron: Neutron) -> Cloud:
    return Cloud(neutron)


@pytest.fixture
def neutron_class() -> type[Neutron]:
    return Neutron


@pytest.fixture(scope="session")
def binaries() -> Path:
    return BINARIES


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    return eventually


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "neutron.sqlite"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "calico_openstack.sandbox.light_template", str(path)],
        check=True,
        capture_output=True,
    )
    return path


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdServer]:
    server = EtcdServer()
    try:
        yield server.start()
    finally:
        server.cleanup()


@pytest.fixture(scope="module")
def neutron(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, etcd: EtcdServer) -> Iterator[Neutron]:
    server = Neutron(tmp_path_factory.mktemp("neutron"), sqlite_template, etcd)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        server.client.close()
