"""Two guests of one host that share a virtual address (VRRP): the one that claimed it last has it, in both families."""

import json
import select
import subprocess
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from calico_openstack.felix.arrivals import PAUSE
from calico_openstack.felix.wanted.host import HostRules
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint, WantedProfile, WantedRule
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import host_net
from calico_openstack.testing.announcing import advertisement, gratuitous_arp, send
from calico_openstack.testing.compute_host import Guest, eventually, ip
from calico_openstack.testing.stage import Stage

pytestmark = pytest.mark.root

VIP4, VIP6 = "10.0.0.100", "2001:db8::100"
VIPS = (VIP4, VIP6)
OPEN = WantedProfile(name="open", ingress=(WantedRule(action="allow"),), egress=(WantedRule(action="allow"),))
NUMBERS = {"a": 1, "b": 2, "c": 3}


def mac(name: str) -> str:
    return f"fa:16:3e:00:00:0{NUMBERS[name]}"


def key(name: str) -> EndpointKey:
    return EndpointKey("openstack", "h", "openstack", "vm", name)


def endpoint(name: str, *pairs: str) -> WantedEndpoint:
    own = (f"10.0.0.{NUMBERS[name]}", f"2001:db8::{NUMBERS[name]}")
    return WantedEndpoint(
        key=key(name),
        interface=f"tap{name}",
        mac=mac(name),
        addresses=tuple(host_net(text) for text in (*own, *pairs)),
        allowed_pairs=tuple(host_net(text) for text in pairs),
        profiles=("open",),
    )


def wanted(*endpoints: WantedEndpoint) -> Changes:
    return Changes(profiles={"open": OPEN}, endpoints={one.key: one for one in endpoints})


def holders() -> list[set[str]]:
    """Who has the virtual addresses, by the kernel's routes: IPv4, IPv6."""
    found = []
    for version, address in ((4, VIP4), (6, VIP6)):
        shown = json.loads(ip("-json", f"-{version}", "route", "show", "exact", address) or "[]")
        found.append({route["dev"] for route in shown})
    return found


def only(name: str) -> list[set[str]]:
    return [{f"tap{name}"}, {f"tap{name}"}]


def carries(interface: str) -> bool:
    return "state UP" in ip("link", "show", interface)


def has(stage: Stage, name: str) -> bool:
    """Whether that guest has both addresses after one more step."""
    stage.step()
    return holders() == only(name)


def claim(guest: Guest) -> None:
    send(guest.name, gratuitous_arp(guest.mac, VIP4))
    send(guest.name, advertisement(guest.mac, VIP6))


@pytest.fixture
def stages(namespace: None) -> Iterator[Callable[[], Stage]]:
    made: list[Stage] = []

    def start() -> Stage:
        if made:
            made.pop().dataplane.close()
        made.append(Stage())
        return made[0]

    yield start
    for one in made:
        one.dataplane.close()


