"""The API for small deployments on SQLite: one process, one request at a time, chores inside.

SQLite has one writer, and a second one is refused at once rather than made to wait. So there is one gate: a request
holds it from beginning to end, and so does each write of the chores. A reader that needs a second connection while the
first has a transaction open must hold it too (`alone`): a writer would wait for the first, and the second for the
writer. Use `calico_openstack.neutron.light:application`
in place of `neutron.wsgi.api:application`, with `[calico] chores = api`. Elsewhere no request holds the gate.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

GATE = threading.RLock()
_gated = threading.Event()


def alone() -> AbstractContextManager[Any]:
    """The gate where requests go through one; elsewhere nothing, so that threads read side by side."""
    return GATE if _gated.is_set() else nullcontext()


class OneAtATime:
    """WSGI middleware: holds the gate for each request."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        _gated.set()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        with GATE:
            answer = self._inner(environ, start_response)
            try:
                return list(answer)
            finally:
                close = getattr(answer, "close", None)
                if close is not None:
                    close()


def load() -> OneAtATime:
    """Neutron's application. Neutron parses `sys.argv`, which belongs to the WSGI server here."""
    sys.argv = ["neutron-api"]
    from neutron.wsgi.api import application

    return OneAtATime(application)


def __getattr__(name: str) -> Any:
    # Made when a WSGI server asks for it, so that importing GATE costs nothing.
    if name == "application":
        globals()["application"] = made = load()
        return made
    raise AttributeError(name)
