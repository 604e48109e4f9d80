"""Bandwidth limits against the kernel's traffic control: what `tc` shows, what passes, what is left behind."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from calico_openstack.felix.dataplane import Dataplane, DataplaneSettings
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint, WantedProfile, WantedRule
from calico_openstack.model.endpoint import EndpointKey, QosControls
from calico_openstack.model.net import parse_net
from calico_openstack.testing.compute_host import Guest, eventually, ip
from calico_openstack.testing.stage import Stage

pytestmark = pytest.mark.root

OPEN = WantedProfile(name="open", ingress=(WantedRule(action="allow"),), egress=(WantedRule(action="allow"),))
INGRESS = QosControls(ingress_bandwidth=8_000_000, ingress_burst=400_000)
EGRESS = QosControls(egress_bandwidth=8_000_000, egress_burst=400_000)
BOTH = QosControls(
    ingress_bandwidth=8_000_000,
    ingress_burst=400_000,
    ingress_peakrate=16_000_000,
    ingress_minburst=3000,
    egress_bandwidth=80_000_000_000,
)


def tc(*arguments: str) -> str:
    done = subprocess.run(["tc", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"tc {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def key(name: str) -> EndpointKey:
    return EndpointKey("openstack", "h", "openstack", "vm", name)


def changes(qos: QosControls | None, name: str = "1") -> Changes:
    one = WantedEndpoint(
        key=key(name),
        interface=f"tap{name}",
        mac=f"fa:16:3e:00:00:0{name}",
        addresses=(parse_net(f"10.0.0.{name}"),),
        profiles=("open",),
        qos=qos,
    )
    return Changes(profiles={"open": OPEN}, endpoints={one.key: one})


@pytest.fixture
def stage(namespace: None) -> Iterator[Stage]:
    made = Stage()
    yield made
    made.dataplane.close()


def tap(name: str = "tap1") -> None:
    ip("link", "add", name, "type", "veth", "peer", "name", f"p{name}")
    ip("link", "set", f"p{name}", "up")
    ip("link", "set", name, "up")


def root(interface: str) -> str:
    """The device's root discipline in tc's words."""
    return next(line for line in tc("-s", "qdisc", "show", "dev", interface).splitlines() if " root " in line)


def traces() -> tuple[list[str], list[str]]:
    """Everything that is not the kernel's default: disciplines, and ifb devices."""
    qdiscs = [line for line in tc("qdisc", "show").splitlines() if "noqueue" not in line and "pfifo_fast" not in line]
    return qdiscs, [entry["ifname"] for entry in json.loads(ip("-json", "link", "show", "type", "ifb") or "[]")]


def shaped() -> bool:
    """Whether both directions of EGRESS and INGRESS are in place."""
    listed = tc("filter", "show", "dev", "tap1", "ingress")
    links = ip("link", "show", "type", "ifb")
    return "tbf ca1c:" in tc("qdisc", "show", "dev", "tap1") and "cifb1" in links and "to device cifb1)" in listed


@pytest.mark.conformance("Q1")
def test_limits_are_as_tc_shows_them_and_right_for_a_new_process(stage: Stage) -> None:
    tap()
    assert stage.step(changes(BOTH)).operations["shaping"] == 2

    to_guest = root("tap1")
    assert "tbf ca1c:" in to_guest
    assert "rate 8Mbit burst 50" in to_guest
    assert "peakrate 16Mbit minburst 300" in to_guest
    from_guest = root("cifb1")
    assert "rate 80Gbit" in from_guest
    assert "mtu 1500" in ip("link", "show", "cifb1")
    assert "mirred (Egress Redirect to device cifb1) stolen" in tc("filter", "show", "dev", "tap1", "ingress")
    stage.settle()

    fresh = Stage()
    again = fresh.step(changes(BOTH))
    fresh.dataplane.close()
    assert not any(again.operations.values())


def test_a_limit_without_peak_waits_at_most_25_ms_longer_than_its_burst(stage: Stage) -> None:
    tap()
    stage.step(changes(INGRESS))

    assert "rate 8Mbit burst 50" in root("tap1")
    assert "lat 25ms" in root("tap1")


@pytest.mark.conformance("Q1")
def test_another_rate_is_changed_in_place_and_removed_limits_leave_nothing(stage: Stage) -> None:
    tap()
    tap("eth9")
    ip("link", "add", "ifb7", "type", "ifb")
    tc("qdisc", "add", "dev", "eth9", "root", "tbf", "rate", "1mbit", "burst", "10kb", "latency", "25ms")
    before = traces()
    stage.step(changes(EGRESS))
    index = json.loads(ip("-json", "link", "show", "cifb1"))[0]["ifindex"]
    stage.step(changes(QosControls(egress_bandwidth=4_000_000)))
    assert "rate 4Mbit" in root("cifb1")
    assert json.loads(ip("-json", "link", "show", "cifb1"))[0]["ifindex"] == index
    stage.step(changes(INGRESS))
    assert traces()[1] == ["ifb7"]
    assert "tbf ca1c:" in root("tap1")

    stage.step(changes(None))

    assert traces() == before


def test_a_deleted_endpoint_leaves_nothing(stage: Stage) -> None:
    tap()
    before = traces()
    stage.step(changes(BOTH))

    stage.step(Changes(endpoints_removed={key("1")}))

    assert traces() == before


