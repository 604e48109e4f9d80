"""The debug socket: one line with the name of a table in, that table out. Root only (mode 0600).

The answer begins with a line `ok`, or `error: ...`. Felix needs the socket for nothing: where it cannot be had, that
is said once and everything else goes on.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Generic, TypeVar

from calico_openstack.daemon.exchange import LINE, one_answer
from calico_openstack.daemon.logs import get_logger

log = get_logger("felix.debug")

OK = "ok"

S = TypeVar("S")


class DebugSocket(Generic[S]):
    """`snapshot` is called in the loop and must be quick; the tables are written in a thread of their own."""

    def __init__(self, snapshot: Callable[[], S], tables: Mapping[str, Callable[[S], str]]) -> None:
        self._snapshot = snapshot
        self._tables = tables

    async def serve(self, path: str | None) -> None:
        """For ever. None means: none."""
        server = None
        if path is not None:
            try:
                server = await self.start(path)
            except OSError as error:
                log.warning("debug_socket.off", path=path, reason=error.strerror or str(error))
        try:
            await asyncio.Event().wait()
        finally:
            if server is not None and path is not None:
                server.close()
                with suppress(OSError):
                    os.unlink(path)

    async def start(self, path: str) -> asyncio.Server:
        """OSError if the socket cannot be had; FileExistsError if another process answers there."""
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        _clear(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(path)
            # Nobody can connect before it listens.
            os.chmod(path, 0o600)
            return await asyncio.start_unix_server(one_answer(self._answer), sock=listener, limit=LINE)
        except BaseException:
            listener.close()
            raise

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        name = (await reader.readline()).decode(errors="replace").strip()
        write = self._tables.get(name)
        if write is None:
            return f"error: there is no such table; there are {', '.join(self._tables)}\n".encode()
        return f"{OK}\n{await asyncio.to_thread(write, self._snapshot())}".encode()


def ask(path: str, table: str, seconds: float = 10.0) -> str:
    """The table, from the Felix that listens at `path`. OSError if none does; ValueError if it says no."""
    with _connected(path, seconds) as client:
        client.sendall(f"{table}\n".encode())
        chunks = []
        while chunk := client.recv(1 << 16):
            chunks.append(chunk)
    first, _, rest = b"".join(chunks).decode().partition("\n")
    if first != OK:
        raise ValueError(first.removeprefix("error: ") or "it closed the connection without an answer")
    return rest


@contextmanager
def _connected(path: str, seconds: float) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(seconds)
        client.connect(path)
        yield client


def _clear(path: str) -> None:
    """Remove what a former process left."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(None, "there is something that is no socket")
    except FileNotFoundError:
        return
    try:
        with _connected(path, 1.0):
            raise FileExistsError(None, "another process listens there")
    except ConnectionRefusedError:
        os.unlink(path)
