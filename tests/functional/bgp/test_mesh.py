"""Three hosts in a mesh: routes of guests, crashes, outages, changes. Real BIRD, real etcd, real agents."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

pytestmark = [pytest.mark.root, pytest.mark.slow]


def events(host: Any) -> subprocess.Popen[str]:
    """A running log of the host's route changes."""
    words = ["ip", "-n", host.namespace, "monitor", "route"]
    monitor = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    host.fabric.processes.append(monitor)
    return monitor


def stop(monitor: subprocess.Popen[str]) -> list[str]:
    monitor.terminate()
    return monitor.communicate(timeout=10)[0].splitlines()


def test_a_guests_routes_appear_in_the_other_hosts_kernels_and_go_again(mesh: Any, wait_for: Any) -> None:
    one, two, three = mesh
    one.plug("tap1")

    one.route("add", "10.65.0.2/32", "tap1")
    one.route("add", "fd65::2/128", "tap1")

    for other in (two, three):
        wait_for("the IPv4 route", lambda other=other: other.learned("10.65.0.2/32") == [one.v4])
        wait_for("the IPv6 route", lambda other=other: other.learned("fd65::2/128") == [one.v6])
    one.route("del", "10.65.0.2/32", "tap1")
    wait_for("the IPv4 route to go", lambda: not two.routes("10.65.0.2/32"))
    assert two.learned("fd65::2/128") == [one.v6]


def test_only_host_routes_on_guests_devices_are_announced(mesh: Any, wait_for: Any) -> None:
    one, two, _ = mesh
    one.plug("tap1")
    one.plug("other0")
    one.ip("route", "add", "default", "via", "10.99.0.2")
    one.ip("route", "add", "10.70.0.0/24", "dev", "tap1", "proto", "80")
    one.ip("route", "add", "10.70.1.1/32", "dev", "other0", "proto", "80")

    one.route("add", "10.65.0.2/32", "tap1")

    wait_for("the guest's route", lambda: two.learned("10.65.0.2/32") == [one.v4])
    announced = two.ip("-4", "route", "show", "proto", "bird").split("\n")
    assert [line.split()[0] for line in announced if line] == ["10.65.0.2"]


def test_a_new_metric_leaves_no_old_route_behind_and_the_elevated_host_wins(mesh: Any, wait_for: Any) -> None:
    one, two, three = mesh
    one.plug("tap1")
    two.plug("tap2")
    one.route("add", "10.65.0.9/32", "tap1", 1024)
    wait_for("the source's route", lambda: three.learned("10.65.0.9/32") == [one.v4])

    two.route("add", "10.65.0.9/32", "tap2", 512)
    wait_for("the target to win on a third host", lambda: three.learned("10.65.0.9/32") == [two.v4])
    wait_for("the source to send to the target", lambda: one.learned("10.65.0.9/32") == [two.v4])
    one.route("del", "10.65.0.9/32", "tap1", 1024)
    two.route("add", "10.65.0.9/32", "tap2", 1024)
    two.route("del", "10.65.0.9/32", "tap2", 512)

    def settled() -> bool:
        return all(
            host.learned("10.65.0.9/32") == [two.v4] and len(host.routes("10.65.0.9/32")) == 1 for host in (one, three)
        )

    wait_for("one route, to the target, on both hosts", settled)
    # BIRD keeps what it holds as LOCAL_PREF; normal priority again means that nothing elevated is left.
    wait_for("normal priority", lambda: "2147482623" in three.birdc("show route all for 10.65.0.9"))
    assert two.routes("10.65.0.9/32")[0]["dev"] == "tap2"


def test_a_bird_that_is_killed_and_started_again_loses_no_route(mesh: Any, wait_for: Any) -> None:
    one, two, _ = mesh
    one.plug("tap1")
    for number in range(2, 52):
        one.route("add", f"10.65.0.{number}/32", "tap1")
    two.plug("tap2")
    two.route("add", "10.66.0.1/32", "tap2")
    wait_for("all routes", lambda: two.ip("-4", "route", "show", "proto", "bird").count("10.65.0.") == 50)
    wait_for("the way back", lambda: one.learned("10.66.0.1/32") == [two.v4])
    on_one, on_two = events(one), events(two)

    one.kill_bird()
    one.start_bird()
    wait_for("the sessions", lambda: one.established(4))
    wait_for("the recovery to end", lambda: "Graceful restart" not in one.birdc("show status"))
    wait_for("a status of the new BIRD", lambda: one.status()["bird"]["running"])

    assert [line for line in stop(on_two) if "10.65.0." in line] == []
    assert [line for line in stop(on_one) if "10.66.0.1" in line] == []
    assert two.learned("10.65.0.2/32") == [one.v4]


