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

    def misnamed(self, host: str) -> str | None:
        """What looks like a host name that Nova spells otherwise: nobody lives on `host`, but somebody does on one that
        is the same but for case, or for a domain behind it. Looks at all hosts."""
        if host in self._hosts:
            return None
        other = next((name for name in sorted(self._hosts) if _alike(name.lower(), host.lower())), None)
        return other and (
            f"FelixHostname = {host}: no endpoint in etcd is of this host, but some are of {other}; if that is how "
            "Nova spells this host, set FelixHostname to it"
        )


def _alike(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
