"""A watch that goes on: several prefixes over one stream, resumed anywhere without loss or repetition.

`Feed` is the pure bookkeeping: for each prefix the next revision it needs. It advances by the last *event* of
the prefix, never by the header of an event message: that header is the store's revision, which runs ahead of a
watcher that lags (a client that resumed from it lost 22,000 of 30,000 events). The header counts in a progress
notification only, which etcd sends to watchers that have caught up. Big answers come in fragments; a fragment
is delivered only when its last one is there, since it may end in the middle of a revision.

`watch` is the loop around it, as steps: open, create, receive; on loss try the next endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calico_openstack.etcd import errors, messages, wire
from calico_openstack.etcd.errors import Compacted, EtcdError, PermissionDenied, Unavailable
from calico_openstack.etcd.session import FIRST_PAUSE, LONGEST_PAUSE, Session
from calico_openstack.etcd.steps import Close, Deliver, Fault, Now, Open, Outcome, Pause, Receive, Steps
from calico_openstack.etcd.values import Event, WatchBatch
from calico_openstack.etcd.wire import Message

CREATE_TIMEOUT = 5.0
"""Seconds within which a server must confirm a watch; a frozen one accepts connections all the same."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The watch is established at this endpoint; nothing was missed."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The watch is interrupted; it will be resumed."""

    reason: str


class Feed:
    """The state of one watch over several prefixes. Watch ids are 1, 2, ... in the order of the prefixes."""

    def __init__(self, prefixes: Sequence[str], start: int | Mapping[str, int]) -> None:
        self.prefixes = tuple(prefixes)
        self.next = {prefix: start if isinstance(start, int) else start[prefix] for prefix in self.prefixes}
        self._partial: dict[str, list[Event]] = {}
        self._unconfirmed = set(self.prefixes)

    @property
    def confirmed(self) -> bool:
        """Whether the server has confirmed every prefix on the present stream."""
        return not self._unconfirmed

    def interrupted(self) -> None:
        """The stream is gone: what it left unfinished will come again, complete."""
        self._partial.clear()
        self._unconfirmed = set(self.prefixes)

    def creates(self) -> tuple[Message, ...]:
        """What to write to a new stream."""
        self.interrupted()
        return tuple(
            wire.new(
                "WatchRequest",
                create_request={
                    "key": messages.raw(prefix) or b"\0",
                    "range_end": messages.prefix_end(prefix),
                    "start_revision": self.next[prefix],
                    "progress_notify": True,
                    "watch_id": watch_id,
                    "fragment": True,
                },
            )
            for watch_id, prefix in enumerate(self.prefixes, start=1)
        )

    def received(self, message: Message, endpoint: str) -> WatchBatch | None:
        """Take one message of the stream; a batch when something is complete.

        Raises `Compacted` when the next revision is not in the store's history, `PermissionDenied` when the server
        refuses, `Unavailable` when it ends the watch for reasons of its own.
        """
        prefix = self.prefixes[message.watch_id - 1] if 1 <= message.watch_id <= len(self.prefixes) else None
        if message.canceled:
            raise _cancelled(message, endpoint, prefix or ", ".join(self.prefixes))
        if prefix is None:
            return None
        if message.created:
            self._created(message, endpoint, prefix)
            return None
        if message.fragment or prefix in self._partial:
            self._partial.setdefault(prefix, []).extend(map(messages.event, message.events))
            if message.fragment:
                return None
            events = self._partial.pop(prefix)
        else:
            events = [messages.event(event) for event in message.events]
        last = events[-1].mod_revision if events else message.header.revision
        self.next[prefix] = max(self.next[prefix], last + 1)
        return WatchBatch(prefix, events, last)

    def _created(self, message: Message, endpoint: str, prefix: str) -> None:
        self._unconfirmed.discard(prefix)
        store = message.header.revision
        if self.next[prefix] == 0:
            # "From now on" must mean the same now after a resume.
            self.next[prefix] = store + 1
        elif store < self.next[prefix] - 1:
            # Restored from a backup, another cluster, or a member that lags: a new list will tell, and is cheap.
            reason = f"the store is at revision {store}, revision {self.next[prefix] - 1} was already seen"
            raise Compacted(0, endpoint, prefix, reason, rewound=True)


def watch(session: Session, prefixes: Sequence[str], start: int | Mapping[str, int]) -> Steps[None]:
    """Deliver `WatchBatch`, `Opened` and `Lost` for ever. `start` 0 = from now on.

    Raises `Compacted`, and `PermissionDenied` or `Unauthenticated` if also a new token does not help.
    """
    feed = Feed(prefixes, start)
    about = ", ".join(prefixes)
    pause, renewed = FIRST_PAUSE, False
    while True:
        now = (yield Now()).now
        endpoint = session.endpoints.pick(now)
        used = session.token
        try:
            outcome = yield from session.sign_in(endpoint, CREATE_TIMEOUT)
            used = session.token
            if not isinstance(outcome, Fault):
                outcome = yield Open(endpoint, feed.creates(), used or "")
            yield from _stream(session, feed, endpoint, about, outcome)
        except EtcdError as error:
            now = (yield Close()).now
            if feed.confirmed:
                pause, renewed = FIRST_PAUSE, False
            feed.interrupted()
            # etcd 3.4 calls an expired token "permission denied" when a watch is created.
            if isinstance(error, PermissionDenied | errors.Unauthenticated):
                if renewed or session.settings.username is None:
                    raise
                session.refused(used)
                renewed = True
                continue
            if not isinstance(error, Unavailable):
                raise
            yield Deliver(Lost(str(error)))
            session.endpoints.failed(endpoint, now)
            yield Pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


def _stream(session: Session, feed: Feed, endpoint: str, about: str, outcome: Outcome) -> Steps[None]:
    """What comes over one stream, from `outcome` of its opening to its end, which is always an error."""
    announced = False
    while not isinstance(outcome, Fault):
        outcome = yield Receive(None if feed.confirmed else CREATE_TIMEOUT)
        if isinstance(outcome, Fault):
            break
        batch = feed.received(outcome.message, endpoint)
        if feed.confirmed and not announced:
            announced = True
            session.endpoints.succeeded(endpoint)
            yield Deliver(Opened(endpoint))
        if batch is not None:
            yield Deliver(batch)
    raise errors.from_fault(outcome.code, outcome.details, endpoint, about)


def _cancelled(message: Message, endpoint: str, about: str) -> EtcdError:
    if message.compact_revision:
        return Compacted(message.compact_revision, endpoint, about)
    reason = message.cancel_reason or "the server ended the watch"
    error = errors.from_fault("UNKNOWN", reason, endpoint, about)
    return (
        error
        if isinstance(error, PermissionDenied | errors.Unauthenticated | Compacted)
        else Unavailable(reason, endpoint, about)
    )
