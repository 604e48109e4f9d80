"""What a mirror knows, pure: which revision of each key was taken in, and what waits for the consumer.

It keeps a key and a number for each key of the store, and values only between taking in and handing out. The
latest value of a key replaces an earlier one that nobody has fetched, so what waits is never more than one
event per key. After a new list only the differences wait: keys with an unchanged `mod_revision` are left out,
keys that vanished become deletions.

`mirror` is the loop as steps: list, watch from there, list anew when history is gone; it never ends by itself.

```
    pages ──► Listing ──┐
    watch ──► WatchBatch┼──► apply ──► waiting ──► take_batch ──► Batch
              Rewound ──┘
```
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from calico_openstack.etcd import calls, feed
from calico_openstack.etcd.errors import Compacted, EtcdError
from calico_openstack.etcd.feed import Lost
from calico_openstack.etcd.session import FIRST_PAUSE, LONGEST_PAUSE, Session
from calico_openstack.etcd.steps import Deliver, Pause, Steps
from calico_openstack.etcd.values import Event, KeyValue, WatchBatch

WAITING_LIMIT = 10_000
"""Keys that may wait for the consumer before the mirror stops reading; etcd and TCP hold back the rest."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes in order of revision, each key at most once, with its latest value.

    The first batch holds every key there is; `in_sync` is True from then on, for each batch. `listed` tells a batch
    that comes from a list: the first, and those after a loss of history. `revision` is the newest taken in.
    etcd keeps the order of revisions within a prefix only: who needs it between two keys follows a prefix of both.
    """

    events: list[Event]
    revision: int
    in_sync: bool = True
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the mirror follows the store now; `since` in monotonic seconds; `reason` when it does not."""

    healthy: bool
    since: float
    reason: str = ""


class Rewound(NamedTuple):
    """The store went back in time (a restored backup); the next list tells what is true now."""


@dataclass(slots=True)
class Listing:
    """A list of the whole store: complete, as of `revision`, once it is delivered."""

    revision: int = 0
    seen: dict[str, int] = field(default_factory=dict)
    changed: list[Event] = field(default_factory=list)


@dataclass(slots=True)
class MirrorState:
    revisions: dict[str, int] = field(default_factory=dict)
    revision: int = 0
    # Of each waiting event: whether the consumer knows the key. A key that came and went unseen is not worth a word.
    _waiting: dict[str, tuple[Event, bool]] = field(default_factory=dict)
    _complete: bool = False
    _listed: bool = False

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def page(self, listing: Listing, items: Iterable[KeyValue]) -> None:
        """One page of a list: keep what differs from what is known."""
        for item in items:
            listing.seen[item.key] = item.mod_revision
            if self.revisions.get(item.key) != item.mod_revision:
                listing.changed.append(Event(item.key, item.value, item.mod_revision))

    def apply(self, item: object) -> None:
        """Take in what `mirror` delivered. The only way in, so a skin with threads can hold its lock here."""
        match item:
            case WatchBatch():
                self._watched(item)
            case Listing():
                self._listing(item)
            case Rewound():
                # Revisions say nothing any more: each key that is listed counts as changed.
                self.revisions = dict.fromkeys(self.revisions, 0)

    def take_batch(self) -> Batch | None:
        """What waits, if a first list is complete and there is anything to say (the first batch may be empty)."""
        if not self._complete or not (self._waiting or self._listed):
            return None
        waiting, self._waiting = self._waiting, {}
        listed, self._listed = self._listed, False
        events = [event for event, known in waiting.values() if event.value is not None or known]
        events.sort(key=lambda event: event.mod_revision)
        return Batch(events, self.revision, in_sync=True, listed=listed)

    def _listing(self, listing: Listing) -> None:
        for key in self.revisions.keys() - listing.seen.keys():
            self._take(Event(key, None, listing.revision))
        for event in listing.changed:
            self._take(event)
        self.revision = listing.revision
        self._complete = self._listed = True

    def _watched(self, batch: WatchBatch) -> None:
        for event in batch.events:
            # A delete of a key that a list already missed is no news; what is older than a list cannot come.
            if event.value is not None or event.key in self.revisions:
                self._take(event)
        self.revision = max(self.revision, batch.revision)

    def _take(self, event: Event) -> None:
        before = self._waiting.pop(event.key, None)
        known = before[1] if before else event.key in self.revisions
        self._waiting[event.key] = (event, known)
        if event.value is None:
            self.revisions.pop(event.key, None)
        else:
            self.revisions[event.key] = event.mod_revision


def mirror(session: Session, prefixes: Sequence[str], state: MirrorState) -> Steps[None]:
    """Deliver what `state.apply` wants, and `Opened` and `Lost`, for ever. Reads `state`, changes nothing in it."""
    pause = FIRST_PAUSE
    while True:
        try:
            listing = Listing()
            pages = calls.pages(session, prefixes, 0, None)
            listing.revision = yield from calls.collect(pages, partial(state.page, listing))
            yield Deliver(listing)
            pause = FIRST_PAUSE
            yield from feed.watch(session, prefixes, listing.revision + 1)
        except EtcdError as error:
            if isinstance(error, Compacted) and error.rewound:
                yield Deliver(Rewound())
            yield Deliver(Lost(str(error)))
        yield Pause(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