def test_the_end_of_an_agent_changes_nothing_and_its_return_touches_no_session(mesh: Any, wait_for: Any) -> None:
    one, two, _ = mesh
    one.plug("tap1")
    one.route("add", "10.65.0.2/32", "tap1")
    wait_for("the route", lambda: two.learned("10.65.0.2/32") == [one.v4])
    before, text = one.sessions(), one.conf.read_text()
    reported = one.status()["time"]

    one.kill_agent()
    one.route("add", "10.65.0.3/32", "tap1")
    wait_for("a route added meanwhile", lambda: two.learned("10.65.0.3/32") == [one.v4])
    one.start_agent()
    wait_for("a new report", lambda: one.status()["time"] > reported and one.status()["configuration"]["appliedAt"])

    assert one.undisturbed_since(before)
    assert one.conf.read_text() == text
    assert two.learned("10.65.0.2/32") == [one.v4]


def test_while_etcd_is_away_routes_go_on_and_a_change_arrives_when_it_is_back(mesh: Any, wait_for: Any) -> None:
    one, two, _ = mesh
    fabric = one.fabric
    one.plug("tap1")
    before = one.sessions()

    fabric.etcd.kill()
    one.route("add", "10.65.0.2/32", "tap1")
    wait_for("a route without etcd", lambda: two.learned("10.65.0.2/32") == [one.v4])
    fabric.etcd.start()
    fabric.put("BGPPeer", "late", {"peerIP": "10.99.0.200", "asNumber": 65000})

    wait_for("the new session", lambda: "Global_10_99_0_200" in one.sessions())
    assert one.undisturbed_since(before, new="Global_10_99_0_200")


def test_a_new_peer_touches_no_other_session(mesh: Any, wait_for: Any) -> None:
    one, *_ = mesh
    before = one.sessions()

    one.fabric.put("BGPPeer", "extra", {"node": "h1", "peerIP": "10.99.0.201", "asNumber": 65001})

    wait_for("the session", lambda: "Node_10_99_0_201" in one.sessions())
    assert one.undisturbed_since(before, new="Node_10_99_0_201")


def test_bad_objects_disable_themselves_and_the_status_says_why(mesh: Any, wait_for: Any) -> None:
    one, *_ = mesh
    fabric, before = one.fabric, one.sessions()
    fabric.put("BGPPeer", "bad", {"peerIP": 'x"; protocol bgp y {', "asNumber": 65001})
    fabric.put("BGPPeer", "no-filter", {"peerIP": "10.99.0.202", "asNumber": 65001, "filters": ["gone"]})
    fabric.put("BGPPeer", "no-password", {
        "peerIP": "10.99.0.203", "asNumber": 65001, "password": {"secretKeyRef": {"name": "bgp", "key": "tor"}},
    })  # fmt: skip
    fabric.put("BGPPeer", "good", {"peerIP": "10.99.0.204", "asNumber": 65001})

    wait_for("the good one", lambda: "Global_10_99_0_204" in one.sessions())
    assert one.undisturbed_since(before, new="Global_10_99_0_204")
    wanted = {"BGPPeer/bad", "BGPPeer/no-filter", "BGPPeer/no-password"}
    wait_for("three reasons", lambda: {row["object"] for row in one.status()["problems"]} == wanted)
    assert one.status()["configuration"]["error"] == ""

    secret = one.directory / "secrets" / "bgp"
    secret.mkdir(parents=True)
    (secret / "tor").write_text("correct horse\n")
    wait_for("the session with a password", lambda: "Global_10_99_0_203" in one.sessions())
    assert one.conf.stat().st_mode & 0o007 == 0
    assert "correct horse" not in (one.directory / "agent.log").read_text()


def test_an_emptied_etcd_takes_no_session_away_before_a_second_look(mesh: Any, wait_for: Any) -> None:
    one, *_ = mesh
    before = one.sessions()

    one.fabric.client.delete_prefix("/calico/resources/")

    # Every agent writes its own record again, long before the pause of the guard is over.
    wait_for("the records", lambda: one.fabric.client.snapshot("/calico/resources/").items.__len__() == 3)
    wait_for("an untroubled status", lambda: one.status()["configuration"]["held"] == "")
    assert one.undisturbed_since(before)
