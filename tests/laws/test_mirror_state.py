"""Law *now* for the mirror: after any changes, losses, lists and hand-outs the consumer has what the store has."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from calico_openstack.etcd.mirror_state import Listing, MirrorState
from calico_openstack.etcd.values import Event, KeyValue, WatchBatch

EXAMPLES = int(os.environ.get("LAWS_EXAMPLES", "25"))
KEYS = st.sampled_from("abcd")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("put unseen"), KEYS),
        st.tuples(st.just("delete unseen"), KEYS),
        st.tuples(st.sampled_from(["list", "take"]), st.just("")),
    ),
    max_size=40,
)


@settings(max_examples=EXAMPLES * 4, deadline=None)
@given(STEPS)
def test_the_consumer_ends_with_the_store_and_hears_nothing_twice(steps: list[tuple[str, str]]) -> None:
    store: dict[str, int] = {}
    consumer: dict[str, int] = {}
    state = MirrorState()
    revision = 1
    following = False

    def take() -> None:
        batch = state.take_batch()
        if batch is None:
            return
        revisions = [event.mod_revision for event in batch.events]
        assert revisions == sorted(revisions)
        assert len({event.key for event in batch.events}) == len(batch.events)
        for event in batch.events:
            if event.value is None:
                assert event.key in consumer, "a deletion of something never told"
                del consumer[event.key]
            else:
                assert consumer.get(event.key) != event.mod_revision, "told twice"
                consumer[event.key] = event.mod_revision

    def read_all() -> None:
        listing = Listing(revision)
        state.page(listing, [KeyValue(key, b"x", at, 1, at) for key, at in sorted(store.items())])
        state.apply(listing)

    for what, key in steps:
        if what == "list":
            read_all()
            following = True
        elif what == "take":
            take()
        else:
            if what.startswith("delete") and key not in store:
                continue
            revision += 1
            if what.startswith("put"):
                store[key] = revision
            else:
                del store[key]
            # "unseen": the connection is lost, and only a new list will tell.
            following = following and "unseen" not in what
            if following:
                value = b"x" if what == "put" else None
                state.apply(WatchBatch("", [Event(key, value, revision)], revision))
    read_all()
    take()

    assert consumer == store
    assert state.take_batch() is None
