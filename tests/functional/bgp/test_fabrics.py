"""Other shapes than the mesh: a reflector, an external router, AS numbers per host; the agent's start and refusals."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

import pytest

from calico_openstack.testing.etcd_server import free_port

pytestmark = [pytest.mark.root, pytest.mark.slow]

ROUTER = """\
log stderr all;
router id 10.99.0.{number};
protocol device {{ scan time 10; }}
protocol direct {{ ipv4; ipv6; }}
protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; merge paths on; }}
protocol kernel {{ ipv6 {{ import none; export where source = RTS_BGP; }}; merge paths on; }}
protocol static {{ ipv4; route 203.0.113.0/24 blackhole; }}
protocol bgp 'hosts_v4' {{
  local 10.99.0.{number} as {own};
  neighbor range 10.99.0.0/24 {remote};
  dynamic name "host4_";
  passive; graceful restart;
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
protocol bgp 'hosts_v6' {{
  local fd99::{number} as {own};
  neighbor range fd99::/64 {remote};
  dynamic name "host6_";
  passive; graceful restart;
  ipv6 {{ import all; export none; }};
}}
"""


def start(fabric: Any, names: list[str], wait_for: Any, **options: dict[str, object]) -> list[Any]:
    hosts = [fabric.host(name) for name in names]
    for host in hosts:
        host.start_agent(**options.get(host.name, {}))
    for host in hosts:
        wait_for(f"{host.name}'s bird.conf", host.conf.exists)
        host.start_bird()
    return hosts


@pytest.mark.parametrize(("own", "remote"), [(64512, "as 64512"), (65000, "external")])
def test_an_external_router_learns_guests_and_tells_the_hosts_its_networks(
    fabric: Any, wait_for: Any, own: int, remote: str
) -> None:
    router = fabric.host("router")
    router.conf.write_text(ROUTER.format(number=router.number, own=own, remote=remote))
    router.start_bird()
    for version, address in ((4, router.v4), (6, router.v6)):
        fabric.put("BGPPeer", f"router-v{version}", {"peerIP": address, "asNumber": own})
    one, two = start(fabric, ["h1", "h2"], wait_for)
    one.plug("tap1")
    one.route("add", "10.65.0.2/32", "tap1")
    one.route("add", "fd65::2/128", "tap1")

    wait_for("the guest on the router, IPv4", lambda: router.learned("10.65.0.2/32") == [one.v4])
    wait_for("the guest on the router, IPv6", lambda: router.learned("fd65::2/128") == [one.v6])
    wait_for("the guest on the other host, directly", lambda: two.learned("10.65.0.2/32") == [one.v4])
    wait_for("the router's network on a host", lambda: two.learned("203.0.113.0/24") == [router.v4])


def test_a_reflector_passes_routes_on_without_being_in_their_way(fabric: Any, wait_for: Any) -> None:
    fabric.put("BGPConfiguration", "default", {"nodeToNodeMeshEnabled": False, "asNumber": 64513})
    fabric.put("BGPPeer", "reflectors", {"nodeSelector": "!has(reflector)", "peerSelector": "has(reflector)"})
    one, two, reflector = start(
        fabric,
        ["h1", "h2", "rr"],
        wait_for,
        rr={"route_reflector_cluster_id": "192.0.2.200", "node_labels": "reflector=true"},
    )
    one.plug("tap1")
    one.route("add", "10.65.0.2/32", "tap1")
    one.route("add", "fd65::2/128", "tap1")

    wait_for("the route on the other host", lambda: two.learned("10.65.0.2/32") == [one.v4])
    wait_for("the IPv6 route on the other host", lambda: two.learned("fd65::2/128") == [one.v6])
    wait_for("the route on the reflector", lambda: reflector.learned("10.65.0.2/32") == [one.v4])
    assert sorted(two.sessions()) == ["Node_10_99_0_3", "Node_fd99__3"]
    assert sorted(reflector.sessions()) == ["Node_10_99_0_1", "Node_10_99_0_2", "Node_fd99__1", "Node_fd99__2"]
    assert "192.0.2.200" in two.birdc("show route all for 10.65.0.2")


def health_answer(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_hosts_with_as_numbers_of_their_own_still_form_a_mesh(fabric: Any, wait_for: Any) -> None:
    port = free_port()
    one, two = start(
        fabric, ["h1", "h2"], wait_for, h1={"as_number": 65001, "health_port": port}, h2={"as_number": "1.2"}
    )
    one.plug("tap1")
    one.route("add", "10.65.0.2/32", "tap1")

    wait_for("the route", lambda: two.learned("10.65.0.2/32") == [one.v4])
    wait_for("readiness", lambda: health_answer(port, "readiness") == 200)
    assert health_answer(port, "liveness") == 200
    assert "65538" in two.birdc("show protocols all Mesh_10_99_0_1")


def test_a_change_that_takes_most_sessions_waits_for_a_second_look(fabric: Any, wait_for: Any) -> None:
    one, _ = start(fabric, ["h1", "h2"], wait_for, h1={"loss_confirm_seconds": 3})
    wait_for("2 sessions", lambda: one.established(2))

    fabric.put("BGPConfiguration", "default", {"nodeToNodeMeshEnabled": False})

    wait_for("the pause in the log", lambda: "sessions.held" in (one.directory / "agent.log").read_text())
    assert len(one.sessions()) == 2
    wait_for("the sessions to go", lambda: one.sessions() == {})


def test_a_file_that_bird_refuses_leaves_the_running_one_and_is_reported(fabric: Any, wait_for: Any) -> None:
    refusing = fabric.directory / "bird-that-refuses"
    refusing.write_text('#!/bin/sh\n[ -e "$0.on" ] && { echo "$3:7:3 syntax error"; exit 1; }\nexec bird "$@"\n')
    refusing.chmod(0o755)
    one, _ = start(fabric, ["h1", "h2"], wait_for, h1={"bird_binary": refusing})
    wait_for("2 sessions", lambda: one.established(2))
    before, text = one.sessions(), one.conf.read_text()

    (fabric.directory / "bird-that-refuses.on").touch()
    fabric.put("BGPPeer", "extra", {"peerIP": "10.99.0.200", "asNumber": 65000})

    wait_for("the reason", lambda: ":7:3 syntax error" in one.status()["configuration"]["error"])
    assert one.undisturbed_since(before)
    assert one.conf.read_text() == text
    assert [path.name for path in one.directory.iterdir() if path.name.startswith(".")] == []


def test_the_agent_is_alive_in_etcd_before_bird_runs_and_keeps_the_records_other_fields(
    fabric: Any, wait_for: Any
) -> None:
    fabric.put("Node", "h1", {"bgp": {"ipv4IPIPTunnelAddr": "10.1.1.1"}, "orchRefs": [{"nodeName": "x"}]})
    one = fabric.host("h1")
    one.start_agent()

    status = wait_for("the first status", one.status)

    assert (status["first_update"], status["ready"], status["bird"]["running"]) == (True, False, False)

    def record() -> bytes:
        return bytes(fabric.client.get("/calico/resources/v3/projectcalico.org/nodes/h1").value)

    wait_for("the address in the record", lambda: b'"ipv4Address":"10.99.0.1/24"' in record())
    assert b'"ipv4IPIPTunnelAddr":"10.1.1.1"' in record()
    assert b'"orchRefs"' in record()
