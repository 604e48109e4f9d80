from itertools import pairwise

from calico_openstack.dhcp.ra_timing import Schedule


def run(schedule: Schedule, start: float, end: float) -> list[float]:
    """Send whatever is due, whenever it is due; the times of "tapa"."""
    times, now = [], start
    while now <= end:
        for tap in schedule.due(now):
            schedule.sent(tap, now)
            times += [now] if tap == "tapa" else []
        wake = schedule.wake_at()
        assert wake is not None
        assert wake > now
        now = wake
    return times


def test_a_new_tap_hears_three_quick_ones_and_then_one_in_every_interval() -> None:
    schedule = Schedule()
    schedule.announce("tapa", 100)

    times = run(schedule, 100, 5000)

    assert times[:3] == [100, 104, 116]
    gaps = [later - earlier for earlier, later in pairwise(times[2:])]
    assert len(gaps) >= 8
    assert all(200 <= gap <= 600 for gap in gaps)
    assert len(set(gaps)) > 1


def test_all_taps_are_served_each_in_its_own_rhythm() -> None:
    schedule = Schedule()
    for tap in ("tapa", "tapb", "tapc"):
        schedule.announce(tap, 0)

    assert schedule.due(0) == ["tapa", "tapb", "tapc"]


def test_a_question_is_answered_at_once_but_not_within_three_seconds_of_the_last_answer() -> None:
    schedule = Schedule()
    schedule.announce("tapa", 0)
    run(schedule, 0, 20)

    schedule.solicited("tapa", 50)
    assert schedule.due(50) == ["tapa"]
    schedule.sent("tapa", 50)
    for now in (50.1, 51, 52):
        schedule.solicited("tapa", now)
        assert schedule.due(now) == []

    assert schedule.wake_at() == 53


def test_a_change_is_told_quickly_and_three_times() -> None:
    schedule = Schedule()
    schedule.announce("tapa", 0)
    run(schedule, 0, 300)

    schedule.announce("tapa", 5000)

    assert run(schedule, 5000, 5020) == [5000, 5004, 5016]


def test_what_cannot_be_sent_is_tried_again_in_a_second() -> None:
    schedule = Schedule()
    schedule.announce("tapa", 0)

    schedule.failed("tapa", 0)

    assert schedule.due(0.9) == []
    assert schedule.due(1.0) == ["tapa"]


def test_a_tap_that_is_gone_is_not_served_and_a_strange_one_never_was() -> None:
    schedule = Schedule()
    schedule.announce("tapa", 0)

    schedule.forget("tapa")
    schedule.solicited("tapa", 1)

    assert schedule.due(10) == []
    assert schedule.wake_at() is None
