from __future__ import annotations

import json
from dataclasses import replace

from calico_openstack.bgp.replies import DaemonState, SessionState
from calico_openstack.bgp.sessions import Problem, Session
from calico_openstack.bgp.status import Pace, Status, document, essence
from calico_openstack.model.net import host_net
from calico_openstack.model.status import read_host_status

SEEN = SessionState("Mesh_1", "Established", "10:00", peer="192.0.2.2", peer_as=64512, imported=5, exported=2)
WANTED = (
    Session("Mesh_1", "Mesh", host_net("192.0.2.2"), 64512, 64512),
    Session("Mesh_2", "Mesh", host_net("192.0.2.3"), 64512, 64512),
)
STATUS = Status(DaemonState("2.0.12"), (SEEN,), WANTED, (Problem("BGPPeer/x", "bad", "mend"),), "abc", "2026")


def test_the_value_is_also_a_host_status_as_felix_writes_it() -> None:
    value = document(STATUS, "2026-11-21T02:00:00Z", 12.345, True)

    assert json.loads(value)["uptime"] == 12.35 or json.loads(value)["uptime"] == 12.34
    assert read_host_status(value).first_update is True


def test_sessions_that_bird_has_not_are_listed_too() -> None:
    told = json.loads(document(STATUS, "2026-11-21T02:00:00Z", 1, False))

    assert [(row["name"], row["state"]) for row in told["sessions"]] == [
        ("Mesh_1", "Established"),
        ("Mesh_2", "Absent"),
    ]
    assert told["sessions"][0]["imported"] == 5
    assert told["problems"] == [{"object": "BGPPeer/x", "reason": "bad", "cure": "mend"}]


def test_counts_of_routes_are_no_news_but_a_state_is() -> None:
    busier = replace(STATUS, sessions=(replace(SEEN, imported=500),))
    down = replace(STATUS, sessions=(replace(SEEN, state="Active"),))

    assert essence(busier) == essence(STATUS)
    assert essence(down) != essence(STATUS)


def test_ready_means_that_bird_runs_is_recovered_and_has_a_session() -> None:
    assert STATUS.ready
    assert not Status().ready
    assert Status(DaemonState("2")).ready
    assert not replace(STATUS, daemon=DaemonState("2", recovering=True)).ready
    assert not replace(STATUS, sessions=()).ready
    assert not replace(STATUS, error="refused").ready


def test_news_go_out_after_ten_seconds_and_the_same_after_thirty() -> None:
    pace = Pace()

    assert pace.due(b"a", 100)
    pace.written(b"a", 100)
    assert [pace.due(b"b", now) for now in (109, 110)] == [False, True]
    assert [pace.due(b"a", now) for now in (129, 130)] == [False, True]
    assert (pace.wake_at(b"b", 101), pace.wake_at(b"a", 101)) == (110, 130)
