"""The dataplane against a real kernel, without etcd and agent: order, repair, grace, flows, and what it costs."""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from calico_openstack.felix.dataplane import DataplaneSettings
from calico_openstack.felix.kernel.barred import PERIOD, UDP_PERIOD
from calico_openstack.felix.kernel.routes import GRACE, Routes
from calico_openstack.felix.wanted.host import HostRules
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint, WantedProfile, WantedRule
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import parse_net
from calico_openstack.netlink.conntrack import Ends, Tracked
from calico_openstack.netlink.socket import ROUTE, NetlinkSocket
from calico_openstack.testing.compute_host import Guest, eventually, ip
from calico_openstack.testing.stage import Stage, carries, tap

pytestmark = pytest.mark.root

MAC = "fa:16:3e:00:00:01"
OPEN = WantedProfile(name="open", ingress=(WantedRule(action="allow"),), egress=(WantedRule(action="allow"),))


def key(name: str) -> EndpointKey:
    return EndpointKey("openstack", "h", "openstack", "vm", name)


def endpoint(name: str, *addresses: str, mac: str = MAC) -> WantedEndpoint:
    nets = tuple(parse_net(address) for address in addresses)
    return WantedEndpoint(key=key(name), interface=f"tap{name}", mac=mac, addresses=nets, profiles=("open",))


def wanted(*endpoints: WantedEndpoint) -> Changes:
    return Changes(profiles={"open": OPEN}, endpoints={one.key: one for one in endpoints})


@pytest.fixture
def stage(namespace: None) -> Iterator[Stage]:
    made = Stage()
    yield made
    made.dataplane.close()


def routes(name: str) -> set[str]:
    shown = [json.loads(ip("-json", f"-{version}", "route", "show", "dev", f"tap{name}") or "[]") for version in (4, 6)]
    return {entry["dst"] for listed in shown for entry in listed if entry["dst"] != "fe80::/64"}


def test_a_correct_host_is_no_operation_for_a_new_process_and_for_a_resync(stage: Stage) -> None:
    tap("a")
    changes = wanted(endpoint("a", "10.0.0.1", "2001:db8::1", "10.9.0.0/24"))
    first = stage.step(changes)
    assert first.operations["routes"] == 3
    assert first.statuses == [(key("a"), True)]
    stage.settle()

    stage.dataplane.resync()
    assert not any(stage.step().operations.values())

    fresh = Stage()
    again = fresh.step(changes)
    fresh.dataplane.close()
    assert not any(again.operations.values())
    assert again.statuses == [(key("a"), True)]


def test_an_endpoint_is_down_until_its_tap_carries(stage: Stage) -> None:
    assert stage.step(wanted(endpoint("a", "10.0.0.1"))).statuses == [(key("a"), False)]
    ip("link", "add", "tapa", "type", "veth", "peer", "name", "peera")
    ip("link", "set", "tapa", "up")
    assert stage.step().statuses == []

    ip("link", "set", "peera", "up")

    eventually(lambda: (key("a"), True) in stage.step().statuses, "up")
    assert routes("a") == {"10.0.0.1"}


def test_an_ipv4_guest_on_a_tap_too_small_for_ipv6_is_up(stage: Stage) -> None:
    """Below 1280 bytes the kernel takes IPv6, and its files, from an interface (RFC 8200)."""
    tap("a")
    ip("link", "set", "tapa", "mtu", "1200")

    report = stage.step(wanted(endpoint("a", "10.0.0.1")))
    assert (report.statuses, report.failures) == ([(key("a"), True)], {})

    report = stage.step(wanted(endpoint("a", "10.0.0.1", "2001:db8::1")))
    assert report.statuses == [(key("a"), False)]


