"""One side of a comparison: a process with a network namespace of its own, that does a round whenever it is asked.

What is compared runs in several of them, one round here, one round there. A side is a generator function of a module
(the process imports it): everything up to the first `yield` is the preparation, each further step is a round, and what
is yielded goes to whoever asked. When the comparison ends, or fails, the generator is closed and the process ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import traceback
from collections.abc import Callable, Generator, Iterator
from multiprocessing.connection import Connection
from typing import Any

from calico_openstack.testing.compute_host import own_namespace

Rounds = Callable[..., Generator[Any, None, None]]


class Failed(Exception):
    """A round of the other process failed; its traceback."""


class Side:
    """Starts at once; `ready` waits for the end of the preparation."""

    def __init__(self, rounds: Rounds, *arguments: Any) -> None:
        # Spawned, not forked: gRPC and threads of the parent must not come along.
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, rounds, arguments), daemon=False)
        self._process.start()
        theirs.close()

    def ready(self) -> Any:
        return self._answer()

    def round(self) -> Any:
        self._ours.send(True)
        return self._answer()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._ours.send(False)
        self._process.join(60)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _answer(self) -> Any:
        try:
            failed, answer = self._ours.recv()
        except EOFError:
            raise Failed("the process ended") from None
        if failed:
            raise Failed(answer)
        return answer


@contextlib.contextmanager
def sides(**wanted: tuple[Any, ...]) -> Iterator[dict[str, Side]]:
    """By name: (generator function, arguments ...). Prepared one after the other, ended in any case."""
    with contextlib.ExitStack() as stack:
        made: dict[str, Side] = {}
        for name, (rounds, *arguments) in wanted.items():
            made[name] = Side(rounds, *arguments)
            stack.callback(made[name].close)
            made[name].ready()
        yield made


def _serve(pipe: Connection, rounds: Rounds, arguments: tuple[Any, ...]) -> None:
    with own_namespace():
        steps = rounds(*arguments)
        try:
            pipe.send((False, next(steps)))
            while pipe.recv():
                pipe.send((False, next(steps)))
        except EOFError:
            pass
        except BaseException:
            with contextlib.suppress(OSError):
                pipe.send((True, traceback.format_exc()))
        finally:
            steps.close()
