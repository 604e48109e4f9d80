from calico_openstack.daemon.retry import Retries


def test_a_key_that_keeps_failing_waits_longer_each_time_up_to_the_longest() -> None:
    retries = Retries[str](shortest=1, longest=4)

    pauses = [retries.failed("tap1", "busy", now).pause for now in (0, 10, 20, 30)]

    assert pauses == [1, 2, 4, 4]
    assert retries.wake_at() == 34


def test_since_is_the_first_failure_and_the_reason_the_last() -> None:
    retries = Retries[str]()
    retries.failed("tap1", "no such device", 5)
    retries.failed("tap1", "busy", 9)

    failure = retries.get("tap1")

    assert failure is not None
    assert (failure.since, failure.reason) == (5, "busy")


def test_only_keys_whose_pause_is_over_are_due() -> None:
    retries = Retries[str](shortest=2)
    retries.failed("early", "x", 0)
    retries.failed("late", "x", 1)

    assert retries.due(2) == ["early"]
    assert retries.due(3) == ["early", "late"]


def test_success_forgets_and_says_whether_there_was_a_failure() -> None:
    retries = Retries[str]()
    retries.failed("tap1", "x", 0)

    assert retries.succeeded("tap1") is True
    assert retries.succeeded("tap1") is False
    assert retries.wake_at() is None
    assert len(retries) == 0
