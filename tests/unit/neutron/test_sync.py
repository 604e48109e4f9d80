from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from calico_openstack.etcd.errors import Unavailable
from calico_openstack.neutron import sync
from calico_openstack.neutron.sync import Ref, Synchroniser
from calico_openstack.neutron.translate.site import Site
from calico_openstack.neutron.translate.slots import Slot
from calico_openstack.testing.fake_etcd import FakeEtcd

PREFIX = "/calico/resources/v3/projectcalico.org"
POLICY = f"{PREFIX}/networkpolicies/openstack/ossg.default.g"
A, B = frozenset({Slot("a", "d")}), frozenset({Slot("b", "d")})


def endpoint(host: str, port_id: str = "p") -> str:
    return f"{PREFIX}/workloadendpoints/openstack/{host}-openstack-d-{port_id}"


def keys(etcd: FakeEtcd) -> list[str]:
    return [item.key for item in etcd.blocking().snapshot("/").items]


def test_a_port_and_the_missing_policy_of_its_group_go_in_one_transaction(
    synchroniser: Synchroniser, rows: Any, etcd: FakeEtcd
) -> None:
    rows.port("p")
    outcome = synchroniser.sync({Ref("port", "p"): A})
    items = {item.key: item for item in etcd.blocking().snapshot("/").items}

    assert set(items) == {endpoint("a"), POLICY}
    assert items[endpoint("a")].mod_revision == items[POLICY].mod_revision
    assert outcome.operations == 2


def test_nothing_is_written_when_nothing_differs(synchroniser: Synchroniser, rows: Any, etcd: FakeEtcd) -> None:
    rows.port("p")
    synchroniser.sync({Ref("port", "p"): A})
    before = etcd.blocking().snapshot("/").revision
    outcome = synchroniser.sync({Ref("port", "p"): A, Ref("group", "g"): frozenset()})

    assert outcome.operations == 0
    assert etcd.blocking().snapshot("/").revision == before


def test_a_stored_policy_is_left_to_its_own_events(synchroniser: Synchroniser, rows: Any, etcd: FakeEtcd) -> None:
    etcd.blocking().put(POLICY, b"{}")
    rows.port("p")
    synchroniser.sync({Ref("port", "p"): A})

    stored = etcd.blocking().get(POLICY)
    assert stored is not None
    assert stored.value == b"{}"


def test_a_row_that_moved_elsewhere_meanwhile_is_followed(
    synchroniser: Synchroniser, rows: Any, etcd: FakeEtcd
) -> None:
    rows.port("p", host="a")
    synchroniser.sync({Ref("port", "p"): A})
    rows.port("p", host="b")
    synchroniser.sync({Ref("port", "p"): A})

    assert keys(etcd) == [POLICY, endpoint("b")]


def test_an_object_that_is_gone_leaves_nothing(synchroniser: Synchroniser, rows: Any, etcd: FakeEtcd) -> None:
    rows.port("p")
    rows.subnet_rows["s"] = {"network_id": "n", "cidr": "10.0.0.0/24", "enable_dhcp": True}
    every = {Ref("port", "p"): A, Ref("group", "g"): frozenset[Slot](), Ref("subnet", "s"): frozenset[Slot]()}
    synchroniser.sync(every)
    assert len(keys(etcd)) == 3

    rows.port_rows.clear()
    rows.groups.clear()
    rows.subnet_rows.clear()
    synchroniser.sync(every)
    assert keys(etcd) == []


def test_a_writer_that_read_an_old_row_loses_and_reads_again(
    synchroniser: Synchroniser, rows: Any, etcd: FakeEtcd
) -> None:
    rows.port("p", mac_address="fa:16:3e:00:00:01")
    other = Synchroniser(etcd.blocking(), synchroniser.site, rows)

    def overtaken() -> None:
        rows.after_read = lambda: None
        rows.port("p", mac_address="fa:16:3e:00:00:02")
        other.sync({Ref("port", "p"): A})

    rows.after_read = overtaken
    synchroniser.sync({Ref("port", "p"): A})

    stored = etcd.blocking().get(endpoint("a"))
    assert stored is not None
    assert json.loads(stored.value)["spec"]["mac"] == "fa:16:3e:00:00:02"


def test_one_row_that_cannot_be_translated_does_not_stop_the_others(
    synchroniser: Synchroniser, rows: Any, etcd: FakeEtcd
) -> None:
    rows.port("good")
    rows.port("odd", fixed_ips=[{"ip_address": "not an address"}])
    outcome = synchroniser.sync({Ref("port", "good"): A, Ref("port", "odd"): A})

    assert endpoint("a", "good") in keys(etcd)
    assert list(outcome.failed) == [Ref("port", "odd")]


def test_many_objects_are_written_in_several_transactions(
    synchroniser: Synchroniser, rows: Any, etcd: FakeEtcd
) -> None:
    for number in range(150):
        rows.port(f"p{number}")
    synchroniser.sync({Ref("port", f"p{number}"): A for number in range(150)})

    assert len(keys(etcd)) == 151


def test_a_request_does_not_wait_longer_than_it_may(synchroniser: Synchroniser, rows: Any, etcd: FakeEtcd) -> None:
    rows.port("p")
    etcd.stop()
    with pytest.raises(Unavailable):
        synchroniser.sync({Ref("port", "p"): A}, timeout=0.2)


def test_writers_on_many_controllers_end_with_the_last_row(rows: Any, etcd: FakeEtcd) -> None:
    writers = [Synchroniser(etcd.blocking(), Site(), rows) for _ in range(6)]
    counter = iter(range(10_000))

    def controller(writer: Synchroniser) -> None:
        for _ in range(15):
            number = next(counter)
            rows.port("p", host="ab"[number % 2], mac_address=f"fa:16:3e:00:{number // 256:02x}:{number % 256:02x}")
            writer.sync({Ref("port", "p"): A | B})

    threads = [threading.Thread(target=controller, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row = rows.port_rows["p"]

    assert keys(etcd) == [POLICY, endpoint(row["binding:host_id"])]
    stored = etcd.blocking().get(endpoint(row["binding:host_id"]))
    assert stored is not None
    assert json.loads(stored.value)["spec"]["mac"] == row["mac_address"]


def test_what_an_attempt_wrote_before_a_conflict_counts_as_written(
    synchroniser: Synchroniser, rows: Any, etcd: FakeEtcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would not be looked at once more."""
    monkeypatch.setattr(sync, "WRITES_PER_TRANSACTION", 2)
    rows.port("p")
    rows.port("q")
    endpoints = [endpoint("a", "p"), endpoint("a", "q")]

    def overtaken() -> None:
        # At the second read: the first finds out that the group has no policy.
        if rows.reads == 2:
            etcd.blocking().put(endpoint("a", "q"), b"{}")

    rows.after_read = overtaken
    outcome = synchroniser.sync({Ref("port", "p"): A, Ref("port", "q"): A})

    assert set(endpoints) <= set(keys(etcd))
    assert {Ref("port", "p"), Ref("port", "q"), Ref("group", "g")} == outcome.written
