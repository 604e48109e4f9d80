"""What this host's BGP looks like, as one JSON value for etcd, and when it is worth writing.

PURE. The first three fields are those of Felix's host status, so that whoever reads that can tell that this
agent is alive; the rest is for people: the daemon, the configuration in force, each session, and what an
operator should mend.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from calico_openstack.bgp.replies import DaemonState, SessionState
from calico_openstack.bgp.sessions import Problem, Session


@dataclass(frozen=True, slots=True)
class Status:
    """`error`: why the wanted configuration is not in force. `held`: why the agent waits."""

    daemon: DaemonState | None = None
    sessions: tuple[SessionState, ...] = ()
    wanted: tuple[Session, ...] = ()
    problems: tuple[Problem, ...] = ()
    digest: str = ""
    applied_at: str = ""
    error: str = ""
    held: str = ""

    @property
    def ready(self) -> bool:
        """BIRD runs, is past its recovery, and one session stands (or none is wanted)."""
        if self.daemon is None or self.daemon.recovering or self.error:
            return False
        return not self.wanted or any(session.established for session in self.sessions)


def document(status: Status, time: str, uptime: float, first_update: bool) -> bytes:
    """The stored value. `time` is RFC 3339, `uptime` in seconds."""
    return msgspec.json.encode(
        {"time": time, "uptime": round(uptime, 2), "first_update": first_update, **_body(status, counts=True)}
    )


def essence(status: Status) -> bytes:
    """What must change for a status to be news: everything but the counts of routes, which always change."""
    return msgspec.json.encode(_body(status, counts=False))


@dataclass(slots=True)
class Pace:
    """When to write: news at most every `news` seconds, the same again every `heartbeat` seconds."""

    news: float = 10.0
    heartbeat: float = 30.0
    _last: float | None = None
    _essence: bytes = b""

    def due(self, essence: bytes, now: float) -> bool:
        if self._last is None or now >= self._last + self.heartbeat:
            return True
        return essence != self._essence and now >= self._last + self.news

    def written(self, essence: bytes, now: float) -> None:
        self._last, self._essence = now, essence

    def wake_at(self, essence: bytes, now: float) -> float:
        if self._last is None:
            return now
        return self._last + (self.heartbeat if essence == self._essence else self.news)


def _body(status: Status, counts: bool) -> dict[str, Any]:
    daemon = status.daemon
    return {
        "ready": status.ready,
        "bird": {
            "running": daemon is not None,
            "version": daemon.version if daemon else "",
            "routerID": daemon.router_id if daemon else "",
            "started": daemon.started if daemon else "",
            "reconfigured": daemon.reconfigured if daemon else "",
            "gracefulRestart": daemon.recovering if daemon else False,
        },
        "configuration": {
            "hash": status.digest,
            "appliedAt": status.applied_at,
            "error": status.error,
            "held": status.held,
        },
        "sessions": _sessions(status.sessions, status.wanted, counts),
        "problems": [{"object": subject, "reason": reason, "cure": cure} for subject, reason, cure in status.problems],
    }


def _sessions(seen: Sequence[SessionState], wanted: Iterable[Session], counts: bool) -> list[dict[str, Any]]:
    """Those that BIRD has, and those that it should have and has not."""
    rows: list[dict[str, Any]] = []
    by_name = {session.name: session for session in wanted}
    for session in seen:
        row: dict[str, Any] = {
            "name": session.name,
            "peer": session.peer,
            "peerAS": session.peer_as,
            "state": session.state,
            "since": session.since,
            "lastError": session.last_error,
            "gracefulRestart": session.restarting,
        }
        if counts:
            row |= {"imported": session.imported, "exported": session.exported}
        rows.append(row)
        by_name.pop(session.name, None)
    for missing in by_name.values():
        rows.append(
            {"name": missing.name, "peer": missing.address.address, "peerAS": missing.remote_as, "state": "Absent"}
        )
    return sorted(rows, key=lambda row: str(row["name"]))
