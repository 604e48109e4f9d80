"""What agents write into etcd shows in Neutron: agent rows, port status; and only the right host has a say."""

from __future__ import annotations

import json
from typing import Any

from calico_openstack.model.keys import BgpStatusKey, DhcpStatusKey, ElectionKey


def test_agents_of_all_three_kinds_are_listed_alive(neutron: Any, cloud: Any) -> None:
    report = json.dumps({"time": "2026-11-21T02:00:00Z", "uptime": 3.0, "first_update": True}).encode()
    neutron.client.put(DhcpStatusKey(None, cloud.host).path, report)
    neutron.client.put(BgpStatusKey(None, cloud.host).path, report)

    def listed() -> set[tuple[str, str, bool]]:
        agents = neutron.get(f"agents?host={cloud.host}")["agents"]
        return {(agent["agent_type"], agent["binary"], agent["alive"]) for agent in agents}

    wanted = {
        ("Calico per-host agent (felix)", "calico-felix", True),
        ("Calico DHCP agent", "calico-dhcp-agent", True),
        ("Calico BGP agent", "calico-bgp-agent", True),
    }
    neutron.wait(lambda: listed() == wanted, what="three agents listed alive")
    value = neutron.client.get(ElectionKey(None).path).value.decode()
    assert value.startswith("controller:")


def test_rubbish_among_the_reports_harms_nothing(neutron: Any, cloud: Any) -> None:
    port = cloud.port()
    prefix = "/calico/felix/v2/no-region/host/"
    for key, value in (
        ("round-trip-check", b"12345.6"),
        ("compute-09/status", b"[not json"),
        ("compute-09/status/more", b"x"),
        (f"compute-09/workload/openstack/openstack%2fx/endpoint/{port['id']}", b'{"status": "up"}'),
        (f"{cloud.host}/workload/openstack/elsewhere%2f{cloud.device}/endpoint/{port['id']}", b'{"status": "up"}'),
    ):
        neutron.client.put(prefix + key, value)
    other = cloud.port()
    cloud.felix_says("up", other["id"])

    neutron.wait(lambda: cloud.status(other["id"]) == "ACTIVE", what="the other port is ACTIVE")
    assert cloud.status(port["id"]) == "DOWN"


def test_a_port_follows_the_report_of_its_host(neutron: Any, cloud: Any) -> None:
    port = cloud.port()
    assert cloud.status(port["id"]) == "DOWN"
    for said, shown in (("up", "ACTIVE"), ("down", "DOWN"), ("up", "ACTIVE"), ("error", "ERROR"), ("up", "ACTIVE")):
        cloud.felix_says(said, port["id"])
        neutron.wait(lambda shown=shown: cloud.status(port["id"]) == shown, what=f"{said} shows as {shown}")
    cloud.felix_says(None, port["id"])
    neutron.wait(lambda: cloud.status(port["id"]) == "DOWN", what="a report that vanished shows as DOWN")


def test_only_the_bound_host_has_a_say(neutron: Any, cloud: Any) -> None:
    port, witness = cloud.port(), cloud.port()
    cloud.felix_says("up", port["id"], host=cloud.other_host)
    cloud.felix_says("up", witness["id"])
    neutron.wait(lambda: cloud.status(witness["id"]) == "ACTIVE", what="the leader has read past the foreign report")
    assert cloud.status(port["id"]) == "DOWN"

    # Felix on the other host will not repeat its `up`; binding the port there must be enough.
    neutron.update("port", port["id"], **{"binding:host_id": cloud.other_host})
    neutron.wait(lambda: cloud.status(port["id"]) == "ACTIVE", what="the remembered report counts after binding")
    cloud.felix_says("down", port["id"], host=cloud.host)
    cloud.felix_says(None, port["id"], host=cloud.host)
    cloud.felix_says("down", witness["id"])
    neutron.wait(lambda: cloud.status(witness["id"]) == "DOWN", what="the leader has read past the old host's report")
    assert cloud.status(port["id"]) == "ACTIVE"


def test_a_migrating_port_waits_for_its_destination(neutron: Any, cloud: Any) -> None:
    port, witness = cloud.port(), cloud.port()
    cloud.felix_says("up", port["id"])
    neutron.wait(lambda: cloud.status(port["id"]) == "ACTIVE", what="ACTIVE on the source")

    neutron.update("port", port["id"], **{"binding:profile": {"migrating_to": cloud.other_host}})
    cloud.felix_says("up", witness["id"])
    neutron.wait(lambda: cloud.status(witness["id"]) == "ACTIVE", what="time for the leader to do the wrong thing")
    assert cloud.status(port["id"]) == "DOWN"
    cloud.felix_says("up", port["id"], host=cloud.other_host)
    neutron.wait(lambda: cloud.status(port["id"]) == "ACTIVE", what="ACTIVE once the destination is ready")

    neutron.update("port", port["id"], **{"binding:host_id": cloud.other_host, "binding:profile": {}})
    cloud.felix_says(None, port["id"])
    neutron.wait(lambda: cloud.status(port["id"]) == "ACTIVE", what="ACTIVE on the destination")


def test_a_migration_that_is_called_off_leaves_the_port_active(neutron: Any, cloud: Any) -> None:
    port = cloud.port()
    cloud.felix_says("up", port["id"])
    neutron.wait(lambda: cloud.status(port["id"]) == "ACTIVE", what="ACTIVE on the source")
    neutron.update("port", port["id"], **{"binding:profile": {"migrating_to": cloud.other_host}})
    neutron.update("port", port["id"], **{"binding:profile": {}})
    neutron.wait(lambda: cloud.status(port["id"]) == "ACTIVE", what="ACTIVE again, though Felix said nothing new")


def test_a_port_is_not_bound_where_no_felix_lives(neutron: Any, cloud: Any) -> None:
    port = cloud.port(**{"binding:host_id": "Compute-01"})

    assert port["binding:vif_type"] == "binding_failed"
    assert "set [DEFAULT] host of Nova on that host to compute-01" in neutron.log.read_text()


def test_a_deployment_gets_the_shared_documents_once(neutron: Any, cloud: Any) -> None:
    def cluster() -> Any:
        return neutron.document("/calico/resources/v3/projectcalico.org/clusterinformations/default")

    spec = neutron.wait(cluster, what="ClusterInformation")["spec"]
    felix = neutron.wait(
        lambda: neutron.document("/calico/resources/v3/projectcalico.org/felixconfigurations/default"),
        what="FelixConfiguration",
    )
    assert spec["clusterType"] == "openstack"
    assert spec["datastoreReady"] is True
    assert len(spec["clusterGUID"]) == 32
    assert felix["spec"] == {"endpointReportingEnabled": True, "interfacePrefix": "tap"}