def test_a_flap_between_two_steps_is_told_and_repaired(stage: Stage) -> None:
    tap("a")
    stage.step(wanted(endpoint("a", "10.0.0.1")))
    stage.settle()

    ip("link", "set", "tapa", "down")
    ip("link", "set", "tapa", "up")
    carries("tapa")
    told: list[Any] = []
    eventually(lambda: told.extend(stage.step().statuses) or told[-1:] == [(key("a"), True)], "up again")

    assert told[0] == (key("a"), False)
    assert routes("a") == {"10.0.0.1"}


def test_one_endpoint_that_cannot_be_programmed_does_not_hinder_the_others(stage: Stage) -> None:
    for name in ("tapa", "eth0"):
        ip("link", "add", name, "type", "veth", "peer", "name", f"p{name}")
        ip("link", "set", f"p{name}", "up")
        ip("link", "set", name, "up")
        carries(name)
    good = endpoint("a", "10.0.0.1")
    # Somebody claims one of the host's own interfaces.
    bad = WantedEndpoint(key=key("b"), interface="eth0", mac=MAC, addresses=(parse_net("10.0.0.2"),))

    report = stage.step(wanted(bad, good))

    assert sorted(report.statuses) == [(key("a"), True), (key("b"), False)]
    assert "'eth0' begins with none of tap" in report.failures["eth0"]
    assert "10.0.0.2" not in ip("route", "show", "dev", "eth0")
    assert routes("a") == {"10.0.0.1"}


def test_a_stranger_on_a_tap_without_endpoint_has_ten_seconds(stage: Stage) -> None:
    tap("a")
    ip("route", "add", "10.99.0.1/32", "dev", "tapa")
    stage.step()
    assert routes("a") == {"10.99.0.1"}

    stage.step(seconds=GRACE - 1)
    assert routes("a") == {"10.99.0.1"}
    stage.step(seconds=2)

    assert routes("a") == set()


def test_link_local_routes_and_other_interfaces_are_left_alone(stage: Stage) -> None:
    tap("a")
    ip("link", "add", "eth9", "type", "veth", "peer", "name", "eth8")
    ip("link", "set", "eth8", "up")
    ip("link", "set", "eth9", "up")
    ip("route", "add", "10.98.0.0/16", "dev", "eth9")
    stage.step(wanted(endpoint("a", "10.0.0.1")))
    stage.step(seconds=60)

    assert "10.98.0.0/16" in ip("route", "show", "dev", "eth9")
    assert "fe80::/64" in ip("-6", "route", "show", "dev", "tapa")


def test_a_tap_that_goes_while_its_routes_are_read_back_has_none_and_ends_nothing(namespace: None) -> None:
    tap("a")
    ip("route", "add", "10.0.0.1/32", "dev", "tapa")
    present = socket.if_nametoindex("tapa")
    tap("b")
    vanished = socket.if_nametoindex("tapb")
    ip("link", "delete", "tapb")

    with NetlinkSocket(ROUTE, strict=True) as connection:
        target = Routes(connection, lambda ifindex: True, lambda ifindex: True, time.monotonic)
        found = target.present([vanished, present])

    assert {str(route.destination) for route in found} == {"10.0.0.1/32"}


def test_a_route_with_other_attributes_is_replaced(stage: Stage) -> None:
    tap("a")
    ip("route", "add", "10.0.0.1/32", "dev", "tapa", "proto", "static", "metric", "1024")

    stage.step(wanted(endpoint("a", "10.0.0.1")))

    shown = ip("-details", "route", "show", "10.0.0.1")
    assert "proto boot scope link metric 1024" in " ".join(shown.split())
    assert "static" not in shown


def test_other_settings_take_effect_without_a_restart(stage: Stage) -> None:
    tap("a")
    stage.step(wanted(endpoint("a", "10.0.0.1", "2001:db8::1")))

    stage.dataplane.use(DataplaneSettings(host=HostRules(metric4=512, ipv6=False)))
    stage.step()

    (shown,) = json.loads(ip("-json", "route", "show", "10.0.0.1"))
    assert shown["metric"] == 512
    assert routes("a") == {"10.0.0.1"}


