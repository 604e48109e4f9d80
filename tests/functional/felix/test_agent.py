"""Felix as a whole: documents as the Neutron driver writes them, a real etcd, a real kernel, real packets."""

import json
import re
import signal
import subprocess
import urllib.request
from typing import Any

import pytest

from calico_openstack.felix.kernel.sysctls import Sysctls
from calico_openstack.testing.compute_host import HOST, Host, eventually, ip
from calico_openstack.testing.listings import steady

pytestmark = pytest.mark.root

GROUP = "0a1b2c3d-4e5f-4061-8273-94a5b6c7d8e9"
INSTANCE = "8f3d2c1a-4b5e-4f60-9a7b-0c1d2e3f4a5b"
PORT = "1b2c3d4e-5f60-4718-8293-a4b5c6d7e8f9"
TAP = "tap1b2c3d4e-5f"
MAC = "fa:16:3e:aa:bb:cc"
WEP = (
    "workloadendpoints/openstack/compute--01-openstack-8f3d2c1a--4b5e--4f60--9a7b--0c1d2e3f4a5b"
    "-1b2c3d4e--5f60--4718--8293--a4b5c6d7e8f9"
)
STATUS = f"/calico/felix/v2/no-region/host/{HOST}/workload/openstack/openstack%2f{INSTANCE}/endpoint/{PORT}"


def endpoint(**spec: Any) -> dict[str, Any]:
    """A WorkloadEndpoint as upstream's driver writes it."""
    return {
        "kind": "WorkloadEndpoint",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {
            "name": WEP.rpartition("/")[2],
            "namespace": "openstack",
            "creationTimestamp": "2026-08-22T10:15:30Z",
            "uid": "1f6a3c1e-0d0b-4d8e-9d51-3f0f4f5a2b11",
            "annotations": {"openstack.projectcalico.org/network-id": "5d6e7f80-9192-43a4-b5c6-d7e8f9a0b1c2"},
            "labels": {
                f"sg.projectcalico.org/openstack-{GROUP}": "web_tier",
                "sg-name.projectcalico.org/openstack-web_tier": GROUP,
                "projectcalico.org/namespace": "openstack",
                "projectcalico.org/orchestrator": "openstack",
                "projectcalico.org/openstack-project-id": "7c6b5a49382716054f3e2d1c0b9a8877",
            },
        },
        "spec": {
            "orchestrator": "openstack",
            "workload": INSTANCE,
            "node": HOST,
            "endpoint": PORT,
            "interfaceName": TAP,
            "mac": MAC,
            "ipv4Gateway": "10.65.0.1",
            "ipv6Gateway": "2001:db8:a41::1",
            "ipNetworks": ["10.65.0.12/32", "2001:db8:a41::c/128", "10.65.0.200/32"],
            "allowedIps": ["10.65.0.200/32"],
            "ipNATs": [{"internalIP": "10.65.0.12", "externalIP": "172.24.4.33"}],
            **spec,
        },
    }


def group(*ingress: dict[str, Any]) -> dict[str, Any]:
    """The NetworkPolicy of a security group: these ingress rules, egress to anywhere."""
    return {
        "kind": "NetworkPolicy",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": f"ossg.default.{GROUP}", "namespace": "openstack"},
        "spec": {
            "ingress": list(ingress),
            "egress": [{"action": "Allow", "ipVersion": 4}, {"action": "Allow", "ipVersion": 6}],
            "selector": f"has(sg.projectcalico.org/openstack-{GROUP})",
        },
    }


POLICY = f"networkpolicies/openstack/ossg.default.{GROUP}"
PING = {"action": "Allow", "ipVersion": 4, "protocol": "ICMP", "icmp": {"type": 8}}


def routes(version: int = 4) -> set[str]:
    listed = json.loads(ip("-json", f"-{version}", "route", "show", "dev", TAP) or "[]")
    return {entry["dst"] for entry in listed if entry["dst"] != "fe80::/64"}


def nft_ruleset() -> str:
    return steady(subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout)


def field(host: Host, name: str) -> int:
    """What etcd knows of the status key: ModRevision, Version, ..."""
    return int(re.findall(rf'"{name}" : (\d+)', host.etcd.etcdctl("get", STATUS, "-w", "fields"))[0])


WANTED = {"10.65.0.12", "10.65.0.200", "172.24.4.33"}


@pytest.fixture
def running(host: Host, guest: Any) -> tuple[Host, Any]:
    """A guest that is up, its group allows ping."""
    host.ready()
    host.put(POLICY, group(PING))
    host.put(WEP, endpoint())
    host.start()
    web = guest(TAP, MAC, "10.65.0.12/24", "2001:db8:a41::c/64")
    eventually(lambda: host.status(STATUS) == "up", "endpoint up")
    return host, web


