from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from calico_openstack.etcd.errors import Unavailable
from calico_openstack.neutron import background as module
from calico_openstack.neutron.background import Background
from calico_openstack.neutron.sync import Ref, Synchroniser
from calico_openstack.neutron.translate.slots import Slot
from calico_openstack.testing.fake_etcd import FakeEtcd

PREFIX = "/calico/resources/v3/projectcalico.org/workloadendpoints/openstack"
A = frozenset({Slot("a", "d")})


def eventually(check: Callable[[], Any], limit: float = 10.0) -> None:
    deadline = time.monotonic() + limit
    while not check():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


@pytest.fixture
def background(synchroniser: Synchroniser, monkeypatch: pytest.MonkeyPatch) -> Iterator[Background]:
    monkeypatch.setattr(module, "AWAY_PAUSE", 0.05)
    monkeypatch.setattr(module, "SHORTEST_PAUSE", 0.05)
    monkeypatch.setattr(module, "SECOND_LOOK", 0.1)
    made = Background(synchroniser, request_timeout=0.3, timeout=0.3)
    try:
        yield made
    finally:
        made.stop()


def mac(etcd: FakeEtcd, port_id: str = "p") -> str | None:
    item = etcd.blocking().get(f"{PREFIX}/a-openstack-d-{port_id}")
    return json.loads(item.value)["spec"]["mac"] if item else None


def test_a_change_is_in_etcd_when_the_call_returns(background: Background, rows: Any, etcd: FakeEtcd) -> None:
    rows.port("p", mac_address="one")
    background.changed({Ref("port", "p"): A})

    assert mac(etcd) == "one"


def test_changes_during_an_outage_wait_for_nobody_and_are_written_when_it_ends(
    background: Background, rows: Any, etcd: FakeEtcd
) -> None:
    etcd.stop()
    rows.port("p", mac_address="one")
    background.changed({Ref("port", "p"): A})
    assert background.away
    started = time.monotonic()
    for number in range(20):
        rows.port(f"p{number}", mac_address="two")
        background.changed({Ref("port", f"p{number}"): A})
    assert time.monotonic() - started < 0.3
    assert background.owed == 21

    etcd.start()
    eventually(lambda: background.owed == 0)
    assert mac(etcd) == "one"
    assert {mac(etcd, f"p{number}") for number in range(20)} == {"two"}
    assert not background.away


def test_an_object_that_cannot_be_translated_is_tried_again_and_holds_up_nobody(
    background: Background, rows: Any, etcd: FakeEtcd
) -> None:
    rows.port("odd", fixed_ips=[{"ip_address": "not an address"}])
    rows.port("good", mac_address="good")
    background.changed({Ref("port", "odd"): A, Ref("port", "good"): A})
    assert mac(etcd, "good") == "good"
    assert background.owed == 1

    rows.port("odd", mac_address="mended")
    eventually(lambda: mac(etcd, "odd") == "mended")


def test_a_document_that_etcd_refuses_does_not_hold_up_its_batch(
    background: Background, rows: Any, etcd: FakeEtcd
) -> None:
    etcd.forbid(f"{PREFIX}/a-openstack-d-odd")
    for port_id in ("odd", "good", "other"):
        rows.port(port_id, mac_address=port_id)
    background.changed({Ref("port", port_id): A for port_id in ("odd", "good", "other")})

    eventually(lambda: mac(etcd, "good") == "good" and mac(etcd, "other") == "other")
    assert background.owed == 1


def test_what_was_written_is_looked_at_once_more(background: Background, rows: Any, etcd: FakeEtcd) -> None:
    rows.port("p", mac_address="one")
    background.changed({Ref("port", "p"): A})
    # The row changes back and forth behind a slow writer: compare-and-swap alone cannot see it.
    rows.port("p", mac_address="two")

    eventually(lambda: mac(etcd) == "two")


def test_a_change_of_many_objects_does_not_make_the_call_wait(
    background: Background, rows: Any, etcd: FakeEtcd
) -> None:
    many = [f"p{number}" for number in range(100)]
    for port_id in many:
        rows.port(port_id, mac_address="m")
    background.changed({Ref("port", port_id): A for port_id in many})

    eventually(lambda: all(mac(etcd, port_id) == "m" for port_id in many))


def test_jobs_run_once_and_one_that_fails_stops_nothing(background: Background) -> None:
    ran: list[str] = []

    def fails() -> None:
        ran.append("fails")
        raise RuntimeError("as planned")

    background.soon(fails)
    background.soon(lambda: ran.append("works"))

    eventually(lambda: ran == ["fails", "works"])


def test_a_job_that_etcd_does_not_answer_is_repeated_and_holds_up_no_debt(
    background: Background, rows: Any, etcd: FakeEtcd
) -> None:
    asked: list[float] = []

    def asks() -> None:
        asked.append(time.monotonic())
        if len(asked) < 3:
            raise Unavailable("as planned")

    rows.port("p", mac_address="one")
    background.soon(asks)
    background.owe({Ref("port", "p"): A})

    eventually(lambda: mac(etcd) == "one")
    eventually(lambda: len(asked) == 3)


def test_a_slow_database_is_not_taken_for_an_absent_etcd(background: Background, rows: Any, etcd: FakeEtcd) -> None:
    rows.port("p", mac_address="one")
    rows.after_read = lambda: time.sleep(0.4)
    background.changed({Ref("port", "p"): A})
    assert not background.away

    rows.after_read = lambda: None
    eventually(lambda: mac(etcd) == "one")
