"""Which endpoint statuses are still to be told, and in which order. Knows no clock and no etcd.

A port that goes down and up again must be seen to do so, because Nova waits for the "up" of a rebuilt machine; but
only the last such pair is worth telling. So each endpoint has a short list of words to say, which never grows beyond
the present word and the one before it. What is stored already need not be said. (Upstream writes one word per second
for the whole host; here a round carries the next word of every endpoint.)
"""

from __future__ import annotations

from collections.abc import Mapping

from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.status import State

Word = State | None
"""A status, or None: the key is to be deleted."""


class StatusQueue:
    """`stored` is what etcd has; a key that is missing in it has no status there. `revisions`: of our last writes."""

    def __init__(self) -> None:
        self.stored: dict[EndpointKey, Word] = {}
        self._waiting: dict[EndpointKey, list[Word]] = {}
        self._last: dict[EndpointKey, Word] = {}
        self.revisions: dict[EndpointKey, int] = {}
        self._complete = False

    def say(self, key: EndpointKey, word: Word) -> None:
        """This is so now."""
        self._last[key] = word
        waiting = self._waiting.get(key, [])
        if word == (waiting[-1] if waiting else self.stored.get(key)):
            return
        waiting.append(word)
        if len(waiting) > 2:
            del waiting[:2]
        self._waiting[key] = waiting

    def complete(self) -> None:
        """Every endpoint that lives has been spoken of; what else etcd has is of former times and goes."""
        self._complete = True
        for key in [key for key in self.stored if key not in self._last]:
            self.say(key, None)

    def said(self) -> list[EndpointKey]:
        """The endpoints of which something other than "gone" was said last."""
        return [key for key, word in self._last.items() if word is not None]

    def found(self, key: EndpointKey, word: Word, revision: int) -> None:
        """etcd has this since `revision`, whoever wrote it. If we mean something else, it is said again."""
        if revision <= self.revisions.get(key, 0):
            # Not newer than what we wrote ourselves. After the echo of our delete nothing older can follow.
            if word is None and key not in self._last and revision == self.revisions.get(key):
                del self.revisions[key]
            return
        self._store(key, word)
        if self._waiting.get(key) == [word]:
            del self._waiting[key]
        known = key in self._last or self._complete
        if known and key not in self._waiting and word != self._last.get(key):
            self._waiting[key] = [self._last.get(key)]

    def round(self) -> dict[EndpointKey, Word]:
        """The next word of every endpoint that has one."""
        return {key: waiting[0] for key, waiting in self._waiting.items()}

    def written(self, words: Mapping[EndpointKey, Word], revision: int) -> None:
        """These words of a round are in etcd since `revision`."""
        for key, word in words.items():
            self._store(key, word)
            self.revisions[key] = revision
            waiting = self._waiting.get(key, [])
            if waiting and waiting[0] == word:
                del waiting[0]
            if not waiting:
                self._waiting.pop(key, None)
                if word is None:
                    self._last.pop(key, None)

    def _store(self, key: EndpointKey, word: Word) -> None:
        if word is None:
            self.stored.pop(key, None)
        else:
            self.stored[key] = word
