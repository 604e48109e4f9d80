"""What a client promises, of the fake and of the real server, through both clients (law: twin)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from calico_openstack.etcd import calls
from calico_openstack.etcd.errors import Compacted, LeaseGone, Rejected
from calico_openstack.etcd.values import CreatedAt, Delete, DeletePrefix, Event, Get, Put, Unchanged


def take(watch: Any, count: int) -> list[Event]:
    """The next `count` events."""
    events: list[Event] = []
    for batch in watch:
        events += batch.events
        if len(events) >= count:
            break
    return events


def test_an_absent_key_is_none(client: Any, root: str) -> None:
    assert client.get(root + "nothing") is None


def test_what_was_put_is_read_back_with_its_revisions(client: Any, root: str) -> None:
    first = client.put(root + "a", b"1")
    second = client.put(root + "a", b"\x00\xff")

    kv = client.get(root + "a")

    assert (kv.key, kv.value) == (root + "a", b"\x00\xff")
    assert (kv.create_revision, kv.mod_revision, kv.version, kv.lease) == (first, second, 2, 0)


def test_delete_says_whether_the_key_was_there(client: Any, root: str) -> None:
    client.put(root + "a", b"1")

    assert client.delete(root + "a") is True
    assert client.delete(root + "a") is False
    assert client.get(root + "a") is None


def test_a_deleted_prefix_is_gone_and_its_neighbours_stay(client: Any, root: str) -> None:
    for name in ("p/1", "p/2", "p", "q"):
        client.put(root + name, b"x")

    assert client.delete_prefix(root + "p/") == 2
    assert [kv.key for kv in client.snapshot(root).items] == [root + "p", root + "q"]


def test_many_keys_are_read_at_one_revision_also_above_one_transaction(client: Any, root: str) -> None:
    client.txn([], [Put(f"{root}{number:03}", b"x") for number in range(100)])
    last = client.txn([], [Put(f"{root}{number:03}", b"x") for number in range(100, 200)])

    items, revision = client.get_many([f"{root}{number:03}" for number in range(210)])

    assert sorted(items) == [f"{root}{number:03}" for number in range(200)]
    assert revision == last.revision


def test_no_keys_are_read_without_harm(client: Any) -> None:
    items, revision = client.get_many([])

    assert items == {}
    assert revision > 0


def test_a_transaction_whose_compares_hold_does_all_operations_at_one_revision(client: Any, root: str) -> None:
    client.put(root + "gone/1", b"x")
    old = client.put(root + "b", b"1")

    result = client.txn(
        [Unchanged(root + "a", 0), Unchanged(root + "b", old)],
        [Put(root + "a", b"2"), Delete(root + "b"), DeletePrefix(root + "gone/"), Get(root + "a")],
    )

    assert result.succeeded
    assert result.found[root + "a"].value == b"2"
    assert {kv.key: kv.mod_revision for kv in client.snapshot(root).items} == {root + "a": result.revision}


@pytest.mark.parametrize("stale", ["changed", "deleted", "created"])
def test_a_transaction_with_a_compare_that_fails_does_nothing_but_the_other_branch(
    client: Any, root: str, stale: str
) -> None:
    seen = client.put(root + "a", b"1") if stale != "created" else 0
    client.delete(root + "a") if stale == "deleted" else client.put(root + "a", b"2")

    result = client.txn([Unchanged(root + "a", seen)], [Put(root + "a", b"3")], otherwise=[Get(root + "a")])

    assert not result.succeeded
    kv = client.get(root + "a")
    assert kv is None if stale == "deleted" else kv.value == b"2"
    assert result.found.get(root + "a") == kv


def test_a_fence_holds_while_the_key_changes_but_not_when_it_is_made_anew(client: Any, root: str) -> None:
    created = client.put(root + "fence", b"1")
    client.put(root + "fence", b"2")
    before = client.txn([CreatedAt(root + "fence", created)], [Put(root + "a", b"x")])
    client.delete(root + "fence")
    client.put(root + "fence", b"1")

    after = client.txn([CreatedAt(root + "fence", created)], [Put(root + "a", b"y")])

    assert (before.succeeded, after.succeeded) == (True, False)


def test_a_transaction_of_129_operations_is_refused_before_it_is_sent(client: Any, root: str) -> None:
    with pytest.raises(Rejected, match=f"{root}0: 129 operations in one transaction, etcd takes 128"):
        client.txn([], [Put(f"{root}{number}", b"x") for number in range(129)])


def test_a_key_twice_in_one_transaction_is_rejected(client: Any, root: str) -> None:
    with pytest.raises(Rejected, match="duplicate key"):
        client.txn([], [Put(root + "a", b"1"), Put(root + "a", b"2")])


def test_a_value_that_is_too_large_is_rejected_by_name(client: Any, root: str) -> None:
    with pytest.raises(Rejected, match=f"{root}big.*too large"):
        client.put(root + "big", b"x" * 1_600_000)


def test_an_empty_prefix_has_an_empty_snapshot_with_a_revision(client: Any, root: str) -> None:
    snapshot = client.snapshot(root)

    assert snapshot.items == []
    assert snapshot.revision > 0


def test_a_snapshot_in_several_pages_is_complete_sorted_and_of_one_revision(
    client: Any, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PAGE", 7)
    for begin in range(0, 300, 100):
        last = client.txn([], [Put(f"{root}{number:04}", b"%d" % number) for number in range(begin, begin + 100)])
    other = client.put(root[:-1] + "z", b"not under the prefix")

    snapshot = client.snapshot([root + "0", root + "00", root[:-1] + "z"])

    assert [kv.value for kv in snapshot.items] == [b"%d" % n for n in range(300)] + [b"%d" % n for n in range(100)] + [
        b"not under the prefix"
    ]
    assert snapshot.revision == other
    assert other == last.revision + 1


def test_a_snapshot_of_an_old_revision_shows_what_was_then(client: Any, root: str) -> None:
    then = client.put(root + "a", b"old")
    client.put(root + "a", b"new")
    client.put(root + "b", b"new")

    snapshot = client.snapshot(root, revision=then)

    assert [(kv.key, kv.value) for kv in snapshot.items] == [(root + "a", b"old")]


def test_a_snapshot_of_a_compacted_revision_says_so(client: Any, root: str) -> None:
    then = client.put(root + "a", b"old")
    client.compact(client.put(root + "a", b"new"))

    with pytest.raises(Compacted, match=root):
        client.snapshot(root, revision=then)


def test_history_is_compacted_once(client: Any, root: str) -> None:
    revision = client.put(root + "a", b"x")
    client.compact(revision)

    with pytest.raises(Compacted):
        client.compact(revision)


def test_a_watch_from_a_revision_tells_everything_since_in_order(client: Any, root: str) -> None:
    first = client.put(root + "a", b"1")
    client.put(root + "b", b"2")
    client.put(root + "a", b"3")
    last = client.delete(root + "a") and first + 3
    watch = client.watch(root, first)

    events = take(watch, 4)
    watch.close()

    assert events == [
        Event(root + "a", b"1", first),
        Event(root + "b", b"2", first + 1),
        Event(root + "a", b"3", first + 2),
        Event(root + "a", None, last),
    ]


def test_a_watch_of_several_prefixes_can_begin_at_a_revision_of_each(client: Any, root: str) -> None:
    client.put(root + "a/1", b"seen")
    client.put(root + "b/1", b"seen")
    last = client.txn([], [Put(root + "a/2", b"new"), Put(root + "b/2", b"new"), Put(root + "c/2", b"other")]).revision
    watch = client.watch([root + "a/", root + "b/"], {root + "a/": last, root + "b/": last})

    events = take(watch, 2)
    watch.close()

    assert sorted(events) == [Event(root + "a/2", b"new", last), Event(root + "b/2", b"new", last)]


def test_a_watch_from_a_compacted_revision_says_so_instead_of_hanging(client: Any, root: str) -> None:
    first = client.put(root + "a", b"1")
    client.compact(client.put(root + "a", b"2"))

    with pytest.raises(Compacted) as caught:
        take(client.watch(root, first), 1)

    assert caught.value.revision > first
    assert root in str(caught.value)


def test_thousands_of_large_events_arrive_complete_and_in_order(client: Any, root: str) -> None:
    # 2,000 values of 6 KB are 12 MB, several times gRPC's default limit for one message.
    start = client.put(root + "start", b"")
    for begin in range(0, 2000, 100):
        client.txn(
            [], [Put(f"{root}{number:04}", b"%d" % number + b"x" * 6000) for number in range(begin, begin + 100)]
        )
    watch = client.watch(root, start + 1)

    events = take(watch, 2000)
    watch.close()

    assert [event.key for event in events] == [f"{root}{number:04}" for number in range(2000)]


def test_a_key_dies_with_its_lease(client: Any, root: str) -> None:
    lease = client.grant(60)
    client.put(root + "a", b"x", lease=lease)
    held = client.get(root + "a")

    client.revoke(lease)

    assert held.lease == lease
    assert client.get(root + "a") is None


def test_a_lease_that_is_renewed_lives_and_says_how_long(client: Any) -> None:
    lease = client.grant(50)

    assert client.keep_alive(lease) == 50
    left, granted = client.lease_ttl(lease)
    assert granted == 50
    assert 45 <= left <= 50


def test_a_lease_that_is_gone_is_told_from_other_troubles(client: Any, root: str) -> None:
    lease = client.grant(60)
    client.revoke(lease)

    with pytest.raises(LeaseGone):
        client.keep_alive(lease)
    with pytest.raises(LeaseGone):
        client.lease_ttl(lease)
    with pytest.raises(LeaseGone, match=root):
        client.put(root + "a", b"x", lease=lease)
    with pytest.raises(LeaseGone, match=root):
        client.txn([], [Put(root + "b", b"x"), Put(root + "a", b"x", lease)])
    client.revoke(lease)
    assert client.snapshot(root).items == []


def test_a_lease_that_nobody_renews_takes_its_key_along_and_a_watch_tells(client: Any, root: str) -> None:
    # etcd lets no lease be shorter than its election time-out; 1 becomes 2 there.
    lease = client.grant(2)
    put = client.put(root + "a", b"x", lease=lease)
    watch = client.watch(root, put)
    began = time.monotonic()

    events = take(watch, 2)
    watch.close()

    assert [event.value for event in events] == [b"x", None]
    assert time.monotonic() - began > 1


def test_keys_that_are_no_utf8_survive(client: Any, root: str) -> None:
    name = root + b"\xff\xfe".decode(errors="surrogateescape")
    client.put(name, b"x")

    assert [kv.key for kv in client.snapshot(root).items] == [name]
    assert client.delete(name)