def flows(address: str) -> int:
    """How many flows have this address at one of their ends."""
    done = subprocess.run(["conntrack", "-L"], capture_output=True, text=True, check=True)
    return sum(f"={address} " in line for line in done.stdout.splitlines())


def test_a_released_address_loses_its_flows_and_others_keep_theirs(stage: Stage, guest: Callable[..., Guest]) -> None:
    macs = {number: f"fa:16:3e:00:00:0{number}" for number in (1, 2, 3)}
    guests = {number: guest(f"tap{number}", mac, f"10.0.0.{number}/24") for number, mac in macs.items()}
    stage.step(wanted(*(endpoint(str(number), f"10.0.0.{number}", mac=mac) for number, mac in macs.items())))
    for number, other in ((1, 2), (2, 3), (3, 1)):
        assert guests[number].pings(f"10.0.0.{other}")
    assert (flows("10.0.0.1"), flows("10.0.0.2"), flows("10.0.0.3")) == (2, 2, 2)

    report = stage.step(Changes(endpoints_removed={key("1")}))

    # What 1 opened and what was opened towards it are gone; between 2 and 3 nothing happened.
    assert report.operations["flows"] == 2
    assert (flows("10.0.0.1"), flows("10.0.0.2"), flows("10.0.0.3")) == (0, 1, 1)


def test_many_endpoints_are_adopted_quickly_and_one_more_costs_little(stage: Stage) -> None:
    names = [f"{number:03d}" for number in range(300)]
    batch = "".join(
        f"link add tap{name} type veth peer name p{name}\nlink set p{name} up\nlink set tap{name} up\n"
        for name in names
    )
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
    eventually(lambda: ip("-brief", "link", "show", "up").count(" UP ") >= 600, "all carry")
    many = [endpoint(name, f"10.1.{int(name) // 250}.{int(name) % 250 + 1}") for name in names]
    assert [up for _, up in stage.step(wanted(*many)).statuses] == [True] * 300
    stage.settle()

    fresh = Stage()
    start = time.perf_counter()
    report = fresh.step(wanted(*many))
    adopted = time.perf_counter() - start
    assert not any(report.operations.values())
    tap("new")
    fresh.step()
    start = time.perf_counter()
    report = fresh.step(wanted(endpoint("new", "10.2.0.1")))
    added = time.perf_counter() - start
    fresh.dataplane.close()

    print(f"adopted 300 endpoints in {adopted * 1000:.0f} ms, added one in {added * 1000:.1f} ms")
    assert report.operations["routes"] == 1
    # Generous: this is against something quadratic or forked, not a benchmark.
    assert adopted < 5
    assert added < 0.5


@pytest.mark.parametrize("way", ["dev eth0", "via 192.0.2.9", "blackhole", "dev tapb proto static"])
@pytest.mark.parametrize("address", ["10.0.0.1", "2001:db8::1"])
def test_a_route_that_another_put_in_the_place_of_ours_goes_at_once(namespace: None, address: str, way: str) -> None:
    """Of a replacement the kernel tells the new route alone, and that is none of a tap's."""
    stage = Stage(DataplaneSettings(remove_external_routes=False))
    tap("a")
    tap("b")
    ip("link", "add", "eth0", "type", "veth", "peer", "name", "outside")
    for command in ("link set outside up", "link set eth0 up", "addr add 192.0.2.1/24 dev eth0"):
        ip(*command.split())
    stage.step(wanted(endpoint("a", address), endpoint("b", "10.0.0.2")))
    stage.settle()
    kind = ["blackhole"] if way == "blackhole" else []
    if ":" in address and "via" in way:
        way = "via fe80::9 dev eth0"

    ip("route", "replace", *kind, address, *([] if kind else way.split()), "metric", "1024")
    assert routes("a") == set()
    report = stage.step()

    assert report.operations["routes"] >= 1
    assert routes("a") == {address}
    stage.settle()
    stage.dataplane.close()