@pytest.fixture
def guests(guest: Callable[..., Guest]) -> dict[str, Guest]:
    """Three, each with its own addresses; their way out leads over the host."""
    made = {}
    for name, number in NUMBERS.items():
        one = made[name] = guest(f"tap{name}", mac(name), f"10.0.0.{number}/32", f"2001:db8::{number}/128")
        ip("address", "add", "fe80::1/64", "dev", one.tap, "nodad")
        # The whole subnet is on the link, as the guest sees it: the host's proxy ARP answers for the others.
        ip("-n", one.name, "route", "add", "10.0.0.0/24", "dev", "eth0")
        ip("-n", one.name, "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
        eventually(partial(carries, one.tap), "the tap carries")
    return made


def takes(guest: Guest, verb: str = "add") -> None:
    """The guest configures the virtual addresses, as keepalived's master does."""
    ip("-n", guest.name, "address", verb, f"{VIP4}/32", "dev", "eth0")
    ip("-n", guest.name, "address", verb, f"{VIP6}/128", "dev", "eth0", *(["nodad"] if verb == "add" else []))


@pytest.mark.conformance("R3")
def test_before_any_claim_the_newest_has_it_and_the_other_takes_over(
    stages: Callable[[], Stage], guests: dict[str, Guest]
) -> None:
    stage = stages()
    stage.step(wanted(endpoint("b", *VIPS), endpoint("a", *VIPS)))
    assert holders() == only("b")

    stage.step(wanted(endpoint("b")))
    assert holders() == only("a")
    stage.step(wanted(endpoint("b", *VIPS)))
    assert holders() == only("b")

    stage.step(wanted(endpoint("a")))
    assert holders() == only("b")
    stage.step(wanted(endpoint("a", *VIPS)))
    assert holders() == only("b")
    ip("link", "set", "tapa", "down")
    stage.step()
    assert holders() == only("b")
    ip("link", "set", "tapa", "up")
    ip("link", "set", "tapb", "down")
    eventually(lambda: stage.step() and holders() == only("a"), "the other takes over")


@pytest.mark.conformance("R3")
def test_the_address_follows_the_last_claim_to_and_fro_and_is_reached_where_it_is(
    stages: Callable[[], Stage], guests: dict[str, Guest]
) -> None:
    stage = stages()
    stage.step(wanted(endpoint("a", *VIPS), endpoint("b", *VIPS), endpoint("c")))
    stage.settle()
    for master, backup in (("a", "b"), ("b", "a"), ("a", "b")):
        takes(guests[master])
        claim(guests[master])
        eventually(partial(has, stage, master), f"{master} has it")
        stage.settle()

        for vip in VIPS:
            eventually(partial(guests["c"].pings, vip), f"a third guest reaches {vip}")
            eventually(partial(guests[backup].pings, vip), f"the backup reaches {vip}")
            permanent = ip("neighbour", "show", vip, "dev", f"tap{master}", "nud", "permanent")
            assert mac(master) in permanent
        takes(guests[master], "del")


@pytest.mark.conformance("R3")
def test_a_claim_outlives_newer_taps_the_backups_end_and_restarts(
    stages: Callable[[], Stage], guests: dict[str, Guest]
) -> None:
    stage = stages()
    stage.step(wanted(endpoint("a", *VIPS), endpoint("b", *VIPS)))
    claim(guests["a"])
    eventually(lambda: stage.step() and holders() == only("a"), "a has it")

    stage.step(wanted(endpoint("c", *VIPS)))
    assert holders() == only("a")
    stage.step(Changes(endpoints_removed={key("b")}))
    assert holders() == only("a")

    stage = stages()
    report = stage.step(wanted(endpoint("a", *VIPS), endpoint("c", *VIPS)))
    assert holders() == only("a")
    assert report.operations["routes"] == 0

    claim(guests["c"])
    eventually(lambda: stage.step() and holders() == only("c"), "the new process listens")
    stage.step(Changes(endpoints_removed={key("c")}))
    assert holders() == only("a")


@pytest.mark.conformance("R3")
@pytest.mark.parametrize("restart", [False, True])
def test_a_backup_that_boots_later_does_not_take_what_the_master_has_claimed(
    stages: Callable[[], Stage], guests: dict[str, Guest], restart: bool
) -> None:
    stage = stages()
    stage.step(wanted(endpoint("a", *VIPS)))
    claim(guests["a"])
    eventually(lambda: stage.step() and packet_sockets() == set(), "both claims are known")

    if restart:
        stage = stages()
        stage.step(wanted(endpoint("a", *VIPS)))
    stage.step(wanted(endpoint("b", *VIPS)))
    assert holders() == only("a")

    claim(guests["b"])
    eventually(lambda: stage.step() and holders() == only("b"), "its own claim counts")


@pytest.mark.conformance("R3")
def test_other_settings_do_not_take_a_claimed_address_away(
    stages: Callable[[], Stage], guests: dict[str, Guest]
) -> None:
    stage = stages()
    stage.step(wanted(endpoint("a", *VIPS), endpoint("b", *VIPS)))
    claim(guests["a"])
    eventually(lambda: stage.step() and holders() == only("a"), "a has it")

    settings = stage.dataplane.settings
    stage.dataplane.use(type(settings)(host=HostRules(metric4=900, metric6=900)))
    stage.step()

    assert holders() == only("a")
    assert "metric 900" in ip("route", "show", "exact", VIP4)


def test_who_does_not_have_the_address_or_pretends_to_be_another_claims_nothing(
    stages: Callable[[], Stage], guests: dict[str, Guest]
) -> None:
    stage = stages()
    stage.step(wanted(endpoint("a", *VIPS), endpoint("b", *VIPS), endpoint("c")))
    assert holders() == only("b")

    claim(guests["c"])
    send(guests["a"].name, gratuitous_arp(mac("b"), VIP4))
    send(guests["a"].name, advertisement(mac("b"), VIP6))
    send(guests["a"].name, advertisement(mac("a"), VIP6, flags=0x60))
    send(guests["a"].name, gratuitous_arp(mac("a"), "10.0.0.2"))
    stage.settle()
    assert holders() == only("b")
    assert "tapb" in ip("route", "show", "exact", "10.0.0.2")

    claim(guests["a"])
    eventually(lambda: stage.step() and holders() == only("a"), "its own claim counts")


def test_nobody_is_listened_to_without_need(stages: Callable[[], Stage], guests: dict[str, Guest]) -> None:
    """The one that has the address repeats its claim every few seconds; that must not wake anybody."""
    stage = stages()
    stage.step(wanted(endpoint("a", *VIPS), endpoint("b", *VIPS), endpoint("c")))
    assert packet_sockets() == {"tapa", "tapb"}

    claim(guests["a"])
    eventually(lambda: stage.step() and holders() == only("a"), "a has it")
    assert packet_sockets() == {"tapb"}

    stage.step(wanted(endpoint("b")))
    assert packet_sockets() == set()


def test_guests_that_claim_in_turns_are_heard_at_a_pace(stages: Callable[[], Stage], guests: dict[str, Guest]) -> None:
    stage = stages()
    stage.step(wanted(endpoint("a", *VIPS), endpoint("b", *VIPS)))
    claim(guests["a"])
    eventually(lambda: stage.step() and holders() == only("a"), "a has it")

    for _ in range(50):
        claim(guests["b"])
    assert not speaks(stage)
    report = stage.step()
    assert holders() == only("a")
    assert report.wake_at is not None

    stage.step(seconds=PAUSE)
    assert speaks(stage)
    stage.step()
    assert holders() == only("b")


def speaks(stage: Stage) -> bool:
    return bool(select.select(stage.dataplane.arrivals.filenos(), [], [], 0)[0])


def packet_sockets() -> set[str]:
    """The interfaces on which somebody captures in this namespace."""
    with open("/proc/thread-self/net/packet") as file:
        indexes = {line.split()[4] for line in file.readlines()[1:]}
    names = {str(link["ifindex"]): link["ifname"] for link in json.loads(ip("-json", "link"))}
    return {names[index] for index in indexes if index in names}


def test_flows_of_an_address_that_changes_hands_end(stages: Callable[[], Stage], guests: dict[str, Guest]) -> None:
    stage = stages()
    stage.step(wanted(endpoint("a", *VIPS), endpoint("b", *VIPS), endpoint("c")))
    takes(guests["b"])
    stage.settle()
    eventually(lambda: guests["c"].pings(VIP4), "c reaches it at b")
    eventually(lambda: guests["c"].pings(VIP6), "c reaches it at b")
    assert tracked() == {VIP4, VIP6}

    claim(guests["a"])
    eventually(lambda: stage.step() and holders() == only("a"), "a has it")

    assert tracked() == set()


def tracked() -> set[str]:
    found = set()
    for family, address in (("ipv4", VIP4), ("ipv6", VIP6)):
        shown = subprocess.run(["conntrack", "-L", "-f", family, "-d", address], capture_output=True, text=True)
        if f"dst={address}" in shown.stdout:
            found.add(address)
    return found
