"""What the user sees while stages run: live lines on a terminal, one plain line per finished stage elsewhere."""

import threading
import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


def make_console() -> Console:
    """The terminal as it is; a pipe or a file gets lines wide enough for IPv6 addresses."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=150)


class Progress(Protocol):
    """Told by the executor, from several threads."""

    def begin(self, titles: list[str]) -> None: ...
    def started(self, title: str) -> None: ...
    def step(self, title: str, number: int, of: int, what: str) -> None: ...
    def finished(self, title: str) -> None: ...
    def failed(self, title: str) -> None: ...


class Silent:
    """For tests: says nothing."""

    def begin(self, titles: list[str]) -> None: ...
    def started(self, title: str) -> None: ...
    def step(self, title: str, number: int, of: int, what: str) -> None: ...
    def finished(self, title: str) -> None: ...
    def failed(self, title: str) -> None: ...


class Shown:
    """Shows stages on a console. A context manager, so that the terminal is put right whatever happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._bars = Bars(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[now]}"),
            console=console,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Shown":
        self._bars.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.__exit__(kind, error, trace)

    def begin(self, titles: list[str]) -> None:
        """Nothing is shown for a stage before it starts: the list would be longer than the screen."""

    def started(self, title: str) -> None:
        with self._lock:
            self._since[title] = time.monotonic()
            if self._live:
                self._tasks[title] = self._bars.add_task(title, total=None, now="")

    def step(self, title: str, number: int, of: int, what: str) -> None:
        if self._live:
            line = what.splitlines()[0]
            width = max(20, self._console.width - 60)
            shown = line if len(line) <= width else line[: width - 1] + "…"
            self._bars.update(self._tasks[title], total=of, completed=number - 1, now=shown.replace("[", "\\["))

    def finished(self, title: str) -> None:
        took = time.monotonic() - self._since[title]
        if self._live:
            task = self._tasks[title]
            total = self._bars.tasks[task].total or 1
            self._bars.update(task, total=total, completed=total, now="")
        else:
            with self._lock:
                self._console.print(f"  {title:<44} {took:6.1f} s", highlight=False)

    def failed(self, title: str) -> None:
        if self._live:
            self._bars.update(self._tasks[title], description=f"[red]{title}[/]", now="failed")
        else:
            with self._lock:
                self._console.print(f"  {title:<44} failed", highlight=False)
