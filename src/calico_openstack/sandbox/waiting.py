"""Waiting for a state, for tests and tools: generous limits, no sleeping in the hope that it is enough."""

import time
from collections.abc import Callable
from typing import TypeVar

from calico_openstack.sandbox.state import SandboxError

T = TypeVar("T")


def eventually(condition: Callable[[], T], limit: float = 30.0, what: str = "a condition") -> T:
    """Waits until `condition` gives something true, and gives that. Raises SandboxError after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() >= deadline:
            raise SandboxError(f"waited {limit:g} s in vain for {what}")
        time.sleep(0.05)
    return value
