"""What BIRD says on its control socket, as values.

PURE. A reply is lines `CCCC-text` (more to come) or `CCCC text` (last one of the reply); a line that begins
with a blank continues the one before, with the same code (BIRD doc/reply_codes). `Parser` takes bytes in any
portions and gives whole replies; `sessions` and `daemon` read the two replies that the agent asks for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

RECONFIGURED = 3
IN_PROGRESS = 4
QUEUED = 5
SHUTTING_DOWN = 6
CONFIGURATION_BAD = 8002
ACCESS_DENIED = 8007

MAX_LINE = 65536


class Line(NamedTuple):
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole reply. Codes from 8000 on are refusals, from 9000 on syntax errors."""

    lines: tuple[Line, ...]

    @property
    def code(self) -> int:
        """The code of the last line."""
        return self.lines[-1].code

    @property
    def refused(self) -> bool:
        return self.code >= 8000

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)


class ProtocolError(Exception):
    """The other end does not speak as BIRD does."""


class Parser:
    """Bytes in, whole replies out."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[Line] = []

    def feed(self, data: bytes) -> list[Reply]:
        replies = []
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            raise ProtocolError("a line without end")
        for raw in whole:
            text = raw.decode("utf-8", "replace")
            if text.startswith((" ", "+")):
                # "+" is an asynchronous echo of the log (reply_codes); we never ask for it.
                if self._lines and text.startswith(" "):
                    self._lines.append(Line(self._lines[-1].code, text[1:]))
                continue
            if not re.match(r"\d{4}[ -]", text):
                raise ProtocolError(f"not a line of BIRD's: {text[:80]!r}")
            self._lines.append(Line(int(text[:4]), text[5:]))
            if text[4] == " ":
                replies.append(Reply(tuple(self._lines)))
                self._lines = []
        return replies


@dataclass(frozen=True, slots=True)
class SessionState:
    """One BGP protocol as BIRD sees it. `state` is the BGP state (RFC 4271, 8.2.2), `since` BIRD's own clock text."""

    name: str
    state: str
    since: str
    info: str = ""
    peer: str = ""
    peer_as: int = 0
    imported: int = 0
    exported: int = 0
    restarting: bool = False
    last_error: str = ""

    @property
    def established(self) -> bool:
        return self.state == "Established"


@dataclass(frozen=True, slots=True)
class DaemonState:
    """`recovering`: a graceful restart is in progress, routes are not yet announced."""

    version: str = ""
    router_id: str = ""
    started: str = ""
    reconfigured: str = ""
    recovering: bool = False


def sessions(reply: Reply) -> tuple[SessionState, ...]:
    """The BGP protocols of `show protocols all`, in BIRD's order."""
    found: list[dict[str, str]] = []
    in_bgp = False
    for line in reply.lines:
        if line.code == 1002:
            words = line.text.split(None, 5)
            in_bgp = len(words) >= 5 and words[1] == "BGP"
            if in_bgp:
                info = words[5] if len(words) > 5 else ""
                found.append({"name": words[0], "since": words[4], "info": info.strip(), "up": words[3]})
        elif line.code == 1006 and in_bgp:
            key, _, value = line.text.strip().partition(":")
            # Of two lines with the same name the first one counts.
            found[-1].setdefault(key, value.strip())
    return tuple(_session(fields) for fields in found)


def daemon(reply: Reply) -> DaemonState:
    """The reply of `show status`."""
    text = reply.text

    def after(words: str) -> str:
        match = re.search(rf"{words} (.+)$", text, re.MULTILINE)
        return match[1].strip() if match else ""

    return DaemonState(
        version=after("^BIRD"),
        router_id=after("Router ID is"),
        started=after("Last reboot on"),
        reconfigured=after("Last reconfiguration on"),
        recovering=any(line.code == 24 for line in reply.lines),
    )


def _session(fields: dict[str, str]) -> SessionState:
    counts = re.findall(r"(\d+) (imported|exported)", fields.get("Routes", ""))
    routes = {kind: int(count) for count, kind in counts}
    return SessionState(
        name=fields["name"],
        state=fields.get("BGP state", fields["up"]),
        since=fields["since"],
        info=fields["info"],
        peer=fields.get("Neighbor address", "").split("%")[0],
        peer_as=int(fields.get("Neighbor AS", "0") or 0),
        imported=routes.get("imported", 0),
        exported=routes.get("exported", 0),
        restarting="Neighbor graceful restart active" in fields,
        last_error=fields.get("Last error", ""),
    )
