"""From a `main` coroutine to an exit code.

SIGTERM and SIGINT end an agent at once, with exit code 0, and leave whatever it put into the kernel in place: a
restart adopts it. A fault ends it with 1, so that the supervisor starts it anew. A bad setting ends it with 2 and a
sentence, because trying again would not help.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.settings import SettingsError
from calico_openstack.daemon.tasks import TaskEnded

log = get_logger("run")

FAULT = 1
BAD_SETTINGS = 2


def run(main: Coroutine[Any, Any, None], program: str) -> int:
    """Run `main` until it ends or a signal asks for the end; return the exit code."""
    try:
        return asyncio.run(_guarded(main, program))
    except KeyboardInterrupt:
        return 0


async def _guarded(main: Coroutine[Any, Any, None], program: str) -> int:
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    work = asyncio.create_task(main, name=program)
    stop = asyncio.create_task(asked.wait(), name="signals")
    await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not work.done():
        log.info("agent.stopping", program=program, kernel_state="left in place")
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        return 0
    error = work.exception()
    if error is None:
        log.error("agent.ended", program=program, reason="the main task returned")
        return FAULT
    if isinstance(error, SettingsError):
        print(f"{program}: {error}", file=sys.stderr)
        return BAD_SETTINGS
    if isinstance(error, TaskEnded):
        log.error("agent.fault", program=program, reason=str(error), exc_info=error.__cause__)
    else:
        log.error("agent.fault", program=program, reason=repr(error), exc_info=error)
    return FAULT