@pytest.mark.conformance("R14")
def test_an_endpoint_gets_routes_neighbours_sysctls_and_a_firewall(running: Any) -> None:
    assert routes() == WANTED
    assert routes(6) == {"2001:db8:a41::c"}
    shown = json.loads(ip("-json", "route", "show", "10.65.0.12"))[0]
    assert (shown["dev"], shown["scope"], shown["metric"]) == (TAP, "link", 1024)
    permanent = {
        (entry["dst"], entry["lladdr"])
        for family in "46"
        for entry in json.loads(ip("-json", f"-{family}", "neigh", "show", "dev", TAP, "nud", "permanent"))
    }
    assert permanent == {(address, MAC) for address in WANTED | {"2001:db8:a41::c"}}
    sysctls = Sysctls()
    assert sysctls.read(f"ipv4/conf/{TAP}/proxy_arp") == "1"
    assert sysctls.read(f"ipv4/conf/{TAP}/forwarding") == "1"
    assert sysctls.read(f"ipv6/conf/{TAP}/accept_ra") == "0"
    assert sysctls.read("ipv4/ip_forward") == "1"
    assert TAP in nft_ruleset()


@pytest.fixture
def client(running: Any, guest: Any) -> Any:
    """A second guest on the host, in the same group."""
    host, _ = running
    port = "2222aaaa-5f60-4718-8293-a4b5c6d7e8f9"
    document = endpoint(
        endpoint=port,
        interfaceName="tap2222aaaa-5f",
        mac="fa:16:3e:aa:bb:dd",
        ipNetworks=["10.65.0.13/32"],
        allowedIps=[],
        ipNATs=[],
    )
    path = WEP.rpartition("-1b2c3d4e")[0] + "-" + port.replace("-", "--")
    document["metadata"]["name"] = path.rpartition("/")[2]
    host.put(path, document)
    made = guest("tap2222aaaa-5f", "fa:16:3e:aa:bb:dd", "10.65.0.13/24")
    eventually(lambda: made.pings("10.65.0.12"), "ping allowed by the group")
    return made


def test_policy_decides_what_another_guest_may_do(running: Any, client: Any) -> None:
    host, _ = running

    host.put(POLICY, group())
    eventually(lambda: not client.pings("10.65.0.12"), "ping refused without the rule")

    host.put(POLICY, group(PING))
    eventually(lambda: client.pings("10.65.0.12"), "ping allowed again")


def test_a_policy_with_every_kind_of_rule_of_the_driver_is_understood(running: Any, client: Any) -> None:
    host, _ = running
    member = f"has(sg.projectcalico.org/openstack-{GROUP})"
    document = group(
        {"action": "Allow", "ipVersion": 4, "protocol": 6, "destination": {"ports": [22]}},
        {"action": "Allow", "ipVersion": 4, "source": {"selector": member}},
        PING,
        {
            "action": "Allow",
            "ipVersion": 4,
            "protocol": 17,
            "source": {"nets": ["192.0.2.0/24"]},
            "destination": {"ports": ["5000:5100"]},
        },
    )
    document["spec"]["egress"].append(
        {
            "action": "Allow",
            "ipVersion": 4,
            "protocol": 6,
            "destination": {"nets": ["198.51.100.7/32"], "ports": [443]},
        }
    )
    before = nft_ruleset()

    host.put(POLICY, document)

    eventually(lambda: nft_ruleset() != before, "the rules have changed")
    assert client.pings("10.65.0.12")
    assert "document.ignored" not in host.lines()
    assert "firewall.failed" not in host.lines()


def test_a_guest_cannot_speak_with_anothers_address(running: Any, client: Any) -> None:
    _, web = running
    ip("-n", client.name, "address", "add", "10.65.0.66/32", "dev", "eth0")

    def arrived(source: str) -> int:
        """How many echo requests reach the other guest when one is sent from this address."""
        before = echo_requests(web)
        client.run("ping", "-c", "1", "-W", "1", "-n", "-I", source, "10.65.0.12")
        return echo_requests(web) - before

    assert arrived("10.65.0.13") == 1
    assert arrived("10.65.0.66") == 0


def echo_requests(guest: Any) -> int:
    """ICMP InEchos of /proc/net/snmp."""
    names, values = [
        line.split() for line in guest.run("cat", "/proc/net/snmp").stdout.splitlines() if line.startswith("Icmp:")
    ]
    return int(values[names.index("InEchos")])


