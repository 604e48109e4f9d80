"""A host on which the upstream Felix worked: ours takes over, and nothing of the host's own is touched."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from calico_openstack.felix.dataplane import Dataplane, DataplaneSettings
from calico_openstack.felix.kernel import legacy_tables
from calico_openstack.felix.kernel.access import KernelAccess
from calico_openstack.felix.kernel.others import Others
from calico_openstack.felix.kernel.upstream_remains import Limits, remove_from_nft
from calico_openstack.felix.switchover import UPSTREAM
from calico_openstack.felix.upstream import Leftovers
from calico_openstack.model.endpoint import QosControls
from calico_openstack.testing.compute_host import eventually, ip
from calico_openstack.testing.guests import Guest, endpoint, two_guests
from calico_openstack.testing.stage import Stage
from calico_openstack.testing.upstream_host import (
    PROGRAMS,
    add_upstream,
    add_upstream_tables,
    allowed,
    build,
    run,
    saved,
)

pytestmark = pytest.mark.root


@pytest.fixture
def guests(namespace: None) -> Iterator[tuple[Guest, Guest]]:
    with two_guests() as both:
        yield both


@pytest.fixture
def stage(guests: tuple[Guest, Guest]) -> Iterator[Stage]:
    made = Stage()
    yield made
    made.dataplane.close()


@pytest.mark.conformance("K4", "K5")
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_upstream_left_goes_and_what_is_the_host_s_own_stays(
    stage: Stage, guests: tuple[Guest, Guest], program: str
) -> None:
    taps = tuple(guest.tap for guest in guests)
    shown = build(program)
    before = shown()
    add_upstream(program, taps)
    assert "cali-FORWARD" in shown()[0]
    assert "cali-FORWARD" in shown()[1]

    report = stage.step(allowed(guests))

    assert report.operations["upstream"] > 20
    assert shown() == before
    eventually(lambda: not any(stage.step(seconds=70).operations.values()), "nothing left to do")
    assert sorted(run("ipset", "list", "-n").split()) == ["mine"]
    assert not stage.dataplane.ledgers()["switch-over"]
    run("nft", "add", "table", "inet", "another")
    stage.step(seconds=20)
    assert stage.dataplane.surroundings.obstacles == ()


@pytest.mark.conformance("K5")
def test_an_upstream_felix_that_runs_on_is_named_and_not_fought(
    stage: Stage,
    guests: tuple[Guest, Guest],
) -> None:
    taps = tuple(guest.tap for guest in guests)
    stage.step(allowed(guests))
    add_upstream("iptables-nft", taps, sets=False)

    eventually(lambda: stage.step(seconds=20) and stage.dataplane.surroundings.obstacles, "noticed")

    (told,) = stage.dataplane.surroundings.obstacles
    assert "the upstream Felix works on this host, too" in told.why
    assert "cali-FORWARD" in saved("iptables-nft")


@pytest.mark.conformance("K5")
def test_upstream_s_own_tables_of_nft_go_and_those_of_others_stay(stage: Stage, guests: tuple[Guest, Guest]) -> None:
    for family in ("ip", "ip6"):
        mine = "chain cali-mine { accept; }; chain forward { type filter hook forward priority 5; jump cali-mine; };"
        run("nft", "-f", "-", text=f"table {family} mine {{ {mine} }}")
    add_upstream_tables(tuple(guest.tap for guest in guests))
    run("nft", "-f", "-", text="table inet calico-else { chain a { accept; }; }")
    others = {name: run("nft", "list", "table", *name.split()) for name in ("ip mine", "ip6 mine", "inet calico-else")}

    stage.step(allowed(guests))

    tables = set(run("nft", "list", "tables").splitlines())
    assert tables == {f"table {name}" for name in (*others, "inet calico", "arp calico")}
    assert {name: run("nft", "list", "table", *name.split()) for name in others} == others


def limit_as_upstream() -> None:
    """Its bandwidth limits of `tapone`, in both directions (felix/dataplane/linux/qos)."""
    run("ip", "link", "add", "bwcali0123456", "type", "ifb")
    run("ip", "link", "set", "bwcali0123456", "up")
    match, action = "match u32 0 0", "action mirred egress redirect dev bwcali0123456"
    for what in (
        "qdisc add dev bwcali0123456 root handle 1: tbf rate 1mbit burst 32k latency 25ms",
        "qdisc add dev tapone root handle 1: tbf rate 1mbit burst 32k latency 25ms",
        "qdisc add dev tapone ingress",
        f"filter add dev tapone parent ffff: protocol all prio 1 u32 {match} {action}",
    ):
        run("tc", *what.split())


@pytest.mark.parametrize("wanted", [False, True], ids=["unlimited", "limited"])
def test_upstream_s_limits_give_way_to_ours_or_to_none(stage: Stage, guests: tuple[Guest, Guest], wanted: bool) -> None:
    limit_as_upstream()
    run("ip", "link", "add", "ifb-mine", "type", "ifb")
    changes = allowed(guests)
    if wanted:
        qos = QosControls(ingress_bandwidth=8_000_000, egress_bandwidth=8_000_000)
        limited = endpoint(guests[0], qos=qos)
        changes.endpoints[limited.key] = limited

    stage.step(changes)

    links = {link["ifname"] for link in json.loads(ip("-json", "link", "show"))}
    assert "bwcali0123456" not in links
    assert "ifb-mine" in links
    filters = run("tc", "filter", "show", "dev", "tapone", "ingress")
    buckets = re.findall(r"qdisc tbf (\w+): ", run("tc", "qdisc", "show", "dev", "tapone"))
    assert (("pref 51740" in filters), buckets) == ((True, ["ca1c"]) if wanted else (False, []))
    assert "pref 1 " not in filters
    assert ("cifb" in " ".join(links)) is wanted
    assert guests[0].reaches("10.65.0.2")


@pytest.mark.conformance("K11")
def test_a_clean_host_gets_our_tables_and_no_old_ones(
    stage: Stage, guests: tuple[Guest, Guest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forked(*_: object, **__: object) -> None:
        raise AssertionError("nothing is to be started on a clean host")

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", forked)
        report = stage.step(allowed(guests))

    assert report.operations["upstream"] == 0
    assert run("nft", "list", "tables").splitlines() == ["table inet calico", "table arp calico"]
    assert "map egress" in run("nft", "list", "table", "inet", "calico")
    with open("/proc/thread-self/net/ip_tables_names") as names:
        assert names.read() == ""


def test_a_chain_that_would_cut_guests_off_keeps_upstream_s_rules_until_that_is_cured(
    stage: Stage, guests: tuple[Guest, Guest]
) -> None:
    one, _ = guests
    taps = tuple(guest.tap for guest in guests)
    build("iptables-nft")
    run("iptables-nft", "-P", "FORWARD", "DROP")
    add_upstream("iptables-nft", taps)

    stage.step(allowed(guests))
    stage.step(seconds=70)

    assert one.reaches("10.65.0.2")
    failure = stage.dataplane.ledgers()["switch-over"].get(UPSTREAM)
    assert failure is not None
    assert "chain FORWARD of table ip filter: its policy is drop" in failure.reason
    cure = re.search(r"iptables -A FORWARD -i tap\+ -j ACCEPT; iptables -A FORWARD -o tap\+ -j ACCEPT", failure.reason)
    assert cure

    for command in cure.group().split("; "):
        run(*command.replace("iptables", "iptables-nft").split())
    eventually(lambda: not any(stage.step(seconds=70).operations.values()), "nothing left to do")

    assert "cali-" not in saved("iptables-nft")
    assert one.reaches("10.65.0.2")
    assert not stage.dataplane.ledgers()["switch-over"]


def test_upstream_s_rules_can_be_left_alone(guests: tuple[Guest, Guest]) -> None:
    taps = tuple(guest.tap for guest in guests)
    shown = build("iptables-nft")
    add_upstream("iptables-nft", taps)
    before = shown()
    stage = Stage(DataplaneSettings(remove_upstream_rules=False))

    stage.step(allowed(guests))
    stage.step(seconds=70)
    stage.dataplane.close()

    assert shown() == before


class Mortal(Others):
    """Is killed right after the operation with this number."""

    def __init__(self, kill_at: int) -> None:
        super().__init__()
        self._left = kill_at

    def _did(self, result: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise Killed
        return result

    def remove_rules(self, leftovers: Leftovers) -> int:
        netfilter = self._did(remove_from_nft(self._netfilter, leftovers))
        return int(self._did(netfilter + legacy_tables.remove(leftovers)))

    def remove_limits(self, limits: Limits) -> int:
        return int(self._did(super().remove_limits(limits)))

    def remove_sets(self, names: list[str], seconds: float) -> dict[str, str]:
        return dict(self._did(super().remove_sets(names[:1], seconds)))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("kill_at", range(4))
def test_a_take_over_that_is_killed_is_finished_by_the_next_process(guests: tuple[Guest, Guest], kill_at: int) -> None:
    taps = tuple(guest.tap for guest in guests)
    shown = {program: build(program, sets=program == "iptables-nft") for program in PROGRAMS}
    before = {program: there() for program, there in shown.items()}
    for program in PROGRAMS:
        add_upstream(program, taps)
    access = KernelAccess.open()
    access.others = Mortal(kill_at)
    dataplane = Dataplane(DataplaneSettings(), kernel=access)
    with pytest.raises(Killed):
        dataplane.step(allowed(guests), 1000.0)
    dataplane.close()
    assert not guests[1].pings("10.65.0.1")
    assert guests[0].reaches("10.65.0.2")

    stage = Stage()
    stage.step(allowed(guests))
    eventually(lambda: not any(stage.step(seconds=70).operations.values()), "nothing left to do")

    assert {program: there() for program, there in shown.items()} == before
    assert run("ipset", "list", "-n").split() == ["mine"]
    assert guests[0].reaches("10.65.0.2")
    stage.dataplane.close()
