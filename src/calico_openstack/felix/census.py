"""How many documents of each kind the cluster has, kept as they come and go.

Counts what was understood; a document that is refused counts as absent, as everywhere.
"""

from __future__ import annotations

from collections import Counter, defaultdict


class Census:
    """Of keys by kind, and of endpoints by host. Keys are the etcd client's own strings, so that nothing is copied."""

    def __init__(self) -> None:
        self._keys: defaultdict[str, set[str]] = defaultdict(set)
        self._hosts: Counter[str] = Counter()

    def note(self, kind: str, key: str, there: bool, host: str | None = None) -> None:
        """The document at `key` is there now, or is not; `host` is where it lives, if it lives on one."""
        keys = self._keys[kind]
        if there == (key in keys):
            return
        (keys.add if there else keys.discard)(key)
        if host is not None:
            self._hosts[host] += 1 if there else -1
            if not self._hosts[host]:
                del self._hosts[host]

    def count(self, *kinds: str) -> int:
        return sum(len(self._keys[kind]) for kind in kinds if kind in self._keys)

    @property
    def hosts(self) -> int:
        """Hosts on which at least one endpoint lives."""
        return len(self._hosts)
