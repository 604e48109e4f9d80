"""What a client can be asked, as steps over a session. Both skins offer exactly these; here they are described.

Keys and prefixes are text, values bytes, time-outs seconds for the whole call (None = the settings'). All raise
`EtcdError` types; see `errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from calico_openstack.etcd import messages, wire
from calico_openstack.etcd.errors import Compacted, LeaseGone
from calico_openstack.etcd.session import Session
from calico_openstack.etcd.steps import Deliver, Outcome, Steps
from calico_openstack.etcd.values import (
    MAX_OPERATIONS,
    Compare,
    Found,
    KeyValue,
    Operation,
    Snapshot,
    TxnResult,
)

PAGE = 5000
"""Keys per page. Each limited range counts all keys after it, so small pages cost quadratically (250: 9 times)."""

_SNAPSHOT_ATTEMPTS = 5


def get(session: Session, key: str, timeout: float | None) -> Steps[KeyValue | None]:
    """One key, linearizable; None if it is absent."""
    answer = yield from session.call(wire.RANGE, messages.get_request(key), key, timeout)
    return messages.key_value(answer.kvs[0]) if answer.kvs else None


def get_many(session: Session, keys: Iterable[str], timeout: float | None) -> Steps[Found]:
    """Several keys at one revision. Above 128 keys: more transactions, pinned to the revision of the first."""
    wanted = list(dict.fromkeys(keys))
    found: dict[str, KeyValue] = {}
    revision = 0
    for part in _parts(wanted):
        request = wire.new(
            "TxnRequest", success=[{"request_range": messages.get_request(key, revision)} for key in part]
        )
        result = messages.txn_result((yield from session.call(wire.TXN, request, part[0] if part else "", timeout)))
        revision = revision or result.revision
        found.update(result.found)
    return Found(found, revision)


def snapshot(session: Session, prefixes: Sequence[str], revision: int, timeout: float | None) -> Steps[Snapshot]:
    """Everything under the prefixes at one revision (0 = now), in pages of 5,000; `timeout` is per page.

    If history is compacted while paging, starts anew at a newer revision, unless a revision was asked for: then
    raises `Compacted`.
    """
    attempts = 1 if revision else _SNAPSHOT_ATTEMPTS
    while True:
        items: list[KeyValue] = []
        steps = pages(session, prefixes, revision, timeout)
        try:
            at = yield from collect(steps, items.extend)
        except Compacted:
            attempts -= 1
            if not attempts:
                raise
        else:
            return Snapshot(items, at)


def pages(session: Session, prefixes: Sequence[str], revision: int, timeout: float | None) -> Steps[int]:
    """Deliver the snapshot page by page (`list[KeyValue]`); the result is its revision. Raises `Compacted`."""
    for prefix in prefixes:
        start, end = messages.raw(prefix) or b"\0", messages.prefix_end(prefix)
        while True:
            request = messages.page_request(start, end, revision, PAGE)
            answer = yield from session.call(wire.RANGE, request, prefix, timeout)
            revision = revision or answer.header.revision
            yield Deliver([messages.key_value(kv) for kv in answer.kvs])
            if not answer.more:
                break
            start = answer.kvs[-1].key + b"\0"
    return revision


def put(session: Session, key: str, value: bytes, lease: int, timeout: float | None) -> Steps[int]:
    """Store a value; the new store revision. Repeated on `Unavailable`, so meant for keys with one writer."""
    answer = yield from session.call(wire.PUT, messages.put_request(key, value, lease), key, timeout)
    return int(answer.header.revision)


def delete(session: Session, key: str, timeout: float | None) -> Steps[bool]:
    """Remove a key; whether it was there (False also if an earlier, seemingly failed attempt removed it)."""
    answer = yield from session.call(wire.DELETE_RANGE, messages.delete_request(key), key, timeout)
    return bool(answer.deleted)


def delete_prefix(session: Session, prefix: str, timeout: float | None) -> Steps[int]:
    """Remove everything under a prefix; how many keys that were."""
    answer = yield from session.call(wire.DELETE_RANGE, messages.delete_prefix_request(prefix), prefix, timeout)
    return int(answer.deleted)


def txn(
    session: Session,
    compares: Sequence[Compare],
    operations: Sequence[Operation],
    otherwise: Sequence[Operation],
    timeout: float | None,
) -> Steps[TxnResult]:
    """All compares hold: do `operations`, else `otherwise`; atomic. At most 128 each, or raises `Rejected`.

    Repeated on `Unavailable`: then `succeeded=False` may mean that the first attempt had succeeded. Read again.
    """
    request = messages.txn_request(compares, operations, otherwise)
    members = (*compares, *operations)
    first = members[0] if members else None
    about = str(getattr(first, "key", getattr(first, "prefix", "")))
    return messages.txn_result((yield from session.call(wire.TXN, request, about, timeout)))


def grant(session: Session, ttl: int, timeout: float | None) -> Steps[int]:
    """A new lease of `ttl` seconds; its id. Repeated on `Unavailable`: a lost one expires by itself."""
    answer = yield from session.call(
        wire.LEASE_GRANT, wire.new("LeaseGrantRequest", TTL=ttl), f"lease of {ttl} s", timeout
    )
    return int(answer.ID)


def keep_alive(session: Session, lease: int, timeout: float | None) -> Steps[int]:
    """Renew a lease once; the seconds it now lives. Raises `LeaseGone`."""
    about = f"lease {lease:x}"
    answer = yield from session.call(wire.LEASE_KEEP_ALIVE, wire.new("LeaseKeepAliveRequest", ID=lease), about, timeout)
    if answer.TTL <= 0:
        raise LeaseGone("the lease is gone", about=about)
    return int(answer.TTL)


def lease_ttl(session: Session, lease: int, timeout: float | None) -> Steps[tuple[int, int]]:
    """Seconds the lease still lives, and the seconds it was granted for. Raises `LeaseGone`."""
    about = f"lease {lease:x}"
    answer = yield from session.call(
        wire.LEASE_TIME_TO_LIVE, wire.new("LeaseTimeToLiveRequest", ID=lease), about, timeout
    )
    if answer.TTL < 0:
        raise LeaseGone("the lease is gone", about=about)
    return int(answer.TTL), int(answer.grantedTTL)


def revoke(session: Session, lease: int, timeout: float | None) -> Steps[None]:
    """End a lease; its keys go with it. A lease that is gone already is no error."""
    try:
        yield from session.call(
            wire.LEASE_REVOKE, wire.new("LeaseRevokeRequest", ID=lease), f"lease {lease:x}", timeout
        )
    except LeaseGone:
        pass


def compact(session: Session, revision: int, timeout: float | None) -> Steps[None]:
    """Forget the history before `revision`. Raises `Compacted` if somebody was faster."""
    request = wire.new("CompactionRequest", revision=revision)
    yield from session.call(wire.COMPACT, request, f"compaction at {revision}", timeout)


def collect(steps: Steps[int], take: Callable[[list[KeyValue]], None]) -> Steps[int]:
    """Run `pages`, giving each page to `take` instead of passing it on."""
    outcome: Outcome | None = None
    while True:
        try:
            effect = next(steps) if outcome is None else steps.send(outcome)
        except StopIteration as end:
            return int(end.value)
        if isinstance(effect, Deliver):
            take(effect.item)
            outcome = None
        else:
            outcome = yield effect


def _parts(keys: list[str]) -> Iterator[list[str]]:
    for begin in range(0, max(len(keys), 1), MAX_OPERATIONS):
        yield keys[begin : begin + MAX_OPERATIONS]
