"""One leader among many processes, by a key under a lease. For threads; `Election.start` runs it in one of its own.

What makes it safe:
- A leader counts itself as such only until `valid_until`, two thirds of the lease after the renewal was *sent*,
  on its own monotonic clock. So it stands down by itself, without hearing anything, well before etcd lets
  another in.
- Whatever it writes can carry `Leadership.fence`, the creation revision of its key: a write that was under way
  when the leadership ended then fails at the store.

Key and value are upstream's (`<name>:<pid>`, created only if absent), so that our electors and upstream's
respect each other while controllers are switched over. A candidate asks every few seconds; a key left by a
process of this host that no longer runs is removed at once instead of after the lease.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.errors import EtcdError, LeaseGone
from calico_openstack.etcd.values import CreatedAt, Delete, Get, KeyValue, Put, Unchanged

log = logging.getLogger(__name__)

TTL = 60
REFRESH = 10.0
ASK = 3.0


@dataclass(frozen=True, slots=True)
class Leadership:
    """A term as leader. `valid_until` in monotonic seconds; `fence` is a compare for whatever the leader writes."""

    key: str
    create_revision: int
    lease: int
    valid_until: float

    @property
    def fence(self) -> CreatedAt:
        return CreatedAt(self.key, self.create_revision)


class Election:
    """One candidate. `ttl`: the lease in seconds; `name`: usually the host. `on_change` gets True or False."""

    def __init__(
        self,
        client: BlockingClient,
        key: str,
        name: str,
        *,
        ttl: int = TTL,
        refresh: float = REFRESH,
        ask: float = ASK,
        on_change: Callable[[bool], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        runs: Callable[[int], bool] | None = None,
    ) -> None:
        self._client = client
        self._key = key
        self._name = name
        self._ttl = ttl
        self._refresh = refresh
        self._ask = ask
        self._on_change = on_change
        self._clock = clock
        self._runs = runs or _runs
        self._term: Leadership | None = None
        self._told = False
        self._stopped = threading.Event()
        self._led = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def leadership(self) -> Leadership | None:
        """The present term, or None; correct at any time, also when the election's thread hangs in a call."""
        term = self._term
        return term if term is not None and self._clock() < term.valid_until else None

    @property
    def leads(self) -> bool:
        return self.leadership is not None

    def wait(self, timeout: float) -> bool:
        """Wait until this candidate leads, at most `timeout` seconds; whether it does."""
        if not self.leads:
            # The term may have run out while the election's thread still hangs in a call.
            self._led.clear()
        self._led.wait(timeout)
        return self.leads

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="etcd-election", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Resign: another candidate may lead at once."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=self._refresh)
        self._resign()

    def step(self) -> float:
        """Campaign or renew once; the seconds until the next step. Raises nothing that etcd does."""
        try:
            if self._term is None:
                self._campaign()
            else:
                self._renew(self._term)
        except LeaseGone:
            self._term = None
        except EtcdError as error:
            log.warning("election %s: %s", self._key, error)
            if not self.leads:
                self._term = None
        self._tell()
        return self._refresh if self.leads else self._ask

    def _campaign(self) -> None:
        held = self._client.get(self._key)
        if held is not None and not self._abandoned(held):
            return
        sent = self._clock()
        lease = self._client.grant(self._ttl)
        value = f"{self._name}:{os.getpid()}".encode()
        compare = Unchanged(self._key, 0)
        operations: list[Delete | Put] = [Put(self._key, value, lease)]
        if held is not None:
            # etcd allows a key once per transaction, so the key of a dead process goes first, on its own.
            self._client.txn([Unchanged(self._key, held.mod_revision)], [Delete(self._key)])
        result = self._client.txn([compare], operations, otherwise=[Get(self._key)])
        created = result.revision
        if not result.succeeded:
            # Ours all the same if an earlier attempt of this very transaction got through unheard.
            other = result.found.get(self._key)
            if other is None or other.lease != lease:
                self._client.revoke(lease)
                return
            created = other.create_revision
        self._term = Leadership(self._key, created, lease, sent + self._ttl * 2 / 3)

    def _renew(self, term: Leadership) -> None:
        sent = self._clock()
        # At most half the time that is left: a call that hangs must leave room for another try.
        limit = min(self._client.settings.timeout, max(0.5, (term.valid_until - sent) / 2))
        self._client.keep_alive(term.lease, timeout=limit)
        if not self._client.txn([term.fence], [], timeout=limit).succeeded:
            log.warning("election %s: the key is no longer ours", self._key)
            self._term = None
            self._client.revoke(term.lease)
            return
        self._term = Leadership(term.key, term.create_revision, term.lease, sent + self._ttl * 2 / 3)

    def _abandoned(self, held: KeyValue) -> bool:
        """Whether the key names a process of this host that has ended. It may be one without a lease, too."""
        name, _, pid = held.value.decode(errors="replace").rpartition(":")
        return name == self._name and pid.isdecimal() and int(pid) != os.getpid() and not self._runs(int(pid))

    def _resign(self) -> None:
        term, self._term = self._term, None
        self._tell()
        if term is not None:
            try:
                self._client.revoke(term.lease, timeout=2)
            except EtcdError as error:
                log.info("election %s: could not resign, the lease will expire: %s", self._key, error)

    def _tell(self) -> None:
        leads = self.leads
        if leads:
            self._led.set()
        else:
            self._led.clear()
        if leads != self._told:
            self._told = leads
            log.info("election %s: %s", self._key, "leading" if leads else "not leading")
            if self._on_change is not None:
                self._on_change(leads)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                pause = self.step()
            except Exception:
                # The thread must not die: without it this process would never lead again.
                log.exception("election %s", self._key)
                pause = self._ask
            self._stopped.wait(pause)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # no pid is as large as that
        return False
    except OSError:
        return True
    return True
