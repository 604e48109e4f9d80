"""The loop around a watch, on the pretended server: what it does about refusals and losses."""

from __future__ import annotations

import pytest

from calico_openstack.etcd.errors import PermissionDenied, Unauthenticated
from calico_openstack.etcd.mirror import BlockingMirror
from calico_openstack.testing.fake_etcd import FakeEtcd


def test_a_watch_goes_on_after_its_stream_broke_without_loss_or_repetition() -> None:
    fake = FakeEtcd()
    client = fake.blocking()
    watch = client.watch("/a/", 1)
    client.put("/a/1", b"x")
    first = next(watch)
    fake.drop_streams()
    client.put("/a/2", b"y")

    assert [event.key for event in (*first.events, *next(watch).events)] == ["/a/1", "/a/2"]


def test_a_watch_whose_token_is_forgotten_signs_in_anew() -> None:
    fake = FakeEtcd()
    fake.store.users["felix"] = "pw"
    client = fake.blocking(username="felix", password="pw")
    watch = client.watch("/a/", 1)
    client.put("/a/1", b"x")
    next(watch)

    fake.forget_tokens()
    fake.drop_streams()
    client.put("/a/2", b"y")

    assert [event.key for event in next(watch).events] == ["/a/2"]


def test_a_watch_whose_user_was_taken_away_raises_instead_of_trying_for_ever() -> None:
    fake = FakeEtcd()
    fake.store.users["felix"] = "pw"
    client = fake.blocking(username="felix", password="pw")
    watch = client.watch("/a/", 1)
    client.put("/a/1", b"x")
    next(watch)

    fake.store.users["felix"] = "another"
    fake.forget_tokens()
    fake.drop_streams()

    with pytest.raises(Unauthenticated, match="/a/"):
        next(watch)


def test_a_watch_of_a_forbidden_prefix_raises_after_one_renewal() -> None:
    fake = FakeEtcd()
    fake.store.users["felix"] = "pw"
    fake.forbid("/secret/")
    client = fake.blocking(username="felix", password="pw")

    with pytest.raises(PermissionDenied, match="/secret/"):
        next(client.watch("/secret/", 1))

    assert fake.calls.count("Authenticate") == 2


def test_a_mirror_lists_anew_when_the_store_was_restored_from_an_older_backup() -> None:
    fake, backup = FakeEtcd(), FakeEtcd()
    client = fake.blocking()
    for key in ("/a/kept", "/a/1", "/a/2", "/a/3"):
        client.put(key, b"before")
    batches = iter(BlockingMirror(client, "/a/"))
    next(batches)

    # The same endpoint now has fewer revisions, and other contents under a revision that was seen before.
    backup.blocking().put("/a/kept", b"restored")
    fake.store = backup.store
    fake.drop_streams()
    batch = next(batches)
    batches.close()

    assert batch.listed
    assert {event.key: event.value for event in batch.events} == {
        "/a/kept": b"restored",
        "/a/1": None,
        "/a/2": None,
        "/a/3": None,
    }
