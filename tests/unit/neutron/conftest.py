"""A database in memory for the synchroniser: rows that a test changes, read as `database` would give them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from calico_openstack.neutron.sync import Synchroniser
from calico_openstack.neutron.translate.endpoints import Surroundings
from calico_openstack.neutron.translate.labels import Project
from calico_openstack.neutron.translate.site import Site
from calico_openstack.testing.fake_etcd import FakeEtcd

Row = Mapping[str, Any]


@pytest.fixture(scope="session", autouse=True)
def neutron_stays_out() -> Iterator[None]:
    """A whole Neutron takes eight seconds to import; what needs it is tested in `tests/functional/neutron`."""
    yield
    assert "neutron" not in sys.modules


class Rows:
    """`before_read` runs before each read of ports, in the reader's thread: the place to make trouble."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.port_rows: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, list[dict[str, Any]]] = {}
        self.subnet_rows: dict[str, dict[str, Any]] = {}
        self.after_read: Callable[[], None] = lambda: None
        self.reads = 0

    def port(self, port_id: str, host: str = "a", **changes: Any) -> None:
        with self.lock:
            self.port_rows[port_id] = {
                "id": port_id,
                "device_id": "d",
                "device_owner": "compute:nova",
                "network_id": "n",
                "mac_address": "fa:16:3e:00:00:01",
                "admin_state_up": True,
                "binding:host_id": host,
                "binding:vif_type": "tap",
                "binding:profile": {},
                "fixed_ips": [{"ip_address": "10.0.0.5", "subnet_id": "s"}],
                "security_groups": ["g"],
            } | changes

    def ports(self, ids: Iterable[str]) -> Mapping[str, Row]:
        with self.lock:
            self.reads += 1
            found = {port_id: dict(self.port_rows[port_id]) for port_id in ids if port_id in self.port_rows}
        self.after_read()
        return found

    def surroundings(self, rows: Collection[Row], projects: Mapping[str, Project]) -> Surroundings:
        return Surroundings(projects=projects)

    def security_group_rules(self, group_ids: Iterable[str]) -> Mapping[str, Sequence[Row]]:
        return {group_id: self.groups[group_id] for group_id in group_ids if group_id in self.groups}

    def address_groups(self, ids: Iterable[str]) -> Mapping[str, Sequence[str]]:
        return {}

    def subnets(self, ids: Iterable[str]) -> Mapping[str, Row]:
        return {subnet_id: self.subnet_rows[subnet_id] for subnet_id in ids if subnet_id in self.subnet_rows}


@pytest.fixture
def rows() -> Rows:
    made = Rows()
    made.groups["g"] = []
    return made


@pytest.fixture
def etcd() -> FakeEtcd:
    return FakeEtcd()


@pytest.fixture
def synchroniser(rows: Rows, etcd: FakeEtcd) -> Synchroniser:
    return Synchroniser(etcd.blocking(), Site(), rows)
