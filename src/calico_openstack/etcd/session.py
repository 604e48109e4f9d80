"""One caller's standing with a cluster: which endpoint answers, which token is good, and what to do if neither is.

Promises: one call takes its `timeout` at most, over all attempts; an endpoint that fails is left for the next
one and not asked again for a while; a token that was refused is renewed once per call. Shared by all threads or
tasks of a client: every change is one assignment, so a race costs at worst one needless attempt.

All calls of this room may be repeated after an ambiguous end (`Unavailable` in the middle): reads anyway; puts and
deletes because they say what should be, not what to change (for keys with one writer); guarded transactions
because their compares fail the second time, which a compare-and-swap loop (`swap`) sorts out by reading again;
a lease granted twice leaves one that expires.
"""

from __future__ import annotations

from calico_openstack.etcd import errors, wire
from calico_openstack.etcd.errors import EtcdError, Unavailable
from calico_openstack.etcd.steps import Call, Now, Outcome, Pause, Reply, Steps
from calico_openstack.etcd.values import EtcdSettings
from calico_openstack.etcd.wire import Message, Method

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
REST = 5.0
"""Seconds for which an endpoint that failed is passed over while others are there."""


class Endpoints:
    """Which endpoint to ask. Stays with one that works; `first` lets many clients begin at different ones."""

    def __init__(self, names: tuple[str, ...], first: int = 0) -> None:
        if not names:
            raise ValueError("no etcd endpoint is configured")
        first %= len(names)
        self._names = names[first:] + names[:first]
        self._resting: dict[str, float] = {}
        self._current = self._names[0]

    def __len__(self) -> int:
        return len(self._names)

    def pick(self, now: float) -> str:
        """The current one; if that one rests, the next that does not; if all do, the one that rested longest."""
        if self._resting.get(self._current, now) > now:
            begin = self._names.index(self._current)
            ring = self._names[begin + 1 :] + self._names[: begin + 1]
            self._current = min(ring, key=lambda name: max(self._resting.get(name, now), now))
        return self._current

    def failed(self, name: str, now: float) -> None:
        self._resting[name] = now + REST

    def succeeded(self, name: str) -> None:
        self._resting.pop(name, None)


class Session:
    """The core of a client. `call` is a generator for a skin to drive."""

    def __init__(self, settings: EtcdSettings, first: int = 0) -> None:
        self.settings = settings
        self.endpoints = Endpoints(settings.endpoints, first)
        # None: not signed in. Empty: the server wants no token.
        self.token: str | None = None if settings.username else ""

    def call(self, method: Method, request: Message, about: str, timeout: float | None = None) -> Steps[Message]:
        """One request with failover, retry and token renewal; the answer. Raises an `EtcdError` that names `about`."""
        now = (yield Now()).now
        limit = self.settings.timeout if timeout is None else timeout
        deadline = now + limit
        pause, tried, renewed = FIRST_PAUSE, 0, False
        while True:
            endpoint = self.endpoints.pick(now)
            share = self._share(deadline - now, tried)
            outcome = yield from self.sign_in(endpoint, share)
            used = self.token
            if isinstance(outcome, Reply):
                left = max(min(share, deadline - outcome.now), 0.001)
                outcome = yield Call(endpoint, method, request, used or "", left)
            now = outcome.now
            if isinstance(outcome, Reply):
                self.endpoints.succeeded(endpoint)
                return outcome.message
            error = errors.from_fault(outcome.code, outcome.details, endpoint, about)
            if self.may_renew(outcome.code, outcome.details) and not renewed:
                renewed = True
                self.refused(used)
                continue
            if not isinstance(error, Unavailable):
                raise error
            self.endpoints.failed(endpoint, now)
            tried += 1
            if now >= deadline:
                raise _gave_up(error, limit, tried)
            if tried % len(self.endpoints) == 0:
                if now + pause >= deadline:
                    raise _gave_up(error, limit, tried)
                now = (yield Pause(pause)).now
                pause = min(pause * 2, LONGEST_PAUSE)

    def sign_in(self, endpoint: str, timeout: float) -> Steps[Outcome]:
        """Get a token if one is needed and missing. A refusal is a `Fault`; nothing is raised."""
        if self.token is not None:
            return (yield Now())
        request = wire.new("AuthenticateRequest", name=self.settings.username, password=self.settings.password or "")
        outcome = yield Call(endpoint, wire.AUTHENTICATE, request, "", timeout)
        if isinstance(outcome, Reply):
            self.token = outcome.message.token
        elif errors.authentication_off(outcome.details):
            self.token = ""
            return Reply(outcome.now)
        return outcome

    def may_renew(self, code: str, details: str) -> bool:
        return self.settings.username is not None and errors.token_refused(code, details)

    def refused(self, token: str | None) -> None:
        """Forget the token, unless somebody else has renewed it since."""
        if self.token == token and self.settings.username is not None:
            self.token = None

    def _share(self, remaining: float, tried: int) -> float:
        """Time for one attempt: leave some for the endpoints not yet tried, as a frozen one eats all it is given."""
        untried = len(self.endpoints) - tried % len(self.endpoints)
        return max(remaining / untried, min(remaining, 1.0), 0.001)


def _gave_up(error: EtcdError, limit: float, tried: int) -> Unavailable:
    times = "1 attempt" if tried == 1 else f"{tried} attempts"
    return Unavailable(f"no answer within {limit:g} s, {times}; the last: {error.reason}", error.endpoint, error.about)
