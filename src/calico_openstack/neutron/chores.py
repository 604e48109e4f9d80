"""What one process in the region does for all: the elected leader.

    election ──leads──► shared documents, complete check     (start)
                        status: Felix and the other agents   (follows etcd)
                        check of etcd against the database   (every check_interval_secs)
                        port status against reports          (every minute)
                        compaction                           (every minute asked, seldom done)

Each chore is fenced off from the others: one that fails is logged and tried again at its next turn. A process that
loses the election stops all of it; nothing is lost, because whoever leads next starts from etcd and the database.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from oslo_config import cfg
from oslo_log import log

from calico_openstack.etcd.election import Election
from calico_openstack.model.keys import ElectionKey
from calico_openstack.neutron import options
from calico_openstack.neutron.check import Check, ensure_shared_documents
from calico_openstack.neutron.compaction import Compaction
from calico_openstack.neutron.process import Parts
from calico_openstack.neutron.reports import Reports

LOG = log.getLogger(__name__)

MINUTE: Final = 60.0
RETRY: Final = 10.0


class Chores:
    """`start` campaigns and works while it leads; `stop` resigns and ends within seconds."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._group = cfg.CONF[options.GROUP]
        self._stopped = threading.Event()
        site = parts.synchroniser.site
        self._election = Election(parts.client, ElectionKey(site.region).path, self._group.elector_name)
        self._thread = threading.Thread(target=self._run, name="calico-chores", daemon=True)

    @property
    def leads(self) -> bool:
        return self._election.leads

    def start(self) -> None:
        self._election.start()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._election.stop()

    def _run(self) -> None:
        while not self._stopped.is_set():
            if self._election.wait(1.0):
                try:
                    self._lead()
                except Exception:
                    LOG.exception("The leader's chores failed; starting them again")
                    self._stopped.wait(RETRY)

    def _lead(self) -> None:
        LOG.info("This process leads: it follows port and agent status, checks etcd and compacts it")
        reports = Reports(self._parts)
        follower = threading.Thread(target=reports.run, name="calico-reports", daemon=True)
        follower.start()
        turns = self._turns(reports)
        try:
            while not self._stopped.is_set() and self._election.leads:
                for turn in turns:
                    if not self._stopped.is_set() and self._election.leads:
                        turn()
                self._stopped.wait(1.0)
        finally:
            reports.stop()
            follower.join(timeout=10)

    def _turns(self, reports: Reports) -> list[Callable[[], None]]:
        group, check = self._group, Check(self._parts)
        compaction = Compaction(
            self._parts.client, group.etcd_compaction_period_mins * 60, group.etcd_compaction_min_revisions
        )
        return [
            _Turn("shared documents", lambda: ensure_shared_documents(self._parts.client), group.check_interval_secs),
            _Turn(
                "check of etcd against the database",
                check.run,
                group.check_interval_secs,
                first=0.0 if group.startup_resync == "always" else None,
            ),
            _Turn("port status", reports.compare_all, MINUTE, first=MINUTE / 2),
            _Turn("compaction", compaction.step, MINUTE if group.etcd_compaction_period_mins else 0, first=MINUTE),
        ]


class _Turn:
    """A chore with its own clock. `every` seconds, 0 = only at the start; `first` seconds until then, None =
    `every`.
    """

    def __init__(self, name: str, work: Callable[[], None], every: float, first: float | None = 0.0) -> None:
        self._name = name
        self._work = work
        self._every = every
        start = every if first is None else first
        never = (first is None or first > 0) and not every
        self._due = float("inf") if never else time.monotonic() + start

    def __call__(self) -> None:
        if time.monotonic() < self._due:
            return
        try:
            self._work()
        except Exception as error:
            LOG.warning("Chore failed, trying again in %.0f s: %s: %s", RETRY, self._name, error, exc_info=True)
            self._due = time.monotonic() + RETRY
            return
        self._due = time.monotonic() + self._every if self._every else float("inf")
