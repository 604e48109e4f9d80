"""Live migration on one host: routes of the target against a real kernel, real frames, and processes that end."""

import json
import re
import select
import subprocess
from collections.abc import Callable, Iterator

import pytest

from calico_openstack.felix.comparison import compare
from calico_openstack.felix.dataplane import DataplaneSettings
from calico_openstack.felix.wanted.host import HostRules
from calico_openstack.felix.wanted.migration import HESITATION
from calico_openstack.felix.wanted.state import Changes, Role, WantedEndpoint, WantedProfile, WantedRule
from calico_openstack.model.endpoint import EndpointKey, Nat
from calico_openstack.model.net import host_net
from calico_openstack.testing.announcing import advertisement, gratuitous_arp, rarp, send
from calico_openstack.testing.compute_host import Guest, eventually, ip
from calico_openstack.testing.stage import Stage

pytestmark = pytest.mark.root

KEY = EndpointKey("openstack", "h", "openstack", "vm", "a")
MAC = "fa:16:3e:00:00:01"
V4, V6, FLOATING = "10.0.0.1", "2001:db8::1", "172.24.4.33"
OPEN = WantedProfile(name="open", ingress=(WantedRule(action="allow"),), egress=(WantedRule(action="allow"),))
NORMAL, ELEVATED = {V4: {1024}, V6: {1024}, FLOATING: {1024}}, {V4: {512}, V6: {512}, FLOATING: {512}}
CONVERGENCE = HostRules().convergence
SETTINGS = DataplaneSettings(host=HostRules(rp_filter="1"))


def wanted(role: Role = "none") -> Changes:
    endpoint = WantedEndpoint(
        key=KEY,
        interface="tapa",
        mac=MAC,
        addresses=(host_net(V4), host_net(V6)),
        nats=(Nat(host_net(V4), host_net(FLOATING)),),
        profiles=("open",),
        role=role,
    )
    return Changes(profiles={"open": OPEN}, endpoints={KEY: endpoint})


def routes() -> dict[str, set[int]]:
    """The metrics of the routes to the guest, by destination."""
    found: dict[str, set[int]] = {}
    for version in (4, 6):
        for route in json.loads(ip("-json", f"-{version}", "route", "show", "dev", "tapa") or "[]"):
            if route["dst"] != "fe80::/64":
                found.setdefault(route["dst"], set()).add(route["metric"])
    return found


def strict() -> str:
    with open("/proc/sys/net/ipv4/conf/tapa/rp_filter") as file:
        return file.read().strip()


@pytest.fixture
def stages(namespace: None) -> Iterator[Callable[[], Stage]]:
    """Felix, started again with each call."""
    made: list[Stage] = []

    def start() -> Stage:
        if made:
            made.pop().dataplane.close()
        made.append(Stage(SETTINGS))
        return made[0]

    yield start
    for one in made:
        one.dataplane.close()


@pytest.fixture
def vm(guest: Callable[..., Guest]) -> Guest:
    """On its way here: its tap is there and says nothing."""
    made = guest("tapa", MAC)
    carries()
    return made


def carries() -> None:
    eventually(lambda: "state UP" in ip("link", "show", "tapa"), "the tap carries")


def becomes(stage: Stage, expected: dict[str, set[int]], because: str) -> None:
    eventually(lambda: stage.step() and routes() == expected, because)


@pytest.mark.conformance("R6")
@pytest.mark.parametrize(
    "frame",
    [rarp(MAC), gratuitous_arp(MAC, V4), gratuitous_arp(MAC, V4, 2), advertisement(MAC, V6)],
    ids=["RARP", "ARP request", "ARP reply", "neighbour advertisement"],
)
def test_a_target_is_up_without_routes_and_announced_once_its_guest_shows_itself(
    stages: Callable[[], Stage], vm: Guest, frame: bytes
) -> None:
    stage = stages()
    assert stage.step(wanted("target")).statuses == [(KEY, True)]
    stage.settle()
    assert routes() == {}
    assert strict() == "2", "what the guest sends before others know must not be dropped"

    send(vm.name, frame)
    becomes(stage, ELEVATED, "elevated routes")

    assert stage.step(wanted("none")).statuses == []
    assert routes() == ELEVATED
    stage.step(seconds=CONVERGENCE - 1)
    assert routes() == ELEVATED
    stage.step(seconds=1)
    assert routes() == NORMAL
    assert strict() == "1"


