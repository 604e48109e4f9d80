"""The reconciler over a pretended kernel: differences only, failures alone, nothing lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from calico_openstack.daemon.health import Health
from calico_openstack.daemon.reconcile import ApplyLoop, Changes, Reconciler, Report, diff
from calico_openstack.daemon.retry import Retries
from calico_openstack.model.net import Net, parse_net


class Key(NamedTuple):
    ifindex: int
    destination: Net


class Kernel:
    """A target in memory; keys in `refused` fail, `broken` makes every call raise."""

    name = "kernel"

    def __init__(self, **objects: int) -> None:
        self.objects = dict(objects)
        self.refused: set[str] = set()
        self.broken = False
        self.log: list[str] = []

    def read(self) -> Mapping[str, int]:
        if self.broken:
            raise OSError("no such device")
        self.log.append("read")
        return self.objects

    def apply(self, changes: Changes[str, int]) -> Mapping[str, str]:
        if self.broken:
            raise OSError("no such device")
        for key, value in changes.puts.items():
            self.log.append(f"put {key}")
            if key not in self.refused:
                self.objects[key] = value
        for key in changes.deletes:
            self.log.append(f"delete {key}")
            if key not in self.refused:
                self.objects.pop(key, None)
        return {key: "refused" for key in (*changes.puts, *changes.deletes) if key in self.refused}


async def until(state: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not state():  # noqa: ASYNC110 - the state is set by a thread that knows nothing of events
            await asyncio.sleep(0.01)


def test_nothing_is_touched_that_is_right_already() -> None:
    kernel = Kernel(a=1, b=2)
    reconciler = Reconciler(kernel)
    reconciler.want_all({"a": 1, "b": 2})

    assert reconciler.step(0) == Report(operations=0, failed=0, read=True)
    assert kernel.log == ["read"]
    assert reconciler.settled


def test_a_start_removes_what_nobody_wants_and_mends_what_differs() -> None:
    kernel = Kernel(a=1, b=2, left_over=3)
    reconciler = Reconciler(kernel)
    reconciler.want_all({"a": 1, "b": 9})
    reconciler.step(0)

    assert kernel.objects == {"a": 1, "b": 9}
    assert kernel.log == ["read", "put b", "delete left_over"]


def test_a_change_costs_one_operation_and_no_reading() -> None:
    kernel = Kernel()
    reconciler = Reconciler(kernel)
    reconciler.want_all({str(number): number for number in range(1000)})
    reconciler.step(0)
    kernel.log.clear()

    reconciler.want("7", 70)
    reconciler.want("8", None)
    reconciler.want("9", 9)

    assert reconciler.step(1) == Report(operations=2, failed=0, read=False)
    assert kernel.log == ["put 7", "delete 8"]


def test_a_wish_taken_back_before_the_step_costs_nothing() -> None:
    kernel = Kernel(a=1)
    reconciler = Reconciler(kernel)
    reconciler.want_all({"a": 1})
    reconciler.step(0)
    reconciler.want("a", 2)
    reconciler.want("a", 1)
    reconciler.want("b", 1)
    reconciler.want("b", None)

    assert reconciler.step(1).operations == 0


def test_a_failing_object_waits_alone_for_longer_each_time_and_says_since_when() -> None:
    kernel = Kernel()
    kernel.refused = {"bad"}
    reconciler = Reconciler(kernel, failures=Retries(shortest=1, longest=8))
    reconciler.want_all({"bad": 1, "good": 1})
    reconciler.step(0)
    assert (kernel.objects, reconciler.settled, reconciler.wake_at()) == ({"good": 1}, False, 1)

    kernel.log.clear()
    for now in (0.5, 1, 2, 3):
        reconciler.step(now)

    assert kernel.log == ["put bad", "put bad"]
    failure = reconciler.failures.get("bad")
    assert failure is not None
    assert (failure.since, failure.reason, failure.due) == (0, "refused", 7)

    kernel.refused.clear()
    reconciler.step(7)
    assert kernel.objects == {"good": 1, "bad": 1}
    assert reconciler.settled


def test_a_deletion_that_failed_is_tried_again() -> None:
    kernel = Kernel(a=1)
    kernel.refused = {"a"}
    reconciler = Reconciler(kernel)
    reconciler.step(0)
    assert kernel.objects == {"a": 1}

    kernel.refused.clear()
    reconciler.step(1)

    assert kernel.objects == {}
    assert reconciler.settled


def test_a_target_that_raises_is_read_anew_when_its_pause_is_over() -> None:
    kernel = Kernel()
    reconciler = Reconciler(kernel)
    reconciler.want_all({"a": 1})
    reconciler.step(0)
    kernel.broken = True
    reconciler.want("b", 1)
    assert reconciler.step(10).failed == 1
    # Half of it may have been done; and somebody changed the rest.
    kernel.broken = False
    kernel.objects = {"a": 5}
    assert reconciler.step(10.5) == Report()

    reconciler.step(11)

    assert kernel.objects == {"a": 1, "b": 1}
    assert reconciler.settled


def test_a_drift_is_found_by_reading_and_mended() -> None:
    kernel = Kernel()
    reconciler = Reconciler(kernel)
    reconciler.want_all({"a": 1})
    reconciler.step(0)
    kernel.objects["a"] = 2

    assert reconciler.step(1).operations == 0
    reconciler.drifted()
    assert reconciler.step(2) == Report(operations=1, failed=0, read=True)
    assert kernel.objects == {"a": 1}


def test_a_failure_that_somebody_else_mended_is_forgotten() -> None:
    kernel = Kernel()
    kernel.refused = {"a"}
    reconciler = Reconciler(kernel)
    reconciler.want_all({"a": 1})
    reconciler.step(0)
    kernel.objects["a"] = 1
    reconciler.drifted()

    reconciler.step(0.1)

    assert reconciler.settled


OBJECTS = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 3))


@settings(deadline=None)
@given(OBJECTS, OBJECTS)
def test_applying_a_difference_gives_what_is_wanted_and_then_there_is_none(
    wanted: dict[str, int], actual: dict[str, int]
) -> None:
    kernel = Kernel(**actual)
    kernel.apply(diff(wanted, actual))

    assert kernel.objects == wanted
    assert not diff(wanted, kernel.objects)


@settings(deadline=None)
@given(
    OBJECTS, st.lists(st.tuples(st.sampled_from("abcde"), st.none() | st.integers(0, 3), st.booleans()), max_size=30)
)
def test_whatever_fails_on_the_way_the_end_is_what_is_wanted(
    start: dict[str, int], steps: list[tuple[str, int | None, bool]]
) -> None:
    kernel = Kernel(**start)
    reconciler = Reconciler(kernel)
    wanted: dict[str, int] = {}
    now = 0.0
    for key, value, refuse in steps:
        kernel.refused = {key} if refuse else set()
        reconciler.want(key, value)
        wanted = {name: number for name, number in {**wanted, key: value}.items() if number is not None}
        reconciler.step(now)
        now += 0.3
    kernel.refused = set()
    for _ in range(3):
        now += 100
        reconciler.step(now)

    assert kernel.objects == wanted
    assert reconciler.settled


def test_the_loop_applies_wishes_beats_and_answers_those_who_wait() -> None:
    async def use() -> None:
        kernel = Kernel(old=1)
        reconciler = Reconciler(kernel)
        health = Health()
        part = health.register("apply-loop", timeout=90)
        part.last_beat = -1000.0
        loop = ApplyLoop([reconciler], health)
        await loop.wish([(reconciler, {"a": 1, "b": 2})], revision=7)
        assert kernel.log == []
        task = asyncio.create_task(loop.run())

        await asyncio.wait_for(loop.wait_until(7), 10)

        assert kernel.objects == {"a": 1, "b": 2}
        assert loop.applied == 7
        assert health.live
        await loop.wish([(reconciler, {"b": None})], revision=8)
        await asyncio.wait_for(loop.wait_until(8), 10)
        assert kernel.objects == {"a": 1}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(use())


def test_a_loop_whose_target_is_stuck_does_not_beat() -> None:
    async def use() -> None:
        release = threading.Event()

        class Stuck(Kernel):
            def read(self) -> Mapping[str, int]:
                release.wait(10)
                return super().read()

        health = Health()
        part = health.register("apply-loop", timeout=90)
        part.last_beat = -1000.0
        loop = ApplyLoop([Reconciler(Stuck())], health)
        task = asyncio.create_task(loop.run())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not health.live

        release.set()
        await asyncio.wait_for(loop.wait_until(0), 10)
        await until(lambda: health.live)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(use())


def test_a_wish_is_not_reported_as_applied_while_the_target_is_in_trouble() -> None:
    async def use() -> None:
        kernel = Kernel()
        kernel.broken = True
        reconciler = Reconciler(kernel, trouble=Retries(shortest=0.01, longest=0.01))
        health = Health()
        health.register("apply-loop", timeout=90)
        loop = ApplyLoop([reconciler], health)
        await loop.wish([(reconciler, {"a": 1})], revision=3)
        task = asyncio.create_task(loop.run())
        await until(lambda: bool(reconciler.trouble))
        assert loop.applied == 0

        kernel.broken = False
        await asyncio.wait_for(loop.wait_until(3), 10)
        assert kernel.objects == {"a": 1}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(use())


def test_the_log_names_what_failed_as_people_write_it() -> None:
    """A route's key holds networks, whose numbers nobody can read."""

    class Refusing:
        name = "routes"

        def read(self) -> Mapping[Key, int]:
            return {}

        def apply(self, changes: Changes[Key, int]) -> Mapping[Key, str]:
            return dict.fromkeys(changes.puts, "refused")

    reconciler = Reconciler(Refusing(), Retries())
    reconciler.want(Key(7, parse_net("10.65.0.1/32")), 1)

    with structlog.testing.capture_logs() as lines:
        reconciler.step(0.0)

    assert [line["key"] for line in lines if line["event"] == "object.failed"] == ["ifindex=7 destination=10.65.0.1/32"]
