"""Compares all of etcd with all of the database, and hands over what differs.

Reading only: the differences go to `Background`, whose `sync` reads both again before it writes, so the check needs
no lock and may be as slow as it likes. A document is deleted only if its name says that this driver wrote it
(orchestrator `openstack`, policy `ossg.default.*`, a subnet of this region); others in the same namespace are left
alone.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from oslo_log import log

from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.values import KeyValue, Put, Unchanged
from calico_openstack.model.keys import ResourceKey, SubnetKey, parse_key, resource_prefix, subnet_prefix
from calico_openstack.model.names import SG_POLICY_PREFIX, parse_endpoint_name
from calico_openstack.neutron import database
from calico_openstack.neutron.process import Parts
from calico_openstack.neutron.sync import Changes, Outcome, Ref
from calico_openstack.neutron.translate import shared
from calico_openstack.neutron.translate.endpoints import open_profile
from calico_openstack.neutron.translate.site import ORCHESTRATOR
from calico_openstack.neutron.translate.slots import Slot

LOG = log.getLogger(__name__)

AT_ONCE: Final = 500
"""Objects whose documents are held in memory at a time."""


@dataclass(frozen=True, slots=True)
class Differences:
    """`wrong`: objects with a missing, different or surplus document; `compared`: how many objects were looked at."""

    wrong: Mapping[Ref, frozenset[Slot]]
    compared: int
    seconds: float


class Check:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._synchroniser = parts.synchroniser

    def run(self, patience: float = 2.0) -> None:
        """Compare, look again at what differs after `patience` seconds (a change may be under way), repair the rest."""
        differences = self.differences()
        wrong = differences.wrong
        if wrong:
            time.sleep(patience)
            wrong = self._still(wrong)
        if wrong:
            LOG.warning(
                "etcd differs from the database in %d of %d objects (%.1f s); writing them: %s",
                len(wrong),
                differences.compared,
                differences.seconds,
                ", ".join(f"{ref.kind} {ref.id}" for ref in list(wrong)[:10]),
            )
            self._parts.background.owe(wrong)
        else:
            LOG.info("etcd agrees with the database: %d objects, %.1f s", differences.compared, differences.seconds)

    def _still(self, changes: Changes) -> dict[Ref, frozenset[Slot]]:
        refs, wrong = sorted(changes), {}
        for at in range(0, len(refs), 50):
            some = {ref: changes[ref] for ref in refs[at : at + 50]}
            keys = self._synchroniser.keys(some)
            stored = self._parts.client.get_many(sorted(keys)).items
            wrong.update(self._compare(some, stored))
        return wrong

    def differences(self) -> Differences:
        """What a repair would write. etcd is read first: what changes meanwhile is only looked at once more."""
        started = time.monotonic()
        site = self._synchroniser.site
        prefixes = [resource_prefix(kind, site.namespace) for kind in ("WorkloadEndpoint", "LiveMigration")]
        prefixes.append(f"{resource_prefix('NetworkPolicy', site.namespace)}{SG_POLICY_PREFIX}")
        prefixes.append(subnet_prefix(site.region))
        prefixes.append(open_profile().key)
        stored = {item.key: item for item in self._parts.client.snapshot(prefixes).items}
        objects: dict[Ref, set[Slot]] = {}
        for key in stored:
            self._owner(key, objects)
        for ref in _in_database():
            objects.setdefault(ref, set())
        wrong: dict[Ref, frozenset[Slot]] = {}
        ordered = sorted(objects)
        for at in range(0, len(ordered), AT_ONCE):
            some = {ref: frozenset(objects[ref]) for ref in ordered[at : at + AT_ONCE]}
            wrong.update(self._compare(some, stored))
        return Differences(wrong, len(objects), time.monotonic() - started)

    def _compare(self, changes: Changes, stored: Mapping[str, KeyValue]) -> dict[Ref, frozenset[Slot]]:
        documents, _ = self._synchroniser.translate(changes, Outcome())
        wrong: dict[Ref, frozenset[Slot]] = {}
        for ref, own in documents.items():
            if self._synchroniser.operations(own.present, own.absent, stored):
                wrong[ref] = changes[ref]
        return wrong

    def _owner(self, path: str, objects: dict[Ref, set[Slot]]) -> None:
        key = parse_key(path)
        if isinstance(key, SubnetKey):
            objects.setdefault(Ref("subnet", key.subnet_id), set())
        elif isinstance(key, ResourceKey) and key.kind == "NetworkPolicy":
            objects.setdefault(Ref("group", key.name.removeprefix(SG_POLICY_PREFIX)), set())
        elif isinstance(key, ResourceKey) and key.kind in ("WorkloadEndpoint", "LiveMigration"):
            try:
                endpoint = parse_endpoint_name(key.namespace, key.name)
            except ValueError:
                return
            if endpoint.orchestrator == ORCHESTRATOR:
                objects.setdefault(Ref("port", endpoint.endpoint), set()).add(Slot(endpoint.host, endpoint.workload))


def _in_database() -> Iterable[Ref]:
    for port_id in database.endpoint_port_ids():
        yield Ref("port", port_id)
    for group_id in database.security_group_ids():
        yield Ref("group", group_id)
    for subnet_id in database.all_subnets():
        yield Ref("subnet", subnet_id)


def ensure_shared_documents(client: BlockingClient) -> None:
    """ClusterInformation and FelixConfiguration `default`: add what is missing, keep what others wrote."""
    guid, uid = secrets.token_hex(16), str(uuid.uuid4())
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    makers: dict[str, Callable[[bytes | None], bytes | None]] = {
        # Before the other, which says that Felix may begin.
        shared.FELIX_KEY: lambda stored: shared.felix_configuration(stored, now, str(uuid.uuid4())),
        shared.CLUSTER_KEY: lambda stored: shared.cluster_information(stored, guid, now, uid),
    }
    for key, make in makers.items():
        for _ in range(10):
            stored = client.get(key)
            value = make(stored.value if stored else None)
            if value is None:
                break
            if client.txn([Unchanged(key, stored.mod_revision if stored else 0)], [Put(key, value)]).succeeded:
                LOG.info("Wrote %s", key)
                break
