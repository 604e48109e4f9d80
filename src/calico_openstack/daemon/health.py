"""Is this agent alive, and is it ready?

Parts of an agent report here: "live" by calling `beat` at least once in their time-out, "ready" by a flag.
`/liveness` and `/readiness` answer 200 with a small table, or 503 when a part is late or not ready, as upstream's
Felix does (felix health server). A beat comes from the loop that does the work, never from a timer beside it: a
stuck apply loop must look dead. Start-up is a chain of named signals (`store-in-sync`, `first-apply`, ...), each
shown with the time it came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from calico_openstack.daemon.exchange import LINE, http_answer, http_path, http_request, one_answer

Clock = Callable[[], float]


@dataclass(slots=True)
class Part:
    """One reporter. `timeout` in seconds; None means that it is never late."""

    name: str
    timeout: float | None
    last_beat: float
    ready: bool = False
    detail: str = ""

    def live(self, now: float) -> bool:
        return self.timeout is None or now - self.last_beat <= self.timeout


@dataclass(slots=True)
class Health:
    """The parts of one agent. `clock` is monotonic, in seconds."""

    clock: Clock = time.monotonic
    parts: dict[str, Part] = field(default_factory=dict)
    signals: dict[str, float] = field(default_factory=dict)

    def register(self, name: str, timeout: float | None = None, ready: bool = False) -> Part:
        part = Part(name, timeout, self.clock(), ready)
        self.parts[name] = part
        return part

    def beat(self, name: str, detail: str | None = None) -> None:
        part = self.parts[name]
        part.last_beat = self.clock()
        if detail is not None:
            part.detail = detail

    def set_ready(self, name: str, ready: bool = True, detail: str | None = None) -> None:
        part = self.parts[name]
        part.ready = ready
        if detail is not None:
            part.detail = detail

    def signal(self, name: str) -> bool:
        """A named step of the start-up was reached; True the first time."""
        if name in self.signals:
            return False
        self.signals[name] = self.clock()
        return True

    @property
    def live(self) -> bool:
        now = self.clock()
        return all(part.live(now) for part in self.parts.values())

    @property
    def ready(self) -> bool:
        return self.live and all(part.ready for part in self.parts.values())

    def table(self) -> str:
        """The parts and signals, a line each, for people."""
        now = self.clock()
        lines = [
            f"{part.name:<28} {'live' if part.live(now) else 'LATE':<5} {'ready' if part.ready else 'not ready':<10}"
            f" beat {now - part.last_beat:.1f}s ago  {part.detail}".rstrip()
            for part in self.parts.values()
        ]
        lines += [f"{'signal ' + name:<28} {now - at:.1f}s ago" for name, at in self.signals.items()]
        return "\n".join(lines) + "\n"


async def serve(health: Health, host: str, port: int) -> asyncio.Server:
    """Answer GET /liveness and GET /readiness on `host:port` until the returned server is closed."""

    async def answer(reader: asyncio.StreamReader) -> bytes:
        return response(health, await http_request(reader))

    return await asyncio.start_server(one_answer(answer), host, port, limit=LINE)


def response(health: Health, request_line: bytes) -> bytes:
    """The whole HTTP/1.0 answer to a request line."""
    path = http_path(request_line)
    if path not in (b"/liveness", b"/readiness"):
        return http_answer(request_line, "404 Not Found", b"")
    good = health.live if path == b"/liveness" else health.ready
    return http_answer(request_line, "200 OK" if good else "503 Service Unavailable", health.table().encode())