def test_a_restart_on_a_correct_host_does_nothing(running: Any) -> None:
    host, _ = running
    revision = field(host, "ModRevision")
    host.stop(signal.SIGKILL)
    assert routes() == WANTED

    host.start()

    assert {name: count for name, count in host.resync().items() if name != "endpoints"} == {
        "operations": 0,
        "nft": 0,
        "routes": 0,
        "neighbours": 0,
        "sysctls": 0,
        "flows": 0,
        "shaping": 0,
        "upstream": 0,
    }
    assert field(host, "ModRevision") == revision


def test_a_restart_on_a_host_with_host_endpoints_does_nothing(running: Any) -> None:
    host, _ = running
    ip("link", "add", "eth9", "type", "veth", "peer", "name", "eth10")
    ip("address", "add", "192.0.2.9/24", "dev", "eth9")
    ip("link", "set", "eth9", "up")
    everywhere = {"node": HOST, "interfaceName": "*"}
    found = {"node": HOST, "expectedIPs": ["192.0.2.9"], "ports": [{"name": "web", "protocol": "TCP", "port": 80}]}
    log, named = {"action": "Log"}, {"action": "Allow", "protocol": "TCP", "destination": {"ports": ["web"]}}
    for name, spec in (("all", everywhere), ("eth9", found)):
        document = {"kind": "HostEndpoint", "metadata": {"name": name, "labels": {"role": "host"}}, "spec": spec}
        host.put(f"hostendpoints/{name}", document)
    kinds = ({}, {"applyOnForward": True}, {"doNotTrack": True}, {"preDNAT": True, "types": ["Ingress"]})
    for number, kind in enumerate(kinds):
        egress = {} if "preDNAT" in kind else {"egress": [log, {"action": "Allow"}]}
        document = {
            "kind": "GlobalNetworkPolicy",
            "metadata": {"name": f"p{number}"},
            "spec": {"selector": "role == 'host'", "ingress": [log, named, {"action": "Pass"}], **egress, **kind},
        }
        host.put(f"globalnetworkpolicies/p{number}", document)
    failsafes = [{"protocol": "TCP", "net": "192.0.2.0/24", "port": 22}, {"protocol": "UDP", "port": 68}]
    host.ready(nftablesFilterDenyAction="Reject", failsafeInboundHostPorts=failsafes)
    eventually(lambda: "mangle-postrouting" in nft_ruleset() and "192.0.2.0/24" in nft_ruleset(), "in force")
    eventually(lambda: '"eth9" : jump' in nft_ruleset(), "found by its address")
    before = nft_ruleset()
    host.stop(signal.SIGKILL)

    host.start()

    assert {name: count for name, count in host.resync().items() if count and name != "endpoints"} == {}
    assert nft_ruleset() == before


def test_a_route_deleted_by_hand_comes_back(running: Any) -> None:
    ip("route", "delete", "10.65.0.12", "dev", TAP)

    eventually(lambda: routes() == WANTED, "the route is back")


def test_a_strangers_route_on_a_tap_goes_away(running: Any) -> None:
    ip("route", "add", "10.99.0.0/16", "dev", TAP)

    eventually(lambda: routes() == WANTED, "only ours are left")


def test_a_flushed_firewall_comes_back(running: Any) -> None:
    host, _ = running
    subprocess.run(["nft", "flush", "ruleset"], check=True)

    eventually(lambda: TAP in nft_ruleset(), "the tables are back")
    assert "firewall.failed" not in host.lines()


@pytest.mark.conformance("R14")
def test_a_neighbour_injected_by_dnsmasq_becomes_permanent_again(running: Any) -> None:
    for address in ("10.65.0.12", "2001:db8:a41::c"):
        ip("neigh", "replace", address, "lladdr", MAC, "dev", TAP, "nud", "reachable")
        eventually(lambda address=address: "PERMANENT" in ip("neigh", "show", address, "dev", TAP), "permanent")
        ip("neigh", "delete", address, "dev", TAP)
        eventually(lambda address=address: "PERMANENT" in ip("neigh", "show", address, "dev", TAP), "there again")
        ip("neigh", "replace", address, "lladdr", "fa:16:3e:00:00:99", "dev", TAP, "nud", "permanent")
        eventually(lambda address=address: MAC in ip("neigh", "show", address, "dev", TAP), "with its own MAC")


def test_a_rebuilt_tap_is_reported_down_and_then_up_and_programmed_again(running: Any) -> None:
    host, web = running
    version = field(host, "Version")
    web.unplug()
    web.plug("10.65.0.12/24", "2001:db8:a41::c/64")

    eventually(lambda: routes() == WANTED, "routes on the new tap")
    eventually(
        lambda: field(host, "Version") >= version + 2,
        "down and up were both written",
    )
    eventually(lambda: host.status(STATUS) == "up", "up again")


