"""A listener that takes in so many connections a second and no more; the others wait in the kernel's queue.

For ports that more than this host can reach: whoever connects in a tight circle, and be it to a listener with TLS,
where each connection costs a signature, takes a few percent of one core from an agent, and nothing else. (asyncio's
own servers accept as fast as anybody connects.)
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from contextlib import suppress

from calico_openstack.daemon.exchange import LINE, SECONDS, Handler

PAUSE = 0.02
"""Seconds between two connections."""

_NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


class PacedServer:
    """Listens until `close`. Make it with `start`."""

    def __init__(
        self, sockets: list[socket.socket], handler: Handler, tls: ssl.SSLContext | None, pause: float
    ) -> None:
        self.sockets = sockets
        self._handler = handler
        self._tls = tls
        self._pause = pause
        self._greeted: set[asyncio.Task[None]] = set()
        self._accepting = [asyncio.create_task(self._accept(one), name="accept") for one in sockets]

    async def close(self) -> None:
        """The ports are free afterwards. Connections that are open are served to their end."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for one in self.sockets:
            one.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            # An OSError is about the connection, or there are too many open files: nothing that ends a listener.
            with suppress(OSError):
                connection, _ = await loop.sock_accept(listener)
                task = asyncio.create_task(self._greet(connection))
                self._greeted.add(task)
                task.add_done_callback(self._greeted.discard)
            await asyncio.sleep(self._pause)

    async def _greet(self, connection: socket.socket) -> None:
        reader = asyncio.StreamReader(limit=LINE)
        protocol = asyncio.StreamReaderProtocol(reader, self._handler)
        limit = None if self._tls is None else SECONDS
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, connection, ssl=self._tls, ssl_handshake_timeout=limit
            )
        except OSError:
            connection.close()


async def start(
    handler: Handler, host: str | None, port: int, tls: ssl.SSLContext | None = None, pause: float = PAUSE
) -> PacedServer:
    """Listen on all addresses of `host` (None: of this machine). OSError if that is not possible."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            try:
                sockets.append(_listener(family, address))
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                missing = error
    except OSError:
        for one in sockets:
            one.close()
        raise
    if not sockets:
        raise missing or OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    return PacedServer(sockets, handler, tls, pause)


def _listener(family: int, address: object) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen(64)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
