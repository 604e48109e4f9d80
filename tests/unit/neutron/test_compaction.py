from __future__ import annotations

import pytest

from calico_openstack.etcd.errors import Compacted
from calico_openstack.neutron.compaction import LAST, TRIGGER, Compaction, target
from calico_openstack.testing.fake_etcd import FakeEtcd


@pytest.mark.parametrize(
    ("current", "last", "last_seen", "least", "expected"),
    [
        (900, 0, 100, 1000, None),
        (5000, 0, 4000, 1000, 4000),
        (5000, 0, 1000, 1000, 1000),
        (5000, 4500, 1000, 1000, None),
        (5000, 4000, 4000, 1000, None),
        (5000, 3999, 4000, 1000, 4000),
    ],
)
def test_one_periods_worth_of_history_and_never_less_than_the_minimum_is_kept(
    current: int, last: int, last_seen: int, least: int, expected: int | None
) -> None:
    assert target(current, last, last_seen, least) == expected


def test_it_acts_once_per_period_and_compacts_in_the_second(etcd: FakeEtcd) -> None:
    client = etcd.blocking()
    compaction = Compaction(client, 60, 10)
    compaction.step()
    first = client.get(LAST)
    assert first is not None
    assert first.value == b"0"
    for number in range(50):
        client.put("/x", str(number).encode())
    compaction.step()
    unchanged = client.get(LAST)
    assert unchanged == first

    etcd.advance(61)
    for number in range(5):
        client.put("/x", str(number).encode())
    compaction.step()
    # 55 revisions since the last look: all of them are kept, and what was before goes.
    last = client.get(LAST)
    assert last is not None
    assert int(last.value) == first.mod_revision
    etcd.advance(61)
    compaction.step()
    last = client.get(LAST)
    assert last is not None
    with pytest.raises(Compacted):
        client.snapshot("/x", revision=int(last.value) - 1)


def test_a_trigger_that_would_never_expire_is_replaced(etcd: FakeEtcd) -> None:
    client = etcd.blocking()
    client.put(TRIGGER, b"1")
    client.put(LAST, b"77")
    Compaction(client, 60, 10).step()

    trigger, last = client.get(TRIGGER), client.get(LAST)
    assert trigger is not None
    assert last is not None
    assert trigger.lease != 0
    assert last.value == b"0"


def test_a_restored_backup_starts_the_count_anew(etcd: FakeEtcd) -> None:
    client = etcd.blocking()
    client.put(LAST, b"100000")
    Compaction(client, 60, 10).step()

    last = client.get(LAST)
    assert last is not None
    assert last.value == b"0"
