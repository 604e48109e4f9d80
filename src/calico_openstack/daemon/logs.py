"""Logs as events with key-values, on standard error.

`setup` is called once, by a program's `main`. Modules do `log = get_logger("felix.routes")` and say
`log.info("route.added", dest=..., dev=...)`. Lines are plain text without colours when standard error is not a
terminal, so that systemd's journal and a log file read the same. Records of libraries that use the standard
`logging` come out in the same form.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from typing import Any, TextIO

import structlog

# Upstream's names on the left (felix/config); "TRACE" and "NONE" have no level of their own in Python.
LEVELS: dict[str, int] = {
    "TRACE": logging.DEBUG,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
    "CRITICAL": logging.CRITICAL,
    "NONE": logging.CRITICAL + 10,
}


class Written(logging.StreamHandler[TextIO]):
    """Writes lines, and counts them by level, and those that could not be written."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.lines: Counter[str] = Counter()
        self.errors = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.lines[record.levelname.lower()] += 1
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """A standard error that is full or gone must not end an agent; there is nowhere to complain."""
        self.errors += 1
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def written() -> Written | None:
    """The counts since `setup`; None before it."""
    return next((handler for handler in logging.getLogger().handlers if isinstance(handler, Written)), None)


def setup(level: str = "INFO", **bound: str) -> None:
    """Send everything of `level` and above to standard error; `bound` key-values (host=...) go on each line.

    An unknown level means INFO: a typing error in a settings file must not silence an agent.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        timestamp_key="time",
        pad_event_to=32,
        # Where `rich` is installed the default shows the local variables of each frame, and passwords among them.
        exception_formatter=structlog.dev.plain_traceback,
    )
    handler = Written(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    set_level(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)


def set_level(level: str) -> None:
    """Another level from now on, for lines of ours and of libraries; unknown ones as in `setup`."""
    number = LEVELS.get(level.upper(), logging.INFO)
    if logging.getLogger().level != number:
        logging.getLogger().setLevel(number)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose lines carry `name`, the part of the program that speaks ("felix.routes")."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(f"calico.{name}")
    return logger
