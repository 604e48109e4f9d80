"""When what upstream left is removed, in which order, and what happens when that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from calico_openstack.felix.foreign import ForeignChain, ForeignRule, ForeignTable, Place
from calico_openstack.felix.kernel.others import Others
from calico_openstack.felix.kernel.upstream_remains import Limits
from calico_openstack.felix.surroundings import PAUSE, Surroundings
from calico_openstack.felix.switchover import UPSTREAM, SwitchOver
from calico_openstack.felix.upstream import Leftovers

FORWARD = Place("nft", "ip", "filter", "FORWARD")
JUMP = ForeignRule("7", "jump", "cali-FORWARD")
CHAINS = [ForeignChain(FORWARD, (JUMP,), "forward"), ForeignChain(FORWARD._replace(chain="cali-FORWARD"))]


NONE = Limits()


class Written:
    """A kernel with what it is told to have; `done` lists what was done to it."""

    def __init__(self, chains: list[ForeignChain], limits: Limits = NONE, sets: tuple[str, ...] = ()) -> None:
        self.chains = chains
        self.limits = limits
        self.sets = list(sets)
        self.done: list[str] = []
        self.failing: dict[str, str] = {}
        self.busy = False

    def _may(self, what: str) -> None:
        if what in self.failing:
            raise OSError(16, self.failing[what])

    def tables(self, whole: bool = False) -> tuple[list[ForeignTable], list[ForeignChain]]:
        self._may("tables")
        return [ForeignTable("ip", "filter")], self.chains

    def legacy_chains(self, whole: bool = False) -> list[ForeignChain]:
        self._may("legacy")
        return []

    def upstream_sets(self) -> list[str]:
        return self.sets

    def upstream_limits(self, is_tap: Callable[[str], bool]) -> Limits:
        return self.limits

    def remove_rules(self, leftovers: Leftovers) -> int:
        self._may("rules")
        self.done.append("rules")
        self.chains = [ForeignChain(FORWARD, (), "forward")]
        return 3

    def remove_limits(self, limits: Limits) -> int:
        self._may("limits")
        self.done.append("limits")
        self.limits = Limits()
        return 1

    def remove_sets(self, names: list[str], seconds: float) -> dict[str, str]:
        self.done.append("sets")
        if self.busy:
            return dict.fromkeys(names, "in use by rules")
        self.sets = []
        return {}


class Bench:
    """A take-over and its surroundings; `in_place` is what reading back our own firewall says."""

    def __init__(self, written: Written) -> None:
        self.written = written
        self.in_place = True
        self.surroundings = Surroundings(cast(Others, written), ["tap"], lambda: True)
        self.switchover = SwitchOver(
            cast(Others, written), self.surroundings, lambda name: name.startswith("tap"), lambda: self.in_place
        )

    def step(self, now: float) -> int:
        return self.switchover.step(now)

    @property
    def reason(self) -> str:
        failure = self.switchover.failures.get(UPSTREAM)
        return failure.reason if failure is not None else ""


@pytest.fixture
def bench() -> Bench:
    return Bench(Written(CHAINS, Limits(devices=(9,)), ("cali40a",)))


def test_rules_go_first_then_limits_then_sets_and_that_once(bench: Bench) -> None:
    assert bench.step(0.0) == 5
    assert bench.written.done == ["rules", "limits", "sets"]

    bench.written.chains = CHAINS
    assert bench.step(100.0) == 0
    assert bench.written.done == ["rules", "limits", "sets"]


def test_nothing_goes_before_ours_is_read_back(bench: Bench) -> None:
    bench.in_place = False
    assert bench.step(0.0) == 0
    assert (bench.written.done, bench.reason) == ([], "our own firewall is not in place")

    bench.in_place = True
    assert bench.step(0.5) == 0
    assert bench.step(2.0) == 5
    assert bench.reason == ""


def test_on_a_host_without_leftovers_our_own_is_not_even_read_back() -> None:
    bench = Bench(Written([ForeignChain(FORWARD, (), "forward")]))
    bench.in_place = False

    assert bench.step(0.0) == 0
    assert bench.reason == ""


def test_a_chain_that_would_cut_guests_off_holds_everything(bench: Bench) -> None:
    bench.written.chains = [CHAINS[0]._replace(accepts=False), CHAINS[1]]

    assert bench.step(0.0) == 0
    assert bench.written.done == []
    assert "guests would be cut off by chain FORWARD of table ip filter: its policy is drop" in bench.reason

    # Another chain that stops guests stops them with and without upstream.
    elsewhere = ForeignChain(FORWARD._replace(table="mine"), (), "forward", accepts=False)
    bench.written.chains = [*CHAINS, elsewhere]
    assert bench.step(100.0) == 5


def test_an_upstream_felix_that_serves_other_interfaces_keeps_its_rules(bench: Bench) -> None:
    dispatch = ForeignRule("8", "jump", "cali-from-wl-dispatch", into="cali*")
    bench.written.chains = [CHAINS[0], CHAINS[1]._replace(rules=(dispatch,))]

    assert bench.step(0.0) == 0
    assert (bench.written.done, bench.reason) == ([], "")
    bench.surroundings.step(0.0)
    assert bench.surroundings.obstacles == ()

    for into in ("tap*", "ta*", "tap1*"):
        other = Bench(Written([CHAINS[0], CHAINS[1]._replace(rules=(dispatch, dispatch._replace(into=into)))]))
        assert other.step(0.0) > 0


@pytest.mark.parametrize("part", ["tables", "legacy", "rules", "limits"])
def test_what_fails_is_tried_again_and_nothing_is_raised(bench: Bench, part: str) -> None:
    bench.written.failing = {part: "no iptables-legacy-save; install iptables"}
    assert bench.step(0.0) == 0
    assert "install iptables" in bench.reason
    before = list(bench.written.done)
    assert bench.step(0.1) == 0
    assert bench.written.done == before

    bench.written.failing = {}
    assert bench.step(2.0) > 0
    assert bench.reason == ""


def test_sets_that_are_still_in_use_are_waited_for_without_alarm(bench: Bench, capsys: Any) -> None:
    bench.written.busy = True
    assert bench.step(0.0) == 4
    assert bench.reason == "1 ipsets are left, ipset cali40a: in use by rules"

    bench.written.busy = False
    assert bench.step(2.0) > 0
    assert bench.written.sets == []
    assert "switchover.waits" not in capsys.readouterr().out


def test_what_cannot_be_read_is_told_once_and_read_later(capsys: Any) -> None:
    written = Written([ForeignChain(FORWARD, (), "forward", accepts=False)])
    written.failing = {"tables": "a time-out"}
    surroundings = Surroundings(cast(Others, written), ["tap"], lambda: True)

    surroundings.step(0.0)
    surroundings.step(PAUSE)
    assert surroundings.obstacles == ()
    assert capsys.readouterr().out.count("others.unread") == 1
    assert surroundings.wake_at() == 2 * PAUSE

    written.failing = {}
    surroundings.step(2 * PAUSE - 1)
    assert surroundings.obstacles == ()
    surroundings.step(2 * PAUSE)
    assert len(surroundings.obstacles) == 1
    assert surroundings.wake_at() is None


def test_without_a_door_to_others_nothing_is_done() -> None:
    surroundings = Surroundings(None, ["tap"], lambda: True)
    switchover = SwitchOver(None, surroundings, bool, lambda: True)

    surroundings.step(0.0)

    assert (switchover.step(0.0), switchover.wake_at(), surroundings.wake_at()) == (0, None, None)
