"""What agents report in etcd, brought into Neutron's database: port status and agent rows. Runs in the leader.

One mirror over the status keys of Felix, the DHCP agents and the BGP agents. A report is remembered by (port, host),
the database is asked how the port stands *now*, `verdict` decides, and only a difference is written. A port without
any report is set DOWN only if two comparisons in a row miss it, since Felix writes its reports one by one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from oslo_log import log

from calico_openstack.etcd.mirror import Batch, BlockingMirror
from calico_openstack.etcd.values import Event
from calico_openstack.model.keys import (
    BgpStatusKey,
    DhcpStatusKey,
    EndpointStatusKey,
    HostStatusKey,
    bgp_status_prefix,
    dhcp_status_prefix,
    parse_key,
    status_prefix,
)
from calico_openstack.neutron import agents, database, provisioning
from calico_openstack.neutron.process import Parts
from calico_openstack.neutron.translate.agent_rows import describe
from calico_openstack.neutron.translate.slots import migrating_to
from calico_openstack.neutron.translate.status import Verdict, verdict

LOG = log.getLogger(__name__)

RETRY: Final = 5.0


class Reports:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._site = parts.synchroniser.site
        region = self._site.region
        prefixes = [status_prefix(region), dhcp_status_prefix(region), bgp_status_prefix(region)]
        self._mirror = BlockingMirror(parts.client, prefixes)
        self._lock = threading.RLock()
        self._said: dict[str, dict[str, str]] = {}
        self._live: set[str] = set()
        self._missed: set[str] = set()
        self._told: set[tuple[str, str]] = set()
        self._complete = threading.Event()
        self._stopped = threading.Event()

    @property
    def in_sync(self) -> bool:
        """Whether the first complete snapshot has been taken in."""
        return self._complete.is_set()

    def run(self) -> None:
        """Follow until `stop`; never ends by itself."""
        while not self._stopped.is_set():
            try:
                for batch in self._mirror:
                    self._take(batch)
            except Exception:
                LOG.exception("Following the agents' reports failed; starting again")
            if not self._stopped.wait(RETRY):
                with self._lock:
                    # The new mirror tells what there is, not what has gone meanwhile.
                    self._complete.clear()
                    self._said.clear()
                    self._live.clear()
                self._mirror = BlockingMirror(self._parts.client, self._mirror.prefixes)

    def stop(self) -> None:
        self._stopped.set()
        self._mirror.close()

    def _take(self, batch: Batch) -> None:
        touched: set[str] = set()
        gone: set[str] = set()
        with self._lock:
            for event in batch.events:
                try:
                    self._note(event, touched, gone)
                except Exception:
                    LOG.exception("Cannot use the report at %s", event.key)
        self._decide(touched, certain=gone)
        if batch.in_sync:
            self._complete.set()

    def _note(self, event: Event, touched: set[str], gone: set[str]) -> None:
        key = parse_key(event.key)
        if isinstance(key, EndpointStatusKey):
            if key.endpoint.namespace != self._site.namespace:
                return
            port_id, host = key.endpoint.endpoint, key.endpoint.host
            status = provisioning.read_status(event.value)
            touched.add(port_id)
            if status is None:
                hosts = self._said.get(port_id, {})
                hosts.pop(host, None)
                if not hosts:
                    self._said.pop(port_id, None)
                gone.add(port_id)
            else:
                self._said.setdefault(port_id, {})[host] = status
            if status != "up":
                self._told.discard((port_id, host))
        elif isinstance(key, HostStatusKey | DhcpStatusKey | BgpStatusKey):
            if isinstance(key, HostStatusKey):
                (self._live.discard if event.value is None else self._live.add)(key.host)
            if event.value is None:
                LOG.warning("%s on host %s does not report any more", describe(key), key.host)
            else:
                agents.report(key, event.value)

    # --- decisions

    def compare_all(self) -> None:
        """Every guest's port against what is known; ports that no live host reports for the second time go DOWN."""
        if not self.in_sync:
            return
        rows = database.port_states()
        with self._lock:
            said, live = {port_id: dict(hosts) for port_id, hosts in self._said.items()}, set(self._live)
            self._told = {(port_id, host) for port_id, host in self._told if port_id in rows}
        missing = {
            port_id
            for port_id, row in rows.items()
            if row["binding:host_id"] not in said.get(port_id, {}) and verdict(row, {}, live) is Verdict.DOWN
        }
        certain, self._missed = missing & self._missed, missing
        self._apply(rows, rows.keys() - missing, said, live)
        self._apply(rows, certain, said, live)

    def _decide(self, port_ids: Iterable[str], certain: set[str]) -> None:
        ids = set(port_ids)
        if not ids:
            return
        try:
            rows = database.port_states(ids)
        except Exception:
            LOG.exception("Cannot read %d ports; their status is compared again within a minute", len(ids))
            return
        with self._lock:
            said, live = {port_id: dict(self._said.get(port_id, {})) for port_id in ids}, set(self._live)
        reported = {port_id for port_id in rows if said[port_id] or port_id in certain}
        self._apply(rows, reported, said, live)

    def _apply(
        self, rows: Mapping[str, Any], ids: Iterable[str], said: Mapping[str, Mapping[str, str]], live: set[str]
    ) -> None:
        for port_id in ids:
            row = rows.get(port_id)
            if row is None or self._stopped.is_set():
                continue
            try:
                decision = verdict(row, said.get(port_id, {}), live)
                if decision is Verdict.NOTHING:
                    continue
                destination = (port_id, migrating_to(row) or "")
                if decision is Verdict.DESTINATION_READY and destination in self._told:
                    continue
                provisioning.apply(row, decision)
                if decision is Verdict.DESTINATION_READY:
                    self._told.add(destination)
            except Exception:
                LOG.exception("Cannot set the status of port %s; trying again within a minute", port_id)
