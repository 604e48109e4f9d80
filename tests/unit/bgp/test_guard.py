from __future__ import annotations

from calico_openstack.bgp.guard import Guard

FOUR = ["a", "b", "c", "d"]


def test_small_losses_pass_and_large_ones_wait_for_a_second_reading() -> None:
    guard = Guard(pause=10)

    assert not guard.holds(FOUR, ["a", "b", "x"], now=0)
    assert guard.holds(FOUR, ["a"], now=0)
    assert guard.wake_at() == 10
    assert guard.holds(FOUR, ["a"], now=5, confirmed=True)
    assert not guard.holds(FOUR, ["a"], now=10, confirmed=True)
    assert guard.wake_at() is None


def test_a_loss_that_heals_meanwhile_is_forgotten() -> None:
    guard = Guard(pause=10)

    assert guard.holds(FOUR, [], now=0)
    assert not guard.holds(FOUR, FOUR, now=5)
    assert guard.wake_at() is None


def test_a_second_reading_that_fails_means_another_pause() -> None:
    guard = Guard(pause=10)

    assert guard.holds(FOUR, [], now=0)
    assert guard.holds(FOUR, [], now=10)
    assert guard.wake_at() == 20


def test_replacing_all_sessions_is_a_loss_too() -> None:
    assert Guard().holds(FOUR, ["e", "f", "g", "h"], now=0)


def test_nothing_to_lose_and_no_pause_never_wait() -> None:
    assert not Guard().holds([], [], now=0)
    assert not Guard().holds([], ["a"], now=0)
    assert not Guard(pause=0).holds(FOUR, [], now=0)
