"""Compare and swap against other writers, and keys that live as long as their writer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from calico_openstack.etcd.errors import Unavailable
from calico_openstack.etcd.lease import AsyncKeptKey, BlockingKeptKey
from calico_openstack.etcd.swap import Contended, swap
from calico_openstack.etcd.values import CreatedAt, Delete, KeyValue, Operation, Put
from calico_openstack.testing.fake_etcd import FakeEtcd


def append(found: Mapping[str, KeyValue]) -> Sequence[Operation]:
    before = found["/a"].value if "/a" in found else b""
    return [Put("/a", before + b"+")]


def value(fake: FakeEtcd, key: str = "/a") -> bytes | None:
    kv = fake.blocking().get(key)
    return kv.value if kv else None


def test_a_writer_that_was_overtaken_reads_again_and_loses_nothing() -> None:
    fake = FakeEtcd()
    client = fake.blocking()
    seen: list[int] = []

    def decide(found: Mapping[str, KeyValue]) -> Sequence[Operation]:
        seen.append(len(found))
        if len(seen) == 1:
            client.put("/a", b"other")
        return append(found)

    result = swap(client, ["/a", "/b"], decide)

    assert result is not None
    assert value(fake) == b"other+"
    assert seen == [0, 1]


def test_a_key_that_appears_among_those_read_counts_as_a_change_too() -> None:
    fake = FakeEtcd()
    client = fake.blocking()
    calls = iter([True, False])

    def decide(found: Mapping[str, KeyValue]) -> Sequence[Operation]:
        if next(calls):
            client.put("/b", b"other")
        return [] if "/b" in found else [Put("/a", b"x")]

    assert swap(client, ["/a", "/b"], decide) is None
    assert value(fake) is None


def test_nothing_to_write_writes_nothing() -> None:
    fake = FakeEtcd()

    assert swap(fake.blocking(), ["/a"], lambda found: []) is None
    assert "Put" not in fake.calls
    assert fake.calls.count("Txn") == 1


def test_others_that_are_always_faster_end_it_with_the_key_named() -> None:
    fake = FakeEtcd()
    client = fake.blocking()

    def decide(found: Mapping[str, KeyValue]) -> Sequence[Operation]:
        client.put("/a", b"other")
        return append(found)

    with pytest.raises(Contended, match="/a: others changed it 5 times"):
        swap(client, ["/a"], decide)


def test_a_lost_answer_is_found_out_by_reading_again() -> None:
    fake = FakeEtcd()
    client = fake.blocking()

    def decide(found: Mapping[str, KeyValue]) -> Sequence[Operation]:
        if "/a" in found and found["/a"].value == b"wanted":
            return []
        fake.lose()
        return [Put("/a", b"wanted")]

    swap(client, ["/a"], decide)

    assert value(fake) == b"wanted"
    kv = client.get("/a")
    assert kv is not None
    assert kv.version == 1


def test_a_fence_that_does_not_hold_lets_nothing_through() -> None:
    fake = FakeEtcd()

    with pytest.raises(Contended):
        swap(fake.blocking(), ["/a"], append, fence=[CreatedAt("/leader", 5)])

    assert value(fake) is None


def test_deletions_are_guarded_like_puts() -> None:
    fake = FakeEtcd()
    client = fake.blocking()
    client.put("/a", b"old")

    swap(client, ["/a"], lambda found: [Delete("/a")] if found["/a"].value == b"old" else [])

    assert value(fake) is None


def test_a_kept_key_lives_while_it_is_written_and_goes_with_its_writer() -> None:
    fake = FakeEtcd()
    kept = BlockingKeptKey(fake.blocking(), "/status", ttl=90)
    for number in range(5):
        kept.write(b"%d" % number)
        fake.advance(60)
    assert value(fake, "/status") == b"4"

    fake.advance(31)

    assert value(fake, "/status") is None


def test_one_lease_serves_all_writes() -> None:
    fake = FakeEtcd()
    kept = BlockingKeptKey(fake.blocking(), "/status", ttl=90)
    for _ in range(3):
        kept.write(b"x")

    assert fake.calls.count("LeaseGrant") == 1


def test_a_key_whose_lease_ran_out_comes_back_with_the_next_write() -> None:
    fake = FakeEtcd()
    kept = BlockingKeptKey(fake.blocking(), "/status", ttl=90)
    kept.write(b"1")
    fake.advance(1000)

    kept.write(b"2")

    assert value(fake, "/status") == b"2"


def test_an_outage_costs_the_write_but_not_the_next_one() -> None:
    fake = FakeEtcd()
    kept = BlockingKeptKey(fake.blocking(timeout=0.2), "/status", ttl=90)
    kept.write(b"1")
    fake.stop()
    with pytest.raises(Unavailable):
        kept.write(b"2")
    fake.start()

    kept.write(b"3")

    assert value(fake, "/status") == b"3"


def test_the_asyncio_kind_does_the_same_and_drops_on_request() -> None:
    fake = FakeEtcd()

    async def use() -> None:
        kept = AsyncKeptKey(fake.aio(), "/status", ttl=90)
        await kept.write(b"1")
        fake.advance(1000)
        await kept.write(b"2")
        assert value(fake, "/status") == b"2"
        await kept.drop()

    asyncio.run(use())

    assert value(fake, "/status") is None
