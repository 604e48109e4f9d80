"""Keeps etcd's history short: upstream's algorithm and keys, so that either driver may lead.

`trigger` lives as long as nothing is due (its lease is the period); `last` holds the revision of the last compaction,
and its own `mod_revision` is the store revision at the last look, so `current - mod_revision(last)` is what one period
brings. That much is kept, and never less than `min_revisions`.
"""

from __future__ import annotations

import os
from typing import Final

from oslo_log import log

from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.errors import Compacted, EtcdError, LeaseGone, PermissionDenied
from calico_openstack.etcd.values import KeyValue, Put
from calico_openstack.model.keys import CompactionLastKey, CompactionTriggerKey

LOG = log.getLogger(__name__)

TRIGGER: Final = CompactionTriggerKey().path
LAST: Final = CompactionLastKey().path


def target(current: int, last: int, last_seen: int, min_revisions: int) -> int | None:
    """The revision to compact to, or None. `last_seen` is the store revision at the last look."""
    if current <= min_revisions:
        return None
    to = current - max(min_revisions, current - last_seen)
    return to if to > last else None


class Compaction:
    """`period` in seconds. `step` may be called as often as one likes; it acts once per period."""

    def __init__(self, client: BlockingClient, period: int, min_revisions: int) -> None:
        self._client = client
        self._period = period
        self._min_revisions = min_revisions

    def step(self) -> None:
        """Raises EtcdError, except for a compaction that someone else was faster with."""
        items, current = self._client.get_many([TRIGGER, LAST])
        trigger, last_item = items.get(TRIGGER), items.get(LAST)
        if trigger is not None:
            state = self._lease_state(trigger)
            if state == "running":
                return
            if state == "odd":
                self._note(0)
                return
        last = _number(last_item)
        if last is None or last_item is None or last > current:
            self._note(0)
            return
        to = target(current, last, last_item.mod_revision, self._min_revisions)
        if to is None:
            self._note(last)
            return
        try:
            self._client.compact(to)
        except PermissionDenied:
            LOG.error("etcd does not allow compaction: give the user the root role, or compact etcd by other means")
            self._note(last)
            return
        except Compacted:
            self._note(current)
            return
        LOG.info("Compacted etcd to revision %d of %d", to, current)
        self._note(to)

    def _lease_state(self, trigger: KeyValue) -> str:
        if not trigger.lease:
            return "odd"
        try:
            left, _ = self._client.lease_ttl(trigger.lease)
        except LeaseGone:
            return "over"
        if left <= 0:
            return "over"
        return "running" if left <= self._period else "odd"

    def _note(self, last: int) -> None:
        lease = self._client.grant(self._period)
        try:
            self._client.txn([], [Put(TRIGGER, str(os.getpid()).encode(), lease), Put(LAST, str(last).encode())])
        except EtcdError:
            self._client.revoke(lease)
            raise


def _number(item: KeyValue | None) -> int | None:
    try:
        return int(item.value) if item is not None else None
    except ValueError:
        return None
