"""What waits for the consumer of a mirror, and what is left out."""

from __future__ import annotations

import pytest

from calico_openstack.etcd.mirror_state import Batch, Listing, MirrorState, Rewound
from calico_openstack.etcd.values import Event, KeyValue, WatchBatch


def item(key: str, revision: int, value: bytes = b"x") -> KeyValue:
    return KeyValue(key, value, revision, 1, revision)


def listed(state: MirrorState, revision: int, *items: KeyValue) -> Batch | None:
    listing = Listing(revision)
    state.page(listing, items)
    state.apply(listing)
    return state.take_batch()


def watched(state: MirrorState, *events: Event) -> None:
    state.apply(WatchBatch("/", list(events), events[-1].mod_revision))


def test_nothing_is_handed_out_before_the_first_list_is_complete() -> None:
    state = MirrorState()
    state.page(Listing(), [item("/a", 3)])

    assert state.take_batch() is None


@pytest.mark.conformance("D3")
def test_a_second_list_hands_out_only_the_differences() -> None:
    state = MirrorState()
    listed(state, 9, item("/kept", 3), item("/changed", 4), item("/gone", 5))

    batch = listed(state, 20, item("/kept", 3), item("/changed", 12), item("/new", 15))

    assert batch is not None
    assert batch.events == [Event("/changed", b"x", 12), Event("/new", b"x", 15), Event("/gone", None, 20)]
    assert batch.listed


def test_the_latest_value_wins_and_takes_its_place_in_the_order() -> None:
    state = MirrorState()
    listed(state, 1)
    watched(state, Event("/a", b"1", 2), Event("/b", b"1", 3), Event("/a", b"2", 4))

    batch = state.take_batch()

    assert batch is not None
    assert batch.events == [Event("/b", b"1", 3), Event("/a", b"2", 4)]
    assert (batch.revision, batch.listed) == (4, False)
    assert state.take_batch() is None


def test_a_key_that_came_and_went_unseen_is_not_mentioned() -> None:
    state = MirrorState()
    listed(state, 1)
    watched(state, Event("/a", b"1", 2), Event("/b", b"1", 3), Event("/a", None, 4))

    batch = state.take_batch()

    assert batch is not None
    assert batch.events == [Event("/b", b"1", 3)]


def test_a_known_key_that_went_and_came_back_is_mentioned_once() -> None:
    state = MirrorState()
    listed(state, 2, item("/a", 2))
    watched(state, Event("/a", None, 3), Event("/a", b"again", 4))

    batch = state.take_batch()

    assert batch is not None
    assert batch.events == [Event("/a", b"again", 4)]


def test_a_known_key_that_went_came_and_went_is_deleted() -> None:
    state = MirrorState()
    listed(state, 2, item("/a", 2))
    watched(state, Event("/a", None, 3), Event("/a", b"again", 4), Event("/a", None, 5))

    batch = state.take_batch()

    assert batch is not None
    assert batch.events == [Event("/a", None, 5)]


def test_after_the_store_went_back_in_time_every_listed_key_counts_as_changed() -> None:
    state = MirrorState()
    listed(state, 9, item("/same", 3), item("/gone", 5))
    state.apply(Rewound())

    batch = listed(state, 6, item("/same", 3))

    assert batch is not None
    assert batch.events == [Event("/same", b"x", 3), Event("/gone", None, 6)]


def test_it_keeps_no_values_of_what_was_handed_out() -> None:
    state = MirrorState()
    listed(state, 9, item("/a", 3, b"large"))

    assert state.revisions == {"/a": 3}
    assert state.waiting == 0