def test_a_limit_waits_for_its_tap_and_follows_it(stage: Stage) -> None:
    both = QosControls(ingress_bandwidth=8_000_000, egress_bandwidth=8_000_000)
    stage.step(changes(both))
    tap()
    eventually(lambda: stage.step() and shaped(), "limits on the tap that appeared")

    ip("link", "delete", "tap1")
    tap()
    eventually(lambda: stage.step() and shaped(), "limits on the tap made anew")

    ip("link", "delete", "tap1")
    eventually(lambda: stage.step() and traces() == ([], []), "nothing without the tap")


@pytest.mark.parametrize(
    "damage",
    [
        ["tc", "qdisc", "del", "dev", "tap1", "root"],
        ["tc", "filter", "del", "dev", "tap1", "ingress"],
        ["tc", "qdisc", "del", "dev", "tap1", "ingress"],
        ["tc", "qdisc", "del", "dev", "cifb1", "root"],
        ["ip", "link", "del", "cifb1"],
        ["ip", "link", "set", "cifb1", "down"],
    ],
    ids=" ".join,
)
def test_what_somebody_removes_comes_back_at_once(stage: Stage, damage: list[str]) -> None:
    tap()
    both = QosControls(ingress_bandwidth=8_000_000, egress_bandwidth=8_000_000)
    stage.step(changes(both))
    stage.settle()
    subprocess.run(damage, check=True)

    eventually(lambda: stage.step() and shaped() and "tbf ca1c:" in root("cifb1"), "repaired")
    assert "UP" in ip("link", "show", "cifb1")


@pytest.mark.conformance("Q2")
def test_anothers_root_gives_way_and_anothers_filter_stays(stage: Stage) -> None:
    tap()
    tc("qdisc", "add", "dev", "tap1", "root", "handle", "1:", "htb", "default", "1")
    tc("qdisc", "add", "dev", "tap1", "ingress")
    tc("filter", "add", "dev", "tap1", "ingress", "pref", "7", "u32", "match", "u32", "0", "0", "flowid", "1:1")
    # Nobody asked for a limit.
    stage.step(changes(None))
    assert "htb 1:" in root("tap1")

    stage.step(changes(BOTH))
    assert "tbf ca1c:" in root("tap1")
    stage.step(changes(None))

    assert "noqueue" in root("tap1")
    assert "pref 7 u32" in tc("filter", "show", "dev", "tap1", "ingress")
    assert "51740" not in tc("filter", "show", "dev", "tap1", "ingress")


def test_what_fails_is_told_and_tried_again_and_the_endpoint_is_up(stage: Stage) -> None:
    tap()
    eventually(lambda: "state UP" in ip("link", "show", "tap1"), "carries")
    ip("link", "add", "cifb1", "type", "veth", "peer", "name", "other")

    report = stage.step(changes(EGRESS))
    assert report.failures == {"tap1 egress bandwidth": "[Errno 17] File exists: cifb1 is not an ifb"}
    assert report.statuses == [(key("1"), True)]
    assert report.wake_at is not None
    ip("link", "delete", "cifb1")

    eventually(lambda: not stage.step(seconds=2).failures, "done at last")
    assert "rate 8Mbit" in root("cifb1")


def test_an_ifb_whose_tap_went_during_our_absence_is_swept(stage: Stage) -> None:
    tap()
    stage.step(changes(EGRESS))
    stage.dataplane.close()
    ip("link", "delete", "tap1")
    assert traces()[1] == ["cifb1"]

    stage.dataplane = Dataplane(DataplaneSettings(), lambda: stage.now)
    stage.step(changes(EGRESS))

    assert traces() == ([], [])


SINK = """
import socket, time
one = socket.socket(); one.bind(("", 5001)); one.listen()
print("ready", flush=True)
stream = one.accept()[0]
stream.recv(1)
first, got = time.monotonic(), 0
while True:
    got += len(stream.recv(1 << 16))
    now = time.monotonic()
    if now > first + 1:
        print(got * 8 / (now - first), flush=True)
        first, got = now, 0
"""

SOURCE = """
import socket
one = socket.create_connection(("10.0.0.2", 5001))
try:
    while True:
        one.send(bytes(1 << 14))
except OSError:
    pass
"""


@pytest.mark.conformance("Q1")
@pytest.mark.parametrize(("limited", "qos"), [("2", INGRESS), ("1", EGRESS)], ids=["to the guest", "from the guest"])
def test_what_passes_is_what_is_allowed(
    stage: Stage, guest: Callable[..., Guest], limited: str, qos: QosControls
) -> None:
    guests = [guest(f"tap{one}", f"fa:16:3e:00:00:0{one}", f"10.0.0.{one}/24") for one in "12"]
    for one in "12":
        eventually(lambda tap=f"tap{one}": "state UP" in ip("link", "show", tap), "carries")
        stage.step(changes(qos if one == limited else None, one))
    sink = subprocess.Popen(
        ["ip", "netns", "exec", guests[1].name, sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True
    )
    assert sink.stdout is not None
    assert sink.stdout.readline() == "ready\n"
    source = subprocess.Popen(
        ["ip", "netns", "exec", guests[0].name, sys.executable, "-c", SOURCE], stderr=subprocess.DEVNULL
    )
    try:
        # The first second has the burst; one in which somebody else has the processor says nothing.
        seconds = [float(sink.stdout.readline())]
        while len(seconds) < 10 and not 0.8 * 8e6 < seconds[-1] < 1.2 * 8e6:
            seconds.append(float(sink.stdout.readline()))
    finally:
        for process in (source, sink):
            process.kill()
            process.wait()

    print(", ".join(f"{passed / 1e6:.2f}" for passed in seconds), "Mbit/s of 8")
    assert 0.8 * 8e6 < seconds[-1] < 1.2 * 8e6
