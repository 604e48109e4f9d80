"""The bookkeeping of a watch: where it goes on, what is complete, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from calico_openstack.etcd import wire
from calico_openstack.etcd.errors import Compacted, PermissionDenied, Unavailable
from calico_openstack.etcd.feed import Feed
from calico_openstack.etcd.values import Event, WatchBatch


def message(watch_id: int = 1, store: int = 10, **fields: Any) -> Any:
    return wire.new("WatchResponse", header={"revision": store}, watch_id=watch_id, **fields)


def change(key: str, revision: int, value: bytes | None = b"x") -> dict[str, Any]:
    return {"type": int(value is None), "kv": {"key": key.encode(), "value": value or b"", "mod_revision": revision}}


def confirmed(start: int = 5) -> Feed:
    feed = Feed(["/a/", "/b/"], start)
    feed.creates()
    for watch_id in (1, 2):
        feed.received(message(watch_id, created=True), "e")
    return feed


def test_each_prefix_is_asked_for_from_its_own_revision_in_fragments_and_with_progress() -> None:
    creates = [request.create_request for request in Feed(["/a/", "/b/"], {"/a/": 3, "/b/": 9}).creates()]

    assert [(c.watch_id, c.key, c.range_end, c.start_revision) for c in creates] == [
        (1, b"/a/", b"/a0", 3),
        (2, b"/b/", b"/b0", 9),
    ]
    assert all(create.fragment and create.progress_notify for create in creates)


def test_it_goes_on_after_the_last_event_although_the_store_is_further() -> None:
    feed = confirmed(5)

    batch = feed.received(message(1, store=900, events=[change("/a/1", 5), change("/a/2", 7, None)]), "e")

    assert batch == WatchBatch("/a/", [Event("/a/1", b"x", 5), Event("/a/2", None, 7)], 7)
    assert feed.next == {"/a/": 8, "/b/": 5}


def test_a_progress_notification_moves_it_on_to_the_store() -> None:
    feed = confirmed(5)

    assert feed.received(message(2, store=40), "e") == WatchBatch("/b/", [], 40)
    assert feed.next == {"/a/": 5, "/b/": 41}


def test_fragments_are_delivered_together_and_only_then_counted() -> None:
    feed = confirmed(5)

    assert feed.received(message(1, fragment=True, events=[change("/a/1", 5)]), "e") is None
    assert feed.received(message(2, events=[change("/b/1", 6)]), "e") == WatchBatch("/b/", [Event("/b/1", b"x", 6)], 6)
    assert feed.next["/a/"] == 5
    assert feed.received(message(1, fragment=True, events=[change("/a/2", 5)]), "e") is None
    batch = feed.received(message(1, events=[change("/a/3", 6)]), "e")

    assert batch is not None
    assert [event.key for event in batch.events] == ["/a/1", "/a/2", "/a/3"]
    assert feed.next["/a/"] == 7


def test_a_half_received_answer_is_forgotten_on_a_new_stream() -> None:
    feed = confirmed(5)
    feed.received(message(1, fragment=True, events=[change("/a/1", 5)]), "e")

    assert feed.creates()[0].create_request.start_revision == 5
    assert not feed.confirmed
    feed.received(message(1, created=True), "e")
    batch = feed.received(message(1, events=[change("/a/1", 5)]), "e")

    assert batch is not None
    assert len(batch.events) == 1


def test_from_now_on_means_the_same_now_after_a_loss() -> None:
    feed = Feed(["/a/"], 0)
    feed.creates()
    feed.received(message(1, store=30, created=True), "e")

    assert feed.creates()[0].create_request.start_revision == 31


def test_compacted_history_is_told_with_the_oldest_revision() -> None:
    with pytest.raises(Compacted) as caught:
        confirmed(5).received(message(1, canceled=True, compact_revision=8), "e")

    assert (caught.value.revision, caught.value.rewound) == (8, False)


def test_a_store_that_is_behind_what_was_seen_is_told_as_rewound() -> None:
    feed = Feed(["/a/"], 12)
    feed.creates()

    with pytest.raises(Compacted, match="revision 10, revision 11 was already seen") as caught:
        feed.received(message(1, store=10, created=True), "e")

    assert caught.value.rewound


def test_a_store_that_is_exactly_where_we_were_is_fine() -> None:
    feed = Feed(["/a/"], 11)
    feed.creates()
    feed.received(message(1, store=10, created=True), "e")

    assert feed.confirmed


@pytest.mark.parametrize(
    ("reason", "error"),
    [("etcdserver: permission denied", PermissionDenied), ("", Unavailable), ("etcdserver: no leader", Unavailable)],
)
def test_a_refused_watch_says_why_even_if_it_counts_as_created(reason: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="/b/"):
        confirmed().received(message(2, created=True, canceled=True, cancel_reason=reason), "e")


def test_a_message_for_no_watch_of_ours_is_ignored() -> None:
    assert confirmed().received(message(-1, store=40), "e") is None