@pytest.mark.conformance("R6")
@pytest.mark.parametrize("version", [4, 6])
def test_any_packet_of_the_guests_own_is_as_good_as_an_announcement(
    stages: Callable[[], Stage], vm: Guest, version: int
) -> None:
    address = V4 if version == 4 else V6
    stage = stages()
    stage.step(wanted("target"))
    ip("-n", vm.name, "address", "add", f"{address}/{'24' if version == 4 else '64'}", "dev", "eth0", "nodad")

    subprocess.run(
        ["ip", "netns", "exec", vm.name, "ping", "-c", "1", "-W", "1", "10.0.0.9" if version == 4 else "2001:db8::9"],
        capture_output=True,
    )

    becomes(stage, ELEVATED, "elevated routes")


def test_nobody_else_announces_the_guest(stages: Callable[[], Stage], vm: Guest) -> None:
    stage = stages()
    stage.step(wanted("target"))
    for frame in (
        rarp("fa:16:3e:00:00:02"),
        gratuitous_arp("fa:16:3e:00:00:02", V4),
        gratuitous_arp(MAC, "10.0.0.77"),
        advertisement(MAC, "2001:db8::77"),
        advertisement("fa:16:3e:00:00:02", V6),
    ):
        send(vm.name, frame)
        stage.step()
        assert routes() == {}
    send(vm.name, rarp(MAC))
    becomes(stage, ELEVATED, "the capture was listening all the time")


@pytest.mark.conformance("R6")
def test_the_other_metric_is_there_before_the_old_one_goes(stages: Callable[[], Stage], vm: Guest) -> None:
    stage = stages()
    stage.step(wanted("target"))
    send(vm.name, rarp(MAC))
    becomes(stage, ELEVATED, "elevated routes")
    stage.step(wanted("none"))

    with subprocess.Popen(["ip", "monitor", "route"], stdout=subprocess.PIPE, text=True) as monitor:
        try:
            assert monitor.stdout is not None
            # The monitor listens when it shows a route of ours.
            eventually(lambda: _poke(monitor), "the monitor listens")
            stage.step(seconds=CONVERGENCE)
            ip("route", "add", "192.0.2.2", "dev", "lo")
            told = []
            for line in monitor.stdout:
                if line.startswith("192.0.2.2"):
                    break
                told.append(line)
        finally:
            monitor.kill()

    for address in (V4, V6, FLOATING):
        events = [line for line in told if f"{address} dev" in line]
        assert [line.startswith("Deleted") for line in events] == [False, True], told
        assert "metric 1024" in events[0]
        assert "metric 512" in events[1]
    assert routes() == NORMAL


def _poke(monitor: "subprocess.Popen[str]") -> bool:
    ip("route", "replace", "192.0.2.1", "dev", "lo")
    assert monitor.stdout is not None
    ready, _, _ = select.select([monitor.stdout], [], [], 0.2)
    return bool(ready)


@pytest.mark.conformance("R6")
def test_a_tap_that_comes_later_and_one_that_is_made_anew_are_listened_to(
    stages: Callable[[], Stage], guest: Callable[..., Guest]
) -> None:
    stage = stages()
    stage.step(wanted("target"))
    vm = guest("tapa", MAC)
    carries()
    eventually(lambda: (KEY, True) in stage.step().statuses, "up")
    for unseen in (False, True):
        vm.unplug()
        if not unseen:
            stage.step()
        vm.plug()
        carries()
        eventually(lambda: (KEY, True) in stage.step().statuses, "up")
        assert routes() == {}

    send(vm.name, rarp(MAC))

    becomes(stage, ELEVATED, "elevated routes")


