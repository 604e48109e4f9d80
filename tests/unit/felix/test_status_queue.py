"""Endpoint statuses: nothing lost, nothing said twice, nothing alive deleted."""

from calico_openstack.felix.status_queue import StatusQueue, Word
from calico_openstack.model.endpoint import EndpointKey

A = EndpointKey("openstack", "h", "openstack", "vm", "a")


class Store:
    """An etcd that takes everything, and a queue before it."""

    def __init__(self, *there: EndpointKey) -> None:
        self.queue = StatusQueue()
        self.revision = 10
        self.history: list[Word] = []
        for key in there:
            self.queue.found(key, "up", 5)

    def write(self) -> list[Word]:
        """Rounds until nothing is left; the words that were written for A."""
        before = len(self.history)
        while words := self.queue.round():
            self.revision += 1
            self.queue.written(words, self.revision)
            if A in words:
                self.history.append(words[A])
        return self.history[before:]


def test_a_flap_is_told_as_down_and_up() -> None:
    store = Store()
    store.queue.say(A, "up")
    assert store.write() == ["up"]

    store.queue.say(A, "down")
    store.queue.say(A, "up")

    assert store.write() == ["down", "up"]


def test_many_flaps_are_told_as_one() -> None:
    store = Store()
    store.queue.say(A, "up")
    store.write()

    for _ in range(5):
        store.queue.say(A, "down")
        store.queue.say(A, "up")

    assert store.write() == ["down", "up"]


def test_a_restart_that_finds_the_right_word_writes_nothing() -> None:
    store = Store(A)
    store.queue.say(A, "up")
    store.queue.complete()

    assert store.write() == []


def test_the_right_word_found_after_it_was_said_need_not_be_written() -> None:
    store = Store()
    store.queue.say(A, "up")
    store.queue.found(A, "up", 5)

    assert store.write() == []


def test_nothing_is_deleted_before_everything_living_was_spoken_of() -> None:
    store = Store(A)
    assert store.write() == []

    store.queue.complete()

    assert store.write() == [None]


def test_what_others_change_is_put_right() -> None:
    store = Store()
    store.queue.say(A, "up")
    store.queue.complete()
    store.write()

    store.queue.found(A, None, 90)
    assert store.write() == ["up"]
    store.queue.found(A, "error", 91)
    assert store.write() == ["up"]


def test_the_echo_of_an_older_write_is_no_news() -> None:
    store = Store()
    store.queue.say(A, "down")
    store.write()
    store.queue.say(A, "up")
    store.write()

    store.queue.found(A, "down", store.revision - 1)

    assert store.write() == []


def test_an_endpoint_that_leaves_is_deleted_and_may_come_back() -> None:
    store = Store()
    store.queue.say(A, "up")
    store.write()

    store.queue.say(A, None)
    assert store.write() == [None]
    assert store.queue.said() == []

    store.queue.say(A, "down")
    assert store.write() == ["down"]


def test_a_failed_write_is_tried_again_with_what_is_true_then() -> None:
    store = Store()
    store.queue.say(A, "down")
    assert store.queue.round() == {A: "down"}  # and the write fails

    store.queue.say(A, "up")

    assert store.write() == ["down", "up"]


def test_an_endpoint_that_is_gone_from_etcd_is_forgotten() -> None:
    queue = StatusQueue()
    queue.say(A, "up")
    queue.written(queue.round(), 5)
    queue.say(A, None)
    queue.written(queue.round(), 7)

    queue.found(A, "up", 5)
    assert not queue.round(), "the echo of an older write is no news"
    queue.found(A, None, 7)

    assert (queue.stored, queue.revisions, queue.said(), queue.round()) == ({}, {}, [], {})
