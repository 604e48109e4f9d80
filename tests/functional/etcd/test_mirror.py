"""What a mirror promises, of the fake and of the real server, in a task and in a thread (law: twin)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from calico_openstack.etcd import mirror as mirror_module
from calico_openstack.etcd.mirror import AsyncMirror, Batch, BlockingMirror
from calico_openstack.etcd.values import Delete, Event, Put


class Following:
    """A mirror of either kind, with `next` to take a batch."""

    def __init__(self, client: Any, prefixes: Any) -> None:
        if hasattr(client, "async_client"):
            self._loop = client._loop
            self.mirror: Any = self._loop.run(self._made(client, prefixes))
            self._batches: Any = self.mirror.batches()
            self._next = lambda: self._loop.run(anext(self._batches))
        else:
            self._loop = None
            self.mirror = BlockingMirror(client, prefixes)
            self._batches = iter(self.mirror)
            self._next = lambda: next(self._batches)

    @staticmethod
    async def _made(client: Any, prefixes: Any) -> AsyncMirror:
        return AsyncMirror(client.async_client, prefixes)

    def next(self) -> Batch:
        return self._next()

    def until(self, revision: int) -> list[Event]:
        """All events up to a revision, over as many batches as it takes."""
        events: list[Event] = []
        while not events or events[-1].mod_revision < revision:
            events += self.next().events
        return events

    def close(self) -> None:
        if self._loop is None:
            self.mirror.close()
            self._batches.close()
        else:
            self._loop.run(self._batches.aclose())


@pytest.fixture
def follow(client: Any) -> Iterator[Any]:
    open_now: list[Following] = []

    def start(*prefixes: str) -> Following:
        open_now.append(Following(client, prefixes))
        return open_now[-1]

    yield start
    for following in open_now:
        following.close()


def test_the_first_batch_is_everything_at_one_revision(client: Any, root: str, follow: Any) -> None:
    first = client.put(root + "a/1", b"x")
    second = client.put(root + "b/1", b"y")
    client.put(root + "c/1", b"not followed")

    batch = follow(root + "a/", root + "b/").next()

    assert batch.events == [Event(root + "a/1", b"x", first), Event(root + "b/1", b"y", second)]
    assert (batch.in_sync, batch.listed) == (True, True)
    assert batch.revision == second + 1


def test_the_first_batch_comes_also_when_there_is_nothing(root: str, follow: Any) -> None:
    batch = follow(root).next()

    assert batch.events == []
    assert batch.in_sync


def test_changes_and_deletions_follow(client: Any, root: str, follow: Any) -> None:
    client.put(root + "a", b"1")
    following = follow(root)
    following.next()

    changed = client.put(root + "a", b"2")
    assert following.next().events == [Event(root + "a", b"2", changed)]
    client.delete(root + "a")
    assert following.next() == Batch([Event(root + "a", None, changed + 1)], changed + 1, in_sync=True, listed=False)


def test_a_busy_consumer_gets_the_latest_value_once_in_order_of_revision(client: Any, root: str, follow: Any) -> None:
    following = follow(root)
    following.next()
    for number in range(50):
        client.put(root + "often", b"%d" % number)
        client.put(f"{root}once/{number}", b"x")
    last = client.put(root + "end/", b"x")

    events = following.until(last)

    by_key = [event.key for event in events if event.key == root + "often"]
    # The first may have been fetched alone; what came while it was handled is one batch.
    assert len(by_key) < 50
    assert [event.mod_revision for event in events] == sorted(event.mod_revision for event in events)
    assert {event.key: event.value for event in events}[root + "often"] == b"49"


@pytest.mark.conformance("D3")
def test_after_lost_history_only_the_differences_come(
    client: Any, root: str, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = follow(root)
    kept = client.put(root + "kept", b"x")
    client.put(root + "changed", b"1")
    client.put(root + "vanished", b"x")
    following.until(kept + 2)
    following.close()
    client.txn([], [Put(root + "changed", b"2"), Delete(root + "vanished"), Put(root + "new", b"x")])
    # The second mirror takes over what the first one knew, as after a compaction during a long loss of connection.
    again = Following(client, (root,))
    again.mirror._state.revisions = dict(following.mirror._state.revisions)

    batch = again.next()
    again.close()

    assert {event.key: event.value for event in batch.events} == {
        root + "changed": b"2",
        root + "vanished": None,
        root + "new": b"x",
    }
    assert batch.listed


def test_a_slow_consumer_loses_nothing_when_more_waits_than_may(
    client: Any, root: str, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "WAITING_LIMIT", 100)
    following = follow(root)
    following.next()
    for begin in range(0, 3000, 100):
        last = client.txn([], [Put(f"{root}{number:05}", b"x") for number in range(begin, begin + 100)]).revision

    events = following.until(last)
    while len(events) < 3000:
        events += following.next().events

    assert sorted(event.key for event in events) == [f"{root}{number:05}" for number in range(3000)]


def test_health_says_that_the_store_is_followed(client: Any, root: str, follow: Any) -> None:
    following = follow(root)
    assert not following.mirror.healthy
    following.next()
    following.until(client.put(root + "a", b"x"))

    assert following.mirror.healthy
    assert following.mirror.health.reason == ""


def test_a_blocking_mirror_ends_when_another_thread_closes_it(settings_and_clients: Any, root: str) -> None:
    client = settings_and_clients[0]()
    mirror = BlockingMirror(client, root)
    batches: list[Batch] = []
    inside = threading.Event()

    def consume() -> None:
        for batch in mirror:
            batches.append(batch)
            inside.set()

    thread = threading.Thread(target=consume)
    thread.start()
    assert inside.wait(10)
    mirror.close()
    thread.join(10)
    client.close()

    assert not thread.is_alive()
    assert len(batches) == 1
