"""One question, one answer, and the connection closes: how an agent answers probes, scrapers and operators.

Whoever connects may send nothing, half a question or an endless one, or never read the answer. After `SECONDS` the
connection is cut, above `MOST` connections at once a newcomer is closed unheard, and neither costs the agent more
than the memory of these connections. So much HTTP/1.0 as probes and scrapers need is here, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

SECONDS = 5.0
"""For the whole exchange."""

MOST = 64
"""Connections of one listener at the same time."""

LINE = 8192
"""Bytes of the longest line that is read; give it to asyncio as `limit`."""

Answer = Callable[[asyncio.StreamReader], Awaitable[bytes]]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def one_answer(answer: Answer, seconds: float = SECONDS, most: int = MOST) -> Handler:
    """A handler for `asyncio.start_server`: `answer` reads the question and gives all that is sent back.

    ValueError (a line too long), ConnectionError and EOFError of `answer` end the connection without an answer.
    """
    served = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        if served >= most:
            writer.transport.abort()
            return
        served += 1
        try:
            with suppress(OSError, EOFError, ValueError):
                async with asyncio.timeout(seconds):
                    writer.write(await answer(reader))
                    writer.close()
                    await writer.wait_closed()
        finally:
            served -= 1
            writer.transport.abort()

    return handle


async def http_request(reader: asyncio.StreamReader) -> bytes:
    """The request line. The header lines are read, too: left unread they would turn the close into a reset."""
    request = await reader.readline()
    while (await reader.readline()).strip():
        pass
    return request


def http_path(request_line: bytes) -> bytes:
    """The path that a GET or HEAD asks for, without a query; empty for anything else."""
    words = request_line.split()
    return words[1].split(b"?")[0] if len(words) >= 2 and words[0] in (b"GET", b"HEAD") else b""


def http_answer(request_line: bytes, status: str, body: bytes, kind: str = "text/plain; charset=utf-8") -> bytes:
    """The whole HTTP/1.0 answer; without `body` for a HEAD."""
    head = f"HTTP/1.0 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + (b"" if request_line.split()[:1] == [b"HEAD"] else body)
