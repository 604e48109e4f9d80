"""The core of a client, with the server played by hand: no socket, no clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from calico_openstack.etcd import calls, wire
from calico_openstack.etcd.errors import Rejected, Unauthenticated, Unavailable
from calico_openstack.etcd.session import Endpoints, Session
from calico_openstack.etcd.steps import Call, Deliver, Effect, Fault, Outcome, Pause, Reply, Steps
from calico_openstack.etcd.values import EtcdSettings

UNAVAILABLE = ("UNAVAILABLE", "failed to connect")
DOWN = ("DEADLINE_EXCEEDED", "Deadline Exceeded")


class Server:
    """Answers calls from a script: a message, or a (code, text) pair. Time passes in pauses and in slow answers."""

    def __init__(self, *script: Any, slow: float = 0.0) -> None:
        self.now = 100.0
        self.script = list(script)
        self.slow = slow
        self.calls: list[Call] = []
        self.pauses: list[float] = []

    def run(self, steps: Steps[Any]) -> Any:
        outcome: Outcome | None = None
        while True:
            try:
                effect = next(steps) if outcome is None else steps.send(outcome)
            except StopIteration as end:
                return end.value
            outcome = self._perform(effect)

    def _perform(self, effect: Effect) -> Outcome:
        if isinstance(effect, Pause):
            self.pauses.append(effect.seconds)
            self.now += effect.seconds
        if isinstance(effect, Call):
            self.calls.append(effect)
            answer = self.script.pop(0)
            self.now += effect.timeout if answer == DOWN else self.slow
            if isinstance(answer, tuple):
                return Fault(self.now, *answer)
            return Reply(self.now, answer)
        assert not isinstance(effect, Deliver)
        return Reply(self.now)


def settings(*endpoints: str, **more: Any) -> EtcdSettings:
    return EtcdSettings(endpoints or ("one",), **more)


def put_answer(revision: int = 7) -> Any:
    return wire.new("PutResponse", header={"revision": revision})


def put(session: Session, timeout: float | None = None) -> Steps[int]:
    return calls.put(session, "/a", b"x", 0, timeout)


def test_a_call_that_works_is_one_call_with_the_whole_time() -> None:
    server = Server(put_answer())

    assert server.run(put(Session(settings(timeout=9)))) == 7
    assert [(call.endpoint, call.timeout, call.token) for call in server.calls] == [("one", 9, "")]


def test_a_dead_endpoint_is_left_for_the_next_without_a_pause_and_not_asked_again_soon() -> None:
    server = Server(UNAVAILABLE, put_answer(), put_answer())
    session = Session(settings("one", "two"))

    server.run(put(session))
    server.run(put(session))

    assert [call.endpoint for call in server.calls] == ["one", "two", "two"]
    assert server.pauses == []


def test_a_frozen_endpoint_gets_only_its_share_of_the_time() -> None:
    server = Server(DOWN, put_answer())

    server.run(put(Session(settings("one", "two", "three", timeout=9))))

    assert [call.timeout for call in server.calls] == [3, 3]


def test_pauses_grow_while_nobody_answers_and_the_time_is_kept() -> None:
    server = Server(*[UNAVAILABLE] * 50)

    with pytest.raises(Unavailable, match=r"/a: no answer within 3 s, 5 attempts; the last: failed to connect .*one"):
        server.run(put(Session(settings(timeout=3))))

    assert server.pauses == [0.1, 0.2, 0.4, 0.8]
    assert server.now <= 103


def test_a_refusal_is_not_repeated() -> None:
    server = Server(("INVALID_ARGUMENT", "etcdserver: request is too large"))

    with pytest.raises(Rejected, match=r"/a: .*larger than etcd's --max-request-bytes"):
        server.run(put(Session(settings())))

    assert len(server.calls) == 1


def signed_in(token: str) -> Any:
    return wire.new("AuthenticateResponse", token=token)


def test_a_user_signs_in_once_for_many_calls() -> None:
    server = Server(signed_in("t1"), put_answer(), put_answer())
    session = Session(settings(username="u", password="p"))

    server.run(put(session))
    server.run(put(session))

    assert [call.method for call in server.calls] == [wire.AUTHENTICATE, wire.PUT, wire.PUT]
    assert [call.token for call in server.calls] == ["", "t1", "t1"]


@pytest.mark.parametrize(
    "refusal",
    [
        ("UNAUTHENTICATED", "etcdserver: invalid auth token"),
        ("INVALID_ARGUMENT", "etcdserver: revision of auth store is old"),
        ("INVALID_ARGUMENT", "etcdserver: user name is empty"),
    ],
)
def test_a_refused_token_is_renewed_once_and_the_call_repeated(refusal: tuple[str, str]) -> None:
    server = Server(signed_in("t1"), refusal, signed_in("t2"), put_answer())

    assert server.run(put(Session(settings(username="u", password="p")))) == 7
    assert [call.token for call in server.calls] == ["", "t1", "", "t2"]


def test_a_new_token_that_is_refused_too_is_an_error_and_no_loop() -> None:
    refusal = ("UNAUTHENTICATED", "etcdserver: invalid auth token")
    server = Server(signed_in("t1"), refusal, signed_in("t2"), refusal)

    with pytest.raises(Unauthenticated, match="/a: not accepted"):
        server.run(put(Session(settings(username="u", password="p"))))


def test_a_wrong_password_is_an_error_at_once() -> None:
    server = Server(("INVALID_ARGUMENT", "etcdserver: authentication failed, invalid user ID or password"))

    with pytest.raises(Unauthenticated, match="check user and password"):
        server.run(put(Session(settings(username="u", password="p"))))


def test_without_authentication_at_the_server_calls_go_without_token() -> None:
    server = Server(("FAILED_PRECONDITION", "etcdserver: authentication is not enabled"), put_answer())

    assert server.run(put(Session(settings(username="u", password="p")))) == 7
    assert server.calls[-1].token == ""


def test_somebody_elses_renewal_is_not_thrown_away() -> None:
    session = Session(settings(username="u", password="p"))
    session.token = "new"

    session.refused("old")
    assert session.token == "new"
    session.refused("new")
    assert session.token is None


def test_signing_in_counts_towards_the_time_of_the_call() -> None:
    server = Server(signed_in("t"), put_answer(), slow=6)

    server.run(put(Session(settings(username="u", password="p", timeout=9))))

    assert [call.timeout for call in server.calls] == [9, 3]


def test_signing_in_also_goes_to_the_next_endpoint() -> None:
    server = Server(UNAVAILABLE, signed_in("t"), put_answer())

    server.run(put(Session(settings("one", "two", username="u", password="p"))))

    assert [call.endpoint for call in server.calls] == ["one", "two", "two"]


def choose(names: tuple[str, ...], act: Callable[[Endpoints], None], now: float) -> str:
    endpoints = Endpoints(names)
    act(endpoints)
    return endpoints.pick(now)


def test_clients_may_begin_at_different_endpoints() -> None:
    assert [Endpoints(("a", "b", "c"), first).pick(0) for first in range(4)] == ["a", "b", "c", "a"]


def test_when_all_endpoints_rest_the_one_that_rested_longest_is_asked() -> None:
    endpoints = Endpoints(("a", "b"))
    endpoints.failed("a", 0)
    assert endpoints.pick(1) == "b"
    endpoints.failed("b", 1)

    assert endpoints.pick(2) == "a"


def test_a_single_endpoint_is_asked_again_without_rest() -> None:
    assert choose(("a",), lambda endpoints: endpoints.failed("a", 0), 0.1) == "a"


def test_no_endpoint_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="no etcd endpoint"):
        Endpoints(())
