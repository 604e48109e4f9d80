"""The alphabet between the protocol core and its skins.

The core is written as generators: each yields what it wants done (`Call`, `Pause`, ...) and is sent what came
of it (`Reply` or `Fault`, both with the time). So retry, failover, signing in and resuming a watch exist once,
without socket, thread, task or clock; a skin is the few lines that perform an effect, blocking or in asyncio,
and a test can play the server by hand.

```
    core (generator)  ── Call, Open, Receive, Close, Pause, Now, Deliver ──►  skin
                      ◄───────────────── Reply | Fault ─────────────────────
```
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from calico_openstack.etcd.wire import Message, Method

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Now:
    """Tell the time (monotonic, seconds)."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait about so many seconds; the skin spreads it by a fifth, so that a hundred hosts do not come back at once."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Call:
    """One request, one answer, within `timeout` seconds."""

    endpoint: str
    method: Method
    request: Message
    token: str
    timeout: float


@dataclass(frozen=True, slots=True)
class Open:
    """Open the watch stream of this run and write `requests` to it."""

    endpoint: str
    requests: tuple[Message, ...]
    token: str


@dataclass(frozen=True, slots=True)
class Receive:
    """The next message of the open stream; `timeout` None = as long as the connection lives."""

    timeout: float | None


@dataclass(frozen=True, slots=True)
class Close:
    """End the open stream, if there is one."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Something for the one who runs the core."""

    item: Any


@dataclass(frozen=True, slots=True)
class Reply:
    now: float
    message: Message = None


@dataclass(frozen=True, slots=True)
class Fault:
    """What gRPC said instead of an answer: the status code by name, and etcd's text."""

    now: float
    code: str
    details: str


class RpcFault(Exception):
    """How a transport reports a `Fault` to its skin."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


Effect: TypeAlias = Now | Pause | Call | Open | Receive | Close | Deliver
Outcome: TypeAlias = Reply | Fault
Steps: TypeAlias = Generator[Effect, Outcome, T]