def test_a_deleted_endpoint_leaves_nothing_behind(running: Any) -> None:
    host, _ = running

    host.delete(WEP)

    eventually(lambda: host.get(STATUS) is None, "the status key is gone")
    assert routes() == set()
    assert "PERMANENT" not in ip("neigh", "show", "dev", TAP)
    ruleset = nft_ruleset()
    assert TAP not in ruleset


def test_a_deleted_status_key_is_written_again(running: Any) -> None:
    host, _ = running
    host.stop(signal.SIGKILL)
    host.start()
    eventually(lambda: "/workload/" in host.lines(), "follows its own keys")

    host.delete(STATUS)

    eventually(lambda: host.status(STATUS) == "up", "the key is back")


def test_the_status_key_of_an_endpoint_that_left_during_our_absence_is_removed(running: Any) -> None:
    host, _ = running
    host.stop(signal.SIGKILL)
    host.delete(WEP)

    host.start()

    eventually(lambda: host.get(STATUS) is None, "the status key is gone")
    eventually(lambda: routes() == set(), "the routes are gone", within=30)


def test_an_endpoint_that_becomes_rubbish_is_down_and_unreachable_but_not_deleted(running: Any) -> None:
    host, _ = running

    host.put(WEP, "{rubbish")

    eventually(lambda: host.status(STATUS) == "down", "down")
    eventually(lambda: routes() == set(), "unreachable")


def test_an_endpoint_that_may_spoof_is_down_with_a_reason_until_the_setting_allows_it(running: Any) -> None:
    host, _ = running

    host.put(WEP, endpoint(allowSpoofedSourcePrefixes=["192.0.2.0/24"]))
    eventually(lambda: host.status(STATUS) == "down", "down")
    eventually(lambda: "endpoint.absent" in host.lines(), "and says why")
    assert routes() == set()

    host.ready(workloadSourceSpoofing="Any")
    eventually(lambda: host.status(STATUS) == "up", "up")


def test_traffic_goes_on_while_etcd_and_felix_are_away_and_news_arrive_afterwards(running: Any, client: Any) -> None:
    host, _ = running
    host.etcd.kill()
    assert client.pings("10.65.0.12")
    host.stop(signal.SIGKILL)
    assert client.pings("10.65.0.12")

    # Started without etcd it waits, and leaves everything as it is.
    host.start()
    eventually(lambda: "not following etcd" in host.lines(), "looks for etcd")
    assert client.pings("10.65.0.12")
    host.etcd.start()
    host.put(POLICY, group())

    eventually(lambda: not client.pings("10.65.0.12"), "the change has arrived", within=60)


def test_nothing_is_written_before_the_datastore_says_ready(host: Host, guest: Any) -> None:
    host.put(POLICY, group(PING))
    host.put(WEP, endpoint())
    guest(TAP, MAC, "10.65.0.12/24")
    host.start()
    eventually(lambda: "datastore.not_ready" in host.lines(), "says why it waits")
    assert routes() == set()
    assert subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout == ""

    host.ready()

    eventually(lambda: routes() == WANTED, "programmed")


def test_reporting_begins_when_it_is_switched_on(host: Host, guest: Any) -> None:
    host.ready(endpointReportingEnabled=False)
    host.put(POLICY, group(PING))
    host.put(WEP, endpoint())
    guest(TAP, MAC, "10.65.0.12/24")
    host.start()
    eventually(lambda: "endpoints.not_reported" in host.lines(), "says that it does not report")
    assert host.get(STATUS) is None

    host.ready()

    eventually(lambda: host.status(STATUS) == "up", "reports")
    assert "Traceback" not in host.lines()


def test_a_changed_setting_takes_effect_without_a_restart(running: Any) -> None:
    host, _ = running

    host.ready(ipv4NormalRoutePriority=512)

    eventually(lambda: json.loads(ip("-json", "route", "show", "10.65.0.12"))[0]["metric"] == 512, "metric 512")
    assert routes() == WANTED


def test_the_host_reports_itself_with_a_lease(running: Any) -> None:
    host, _ = running
    key = f"/calico/felix/v2/no-region/host/{HOST}/status"
    report = json.loads(eventually(lambda: host.get(key), "the host's report"))
    assert report["first_update"] is True
    assert set(report) == {"time", "uptime", "first_update"}
    lease = re.findall(r'"Lease" : (\d+)', host.etcd.etcdctl("get", key, "-w", "fields"))[0]
    assert lease != "0"
    assert host.get(key.replace("/status", "/last_reported_status")) is not None


def test_health_tells_ready_and_counts_operations(running: Any) -> None:
    with urllib.request.urlopen("http://127.0.0.1:9099/readiness", timeout=5) as answer:
        text = answer.read().decode()

    assert "up=1" in text
    assert re.search(r"nft=\d+ routes=4", text)