@pytest.mark.conformance("R7")
def test_a_guest_that_is_never_seen_is_announced_when_its_migration_is_over(
    stages: Callable[[], Stage], vm: Guest
) -> None:
    stage = stages()
    stage.step(wanted("target"))

    assert stage.step(wanted("none")).wake_at == stage.now + HESITATION
    assert routes() == {}
    stage.step(seconds=HESITATION)
    assert routes() == ELEVATED
    stage.step(seconds=CONVERGENCE)
    assert routes() == NORMAL


@pytest.mark.conformance("R8")
def test_a_target_whose_migration_fails_is_clean(stages: Callable[[], Stage], vm: Guest) -> None:
    stage = stages()
    stage.step(wanted("target"))
    stage.step(wanted("none"))
    assert routes() == {}

    stage.step(Changes(endpoints_removed={KEY}))
    stage.step(seconds=CONVERGENCE)

    assert routes() == {}
    assert "lladdr" not in ip("neighbour", "show", "dev", "tapa", "nud", "permanent")


@pytest.mark.conformance("R6", "R8")
def test_a_source_keeps_its_normal_routes_while_it_is_one_and_when_its_migration_is_called_off(
    stages: Callable[[], Stage], vm: Guest
) -> None:
    stage = stages()
    stage.step(wanted("none"))
    stage.settle()
    assert routes() == NORMAL

    for role in ("source", "none"):
        report = stage.step(wanted(role))
        send(vm.name, rarp(MAC))
        stage.settle()
        assert (report.operations["routes"], report.operations["flows"], routes()) == (0, 0, NORMAL)
    assert stage.step(seconds=CONVERGENCE).operations["routes"] == 0
    assert routes() == NORMAL


@pytest.mark.conformance("R9")
def test_a_guest_that_goes_back_at_once_leaves_normal_routes_and_no_timer(
    stages: Callable[[], Stage], vm: Guest
) -> None:
    stage = stages()
    stage.step(wanted("target"))
    send(vm.name, rarp(MAC))
    becomes(stage, ELEVATED, "elevated routes")
    stage.step(wanted("none"))

    stage.step(wanted("source"))
    assert routes() == NORMAL
    stage.step(Changes(endpoints_removed={KEY}))
    assert routes() == {}
    stage.step(wanted("target"))
    stage.step(seconds=CONVERGENCE + HESITATION)
    assert routes() == {}


@pytest.mark.conformance("R10")
@pytest.mark.parametrize("restart", [False, True])
def test_the_route_of_an_endpoint_that_was_there_first_is_withdrawn(
    stages: Callable[[], Stage], vm: Guest, restart: bool
) -> None:
    stage = stages()
    stage.step(wanted("none"))
    assert routes() == NORMAL

    if restart:
        stage = stages()
    stage.step(wanted("target"))
    assert routes() == {}

    send(vm.name, rarp(MAC))
    becomes(stage, ELEVATED, "elevated routes")


@pytest.mark.conformance("R6", "R7")
def test_a_restart_at_any_step_changes_nothing(stages: Callable[[], Stage], vm: Guest) -> None:
    def restart(role: Role) -> Stage:
        fresh = stages()
        before = routes()
        assert not compare(SETTINGS, wanted(role))
        assert not any(fresh.step(wanted(role)).operations.values())
        assert routes() == before
        return fresh

    stages().step(wanted("target"))
    stage = restart("target")
    assert routes() == {}
    send(vm.name, rarp(MAC))
    becomes(stage, ELEVATED, "elevated routes")

    stage = restart("target")
    stage.step(seconds=3600)
    assert routes() == ELEVATED

    stage.step(wanted("none"), seconds=1)
    stage = restart("none")
    assert routes() == ELEVATED
    stage.step(seconds=CONVERGENCE)
    assert routes() == NORMAL

    stage = restart("none")
    stage.step(seconds=CONVERGENCE)
    assert routes() == NORMAL


