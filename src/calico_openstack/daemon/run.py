"""From a `main` coroutine to an exit code.

SIGTERM and SIGINT end an agent at once, with exit code 0, and leave whatever it put into the kernel in place: a
restart adopts it. A fault ends it with 1, so that the supervisor starts it anew. A bad setting ends it with 2 and a
sentence, because trying again would not help.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.settings import SettingsError
from calico_openstack.daemon.tasks import TaskEnded

log = get_logger("run")

FAULT = 1
BAD_SETTINGS = 2
GRACE = 3.0
"""Seconds after a signal or a fault at which the process ends anyway, also while a thread hangs in a system call."""


def run(main: Coroutine[Any, Any, None], program: str) -> int:
    """Run `main` until it ends or a signal asks for the end; return the exit code."""
    before = set(threading.enumerate())
    timers: list[threading.Timer] = []

    def end_anyway(code: int) -> None:
        timer = threading.Timer(GRACE, os._exit, (code,))
        timer.daemon = True
        timer.start()
        timers.append(timer)

    try:
        return asyncio.run(_guarded(main, program, end_anyway))
    except KeyboardInterrupt:
        return 0
    finally:
        # A thread of ours that is still at work would hold up the interpreter's end; then the timer goes on.
        if not any(thread not in before and not thread.daemon for thread in threading.enumerate()):
            for timer in timers:
                timer.cancel()


async def _guarded(main: Coroutine[Any, Any, None], program: str, end_anyway: Callable[[int], None]) -> int:
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
        end_anyway(0)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        return 0
    error = work.exception()
    end_anyway(BAD_SETTINGS if isinstance(error, SettingsError) else FAULT)
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
