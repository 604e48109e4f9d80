"""etcd's store in memory: keys with revisions and history, transactions, leases, users; no streams.

It answers the wire messages that the real server answers, with the same texts when it refuses; the suite in
`tests/functional/etcd` runs against both. Not thread-safe: `fake_etcd` holds the lock.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from calico_openstack.etcd import wire
from calico_openstack.etcd.steps import RpcFault
from calico_openstack.etcd.values import MAX_OPERATIONS
from calico_openstack.etcd.wire import Message

MAX_REQUEST = 1536 * 1024
"""etcd's default --max-request-bytes."""


@dataclass(slots=True)
class _Lease:
    ttl: int
    expires: float
    keys: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class _Key:
    """The life of one key: (revision, KeyValue or None for deleted), ascending."""

    versions: list[tuple[int, Message | None]] = field(default_factory=list)

    def at(self, revision: int) -> Message | None:
        for changed, value in reversed(self.versions):
            if changed <= revision:
                return value
        return None


class EtcdStore:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.revision = 1
        self.compacted = 0
        self._keys: dict[bytes, _Key] = {}
        self._sorted: list[bytes] = []
        # history[n] holds the events of revision `_first + n`
        self._first = 2
        self._history: list[list[Message]] = []
        self._leases: dict[int, _Lease] = {}
        self._lease_ids = itertools.count(0x1000)
        self._tokens: set[str] = set()
        self._token_ids = itertools.count(1)
        self.users: dict[str, str] = {}
        self.forbidden: tuple[bytes, ...] = ()
        self._methods: dict[str, Callable[[Message], Message]] = {
            wire.RANGE.path: self._range,
            wire.PUT.path: lambda request: self._write(self._put, request, "PutResponse"),
            wire.DELETE_RANGE.path: self._delete_range,
            wire.TXN.path: self._txn,
            wire.COMPACT.path: self._compact,
            wire.LEASE_GRANT.path: self._grant,
            wire.LEASE_REVOKE.path: self._revoke,
            wire.LEASE_KEEP_ALIVE.path: self._keep_alive,
            wire.LEASE_TIME_TO_LIVE.path: self._time_to_live,
            wire.AUTHENTICATE.path: self._authenticate,
        }

    def handle(self, path: str, request: Message, token: str) -> Message:
        """The answer to one unary call. Raises `RpcFault` as etcd would."""
        self.expire()
        if path != wire.AUTHENTICATE.path:
            self.check_token(token)
        return self._methods[path](request)

    def check_token(self, token: str) -> None:
        if not self.users:
            return
        if not token:
            raise RpcFault("INVALID_ARGUMENT", "etcdserver: user name is empty")
        if token not in self._tokens:
            raise RpcFault("UNAUTHENTICATED", "etcdserver: invalid auth token")

    def forget_tokens(self) -> None:
        self._tokens.clear()

    def events(self, revision: int, start: bytes, end: bytes) -> Iterator[Message]:
        """The events of one revision within a range of keys."""
        # Revision 1 is the empty store.
        for event in self._history[revision - self._first] if revision >= self._first else ():
            if start <= event.kv.key and (end == b"\0" or event.kv.key < end):
                yield event

    def expire(self) -> None:
        """Remove the keys of leases that ran out."""
        now = self._clock()
        for identity in [identity for identity, lease in self._leases.items() if lease.expires <= now]:
            self._end_lease(identity)

    @property
    def next_expiry(self) -> float | None:
        return min((lease.expires for lease in self._leases.values()), default=None)

    def header(self) -> Message:
        return wire.new("ResponseHeader", revision=self.revision)

    def _answer(self, name: str, **fields: Any) -> Message:
        return wire.new(name, header=self.header(), **fields)

    # Reading

    def _range(self, request: Message) -> Message:
        if not request.key:
            raise RpcFault("INVALID_ARGUMENT", "etcdserver: key is not provided")
        self._check_key(request.key)
        revision = request.revision or self.revision
        if revision > self.revision:
            raise RpcFault("OUT_OF_RANGE", "etcdserver: mvcc: required revision is a future revision")
        if revision < self.compacted:
            raise RpcFault("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted")
        found = [kv for key in self._within(request.key, request.range_end) if (kv := self._keys[key].at(revision))]
        kept = found[: request.limit] if request.limit else found
        return self._answer("RangeResponse", kvs=kept, more=len(kept) < len(found), count=len(found))

    def _within(self, start: bytes, end: bytes) -> list[bytes]:
        if not end:
            return [start] if start in self._keys else []
        low = bisect_left(self._sorted, start)
        high = len(self._sorted) if end == b"\0" else bisect_left(self._sorted, end)
        return self._sorted[low:high]

    # Writing: `events` collects what one revision changes

    def _write(self, change: Callable[[Message, list[Message]], None], request: Message, answer: str) -> Message:
        events: list[Message] = []
        change(request, events)
        self._commit(events)
        return self._answer(answer)

    def _commit(self, events: list[Message]) -> None:
        if events:
            self.revision += 1
            self._history.append(events)

    def _put(self, request: Message, events: list[Message]) -> None:
        self._check_key(request.key)
        if len(request.value) > MAX_REQUEST:
            raise RpcFault("INVALID_ARGUMENT", "etcdserver: request is too large")
        lease = self._leases.get(request.lease)
        if request.lease and lease is None:
            raise RpcFault("NOT_FOUND", "etcdserver: requested lease not found")
        revision = self.revision + 1
        key = self._keys.get(request.key)
        if key is None:
            key = self._keys[request.key] = _Key()
            insort(self._sorted, request.key)
        old = key.at(revision)
        if old is not None and old.lease:
            self._leases[old.lease].keys.discard(request.key)
        if lease is not None:
            lease.keys.add(request.key)
        kv = wire.new(
            "KeyValue",
            key=request.key,
            value=request.value,
            lease=request.lease,
            mod_revision=revision,
            create_revision=old.create_revision if old is not None else revision,
            version=old.version + 1 if old is not None else 1,
        )
        key.versions.append((revision, kv))
        events.append(wire.new("Event", type=0, kv=kv))

    def _delete(self, request: Message, events: list[Message]) -> int:
        self._check_key(request.key)
        revision = self.revision + 1
        deleted = 0
        for name in self._within(request.key, request.range_end):
            old = self._keys[name].at(revision)
            if old is None:
                continue
            if old.lease in self._leases:
                self._leases[old.lease].keys.discard(name)
            self._keys[name].versions.append((revision, None))
            events.append(wire.new("Event", type=1, kv=wire.new("KeyValue", key=name, mod_revision=revision)))
            deleted += 1
        return deleted

    def _delete_range(self, request: Message) -> Message:
        events: list[Message] = []
        deleted = self._delete(request, events)
        self._commit(events)
        return self._answer("DeleteRangeResponse", deleted=deleted)

    def _txn(self, request: Message) -> Message:
        if max(len(request.compare), len(request.success), len(request.failure)) > MAX_OPERATIONS:
            raise RpcFault("INVALID_ARGUMENT", "etcdserver: too many operations in txn request")
        for branch in (request.success, request.failure):
            puts = [op.request_put.key for op in branch if op.WhichOneof("request") == "request_put"]
            if len(puts) != len(set(puts)):
                raise RpcFault("INVALID_ARGUMENT", "etcdserver: duplicate key given in txn request")
        succeeded = all(map(self._holds, request.compare))
        events: list[Message] = []
        responses: list[dict[str, Any]] = []
        branch = request.success if succeeded else request.failure
        # Checked before anything is done: a transaction is all or nothing.
        leases = [op.request_put.lease for op in branch if op.WhichOneof("request") == "request_put"]
        if any(lease and lease not in self._leases for lease in leases):
            raise RpcFault("NOT_FOUND", "etcdserver: requested lease not found")
        for operation in branch:
            match operation.WhichOneof("request"):
                case "request_put":
                    self._put(operation.request_put, events)
                    responses.append({"response_put": {}})
                case "request_delete_range":
                    deleted = self._delete(operation.request_delete_range, events)
                    responses.append({"response_delete_range": {"deleted": deleted}})
                case _:
                    responses.append({"response_range": self._range_in(operation.request_range, bool(events))})
        self._commit(events)
        return self._answer("TxnResponse", succeeded=succeeded, responses=responses)

    def _range_in(self, request: Message, written: bool) -> Message:
        """A range inside a transaction sees what was written before it in the same transaction."""
        if not written or request.revision:
            return self._range(request)
        self.revision += 1
        try:
            return self._range(request)
        finally:
            self.revision -= 1

    def _holds(self, compare: Message) -> bool:
        key = self._keys.get(compare.key)
        kv = key.at(self.revision) if key else None
        match compare.target:
            case 0:
                return bool((kv.version if kv else 0) == compare.version)
            case 1:
                return bool((kv.create_revision if kv else 0) == compare.create_revision)
            case _:
                return bool((kv.mod_revision if kv else 0) == compare.mod_revision)

    def _compact(self, request: Message) -> Message:
        if request.revision > self.revision:
            raise RpcFault("OUT_OF_RANGE", "etcdserver: mvcc: required revision is a future revision")
        if request.revision <= self.compacted:
            raise RpcFault("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted")
        self.compacted = request.revision
        return self._answer("CompactionResponse")

    # Leases and users

    def _grant(self, request: Message) -> Message:
        identity = next(self._lease_ids)
        self._leases[identity] = _Lease(request.TTL, self._clock() + request.TTL)
        return self._answer("LeaseGrantResponse", ID=identity, TTL=request.TTL)

    def _revoke(self, request: Message) -> Message:
        if request.ID not in self._leases:
            raise RpcFault("NOT_FOUND", "etcdserver: requested lease not found")
        self._end_lease(request.ID)
        return self._answer("LeaseRevokeResponse")

    def _end_lease(self, identity: int) -> None:
        lease = self._leases.pop(identity)
        events: list[Message] = []
        for key in sorted(lease.keys):
            self._delete(wire.new("DeleteRangeRequest", key=key), events)
        self._commit(events)

    def _keep_alive(self, request: Message) -> Message:
        lease = self._leases.get(request.ID)
        if lease is not None:
            lease.expires = self._clock() + lease.ttl
        return self._answer("LeaseKeepAliveResponse", ID=request.ID, TTL=lease.ttl if lease else 0)

    def _time_to_live(self, request: Message) -> Message:
        lease = self._leases.get(request.ID)
        if lease is None:
            return self._answer("LeaseTimeToLiveResponse", ID=request.ID, TTL=-1)
        left = int(lease.expires - self._clock())
        return self._answer("LeaseTimeToLiveResponse", ID=request.ID, TTL=left, grantedTTL=lease.ttl)

    def _authenticate(self, request: Message) -> Message:
        if not self.users:
            raise RpcFault("FAILED_PRECONDITION", "etcdserver: authentication is not enabled")
        if self.users.get(request.name) != request.password:
            raise RpcFault("INVALID_ARGUMENT", "etcdserver: authentication failed, invalid user ID or password")
        token = f"token.{next(self._token_ids)}"
        self._tokens.add(token)
        return self._answer("AuthenticateResponse", token=token)

    def _check_key(self, key: bytes) -> None:
        if self.forbidden and key.startswith(self.forbidden):
            raise RpcFault("PERMISSION_DENIED", "etcdserver: permission denied")