def test_a_process_that_ended_between_two_metrics_leaves_what_the_next_one_understands(
    stages: Callable[[], Stage], vm: Guest
) -> None:
    stage = stages()
    stage.step(wanted("target"))
    send(vm.name, rarp(MAC))
    becomes(stage, ELEVATED, "elevated routes")
    # The end of the wait: the normal routes are there, and the elevated ones not gone yet.
    for address in ELEVATED:
        ip("route", "add", address, "dev", "tapa", "metric", "1024", "proto", "boot")

    stage = stages()
    stage.step(wanted("none"))
    assert routes() == ELEVATED
    stage.step(seconds=CONVERGENCE)
    assert routes() == NORMAL


def test_equal_metrics_are_no_evidence(stages: Callable[[], Stage], vm: Guest) -> None:
    """Else every guest would be taken for one that has just arrived, and every restart would wait for that to pass."""
    settings = DataplaneSettings(host=HostRules(elevated4=1024, elevated6=1024))
    Stage(settings).step(wanted("none"))
    fresh = Stage(settings)
    fresh.step(wanted("none"))

    fresh.settle()

    assert fresh.step().wake_at is None
    assert routes() == NORMAL


def test_a_guest_that_is_evacuated_to_this_host_is_better_here_until_its_old_host_is_forgotten(
    stages: Callable[[], Stage], vm: Guest
) -> None:
    stage = stages()
    changes = wanted("none")
    changes.came = {KEY}
    stage.step(changes)
    assert routes() == ELEVATED

    stage.step(seconds=HostRules().afterglow)
    assert routes() == NORMAL


def test_on_the_source_flows_with_its_other_guests_go_on_and_those_with_the_world_end(
    stages: Callable[[], Stage], guest: Callable[..., Guest]
) -> None:
    leaving, staying = guest("tapa", MAC, f"{V4}/24", f"{V6}/64"), guest("tapb", "fa:16:3e:00:00:02", "10.0.0.2/24")
    carries()
    eventually(lambda: "state UP" in ip("link", "show", "tapb"), "the tap carries")
    other = WantedEndpoint(
        key=KEY._replace(endpoint="b"),
        interface="tapb",
        mac=staying.mac,
        addresses=(host_net("10.0.0.2"),),
        profiles=("open",),
    )
    stage = stages()
    stage.step(wanted("none"))
    stage.step(Changes(endpoints={other.key: other}))
    ip("address", "add", "10.0.0.254/32", "dev", "lo")
    eventually(lambda: staying.pings(V4), "a guest of this host reaches it")
    eventually(lambda: leaving.pings("10.0.0.2"), "and is reached")
    subprocess.run(["ping", "-c", "1", "-W", "1", "-I", "10.0.0.254", V4], capture_output=True)
    assert tracked() == {("10.0.0.2", V4), (V4, "10.0.0.2"), ("10.0.0.254", V4)}

    stage.step(wanted("source"))
    stage.step(wanted("none"))
    stage.step(Changes(endpoints_removed={KEY}), seconds=1)
    assert tracked() == {("10.0.0.2", V4), (V4, "10.0.0.2")}

    stage.step(wanted("none"))
    stage.step(Changes(endpoints_removed={KEY}))
    assert tracked() == set()


def tracked() -> set[tuple[str, str]]:
    """Who pinged whom, by the kernel's table of flows."""
    shown = subprocess.run(["conntrack", "-L", "-p", "icmp"], capture_output=True, text=True).stdout
    return {(source, destination) for source, destination in re.findall(r"icmp +1 \d+ src=(\S+) dst=(\S+)", shown)}
