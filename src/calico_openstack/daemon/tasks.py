"""Tasks with a parent, a name and an end.

Agents consist of tasks that never end: a watcher, an apply loop, a heartbeat. One that ends, by return or by
exception, is a fault: the whole program stops with the task's name in the log, and the supervisor starts it anew.
Nothing is left half alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

from calico_openstack.daemon.logs import get_logger

log = get_logger("tasks")


class TaskEnded(Exception):
    """An eternal task returned or raised; the message names it."""


class Tasks:
    """A nursery for eternal tasks; those still running when the block is left are cancelled and waited for.

    ```
    async with Tasks() as tasks:
        tasks.start("watch", watch())
        await tasks.forever()
    ```
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: list[asyncio.Task[None]] = []
        self._one_ended = asyncio.Event()

    def start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)
        return task

    async def forever(self) -> None:
        """Wait for the first task that ends, also one started later, then raise TaskEnded from its exception."""
        await self._one_ended.wait()
        task = self._ended[0]
        error = None if task.cancelled() else task.exception()
        how = "was cancelled" if task.cancelled() else "returned" if error is None else f"failed: {error!r}"
        raise TaskEnded(f"task {task.get_name()!r} should never end, but {how}") from error

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._ended.append(task)
        self._one_ended.set()

    async def __aenter__(self) -> Tasks:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        for name, result in zip(
            [task.get_name() for task in self._tasks],
            await asyncio.gather(*self._tasks, return_exceptions=True),
            strict=True,
        ):
            if isinstance(result, Exception):
                log.error("task.failed", task=name, error=repr(result), exc_info=result)