def test_what_a_former_process_barred_stays_so_for_its_time_and_no_longer(stage: Stage) -> None:
    client, server = parse_net("10.0.0.8"), parse_net("10.0.0.1")
    stage.settle()
    # Both ends use the same port, so the answers look like a flow of the other guest's own.
    flows = [
        Tracked(Ends(client, server, protocol, (500, 500)), Ends(server, client, protocol, (500, 500)))
        for protocol in (6, 17)
    ]
    stage.dataplane._flows._barred.bar(flows, stage.now)
    table = ended()
    fresh = Stage()
    fresh.now = stage.now + 5

    assert not any(fresh.step().operations.values())

    assert ended() == table
    assert table.count("elements = { 10.0.0.1 . 500 . 10.0.0.8 . 500 }") == 2
    fresh.settle()
    assert fresh.step(seconds=UDP_PERIOD).wake_at is not None
    assert ended().count("elements") == 1
    fresh.step(seconds=PERIOD)
    assert ended().count("elements") == 0
    fresh.dataplane.close()


def test_a_damaged_table_of_what_a_former_process_barred_is_made_anew_with_the_same_elements(stage: Stage) -> None:
    client, server = parse_net("2001:db8::8"), parse_net("2001:db8::1")
    flow = Tracked(Ends(client, server, 6, (1000, 22)), Ends(server, client, 6, (22, 1000)))
    stage.dataplane._flows._barred.bar([flow], stage.now)
    table = ended()
    subprocess.run(["nft", "flush chain inet calico-ended forward"], check=True)
    fresh = Stage()

    fresh.step()
    fresh.dataplane.close()

    assert ended() == table


def ended() -> str:
    return subprocess.run(["nft", "list", "table", "inet", "calico-ended"], capture_output=True, text=True).stdout


def test_flows_of_a_network_that_moves_to_another_guest_are_asked_again(stage: Stage) -> None:
    """Two guests may send from the same network; the newest interface has its route."""
    network, own = parse_net("10.9.0.0/24"), {"a": "10.0.0.1", "b": "10.0.0.2"}
    profiles = {"open": OPEN, "shut": WantedProfile(name="shut")}
    endpoints = {name: endpoint(name, address, str(network)) for name, address in own.items()}
    endpoints = {name: msgspec.structs.replace(one, allowed_pairs=(network,)) for name, one in endpoints.items()}
    endpoints["a"] = msgspec.structs.replace(endpoints["a"], profiles=("shut",))
    tap("a")
    tap("b")
    stage.step(Changes(profiles=profiles, endpoints={one.key: one for one in endpoints.values()}))
    stage.settle()
    assert "dev tapb" in ip("route", "get", "10.9.0.5")
    command = "-p udp -t 60 -u SEEN_REPLY --sport 9 --dport 53"
    flows = [
        ("192.0.2.7", "10.9.0.5"),
        ("10.9.0.5", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.8"),
        ("192.0.2.7", "10.0.0.2"),
    ]
    for source, destination in flows:
        subprocess.run(["conntrack", "-I", "-s", source, "-d", destination, *command.split()], check=True)
    stage.settle()
    assert len(tracked()) == 4

    ip("link", "set", "tapb", "down")
    stage.step()
    stage.settle()

    assert "dev tapa" in ip("route", "get", "10.9.0.5")
    assert sorted(tracked()) == [("192.0.2.7", "10.0.0.2"), ("192.0.2.7", "192.0.2.8")]


def tracked() -> list[tuple[str, str]]:
    """Source and destination of the flows between others than the host."""
    listed = subprocess.run(["conntrack", "-L", "-p", "udp"], capture_output=True, text=True).stdout.splitlines()
    fields = [dict(part.split("=") for part in reversed(line.split()) if "=" in part) for line in listed]
    return [(one["src"], one["dst"]) for one in fields if one["sport"] == "9"]
