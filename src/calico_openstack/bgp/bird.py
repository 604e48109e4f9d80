"""BIRD's control socket: a thin skin over `calico_openstack.bgp.replies`.

Each conversation is a connection of its own: BIRD may be restarted at any time, and a socket file of a dead
BIRD refuses. All waiting is bounded; whatever goes wrong is a `BirdAway` (nobody answers, try later) or a
`Refused` (it answered: no).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from calico_openstack.bgp import replies
from calico_openstack.bgp.replies import DaemonState, Parser, ProtocolError, Reply, SessionState


class BirdAway(Exception):
    """Nobody answers on the socket."""


class Refused(Exception):
    """BIRD answered with an error; the text is BIRD's."""


class Conversation:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = Parser()
        self._waiting: list[Reply] = []

    async def greeting(self) -> Reply:
        return await self._reply()

    async def ask(self, command: str) -> Reply:
        """The whole reply to one command line; Refused if BIRD says no."""
        self._writer.write(command.encode() + b"\n")
        reply = await self._reply()
        if reply.refused:
            raise Refused(reply.text)
        return reply

    async def _reply(self) -> Reply:
        while not self._waiting:
            data = await self._reader.read(65536)
            if not data:
                raise BirdAway("BIRD closed the connection")
            self._waiting += self._parser.feed(data)
        return self._waiting.pop(0)


class Bird:
    """The BIRD behind `socket`. `timeout` is for one whole conversation, in seconds."""

    def __init__(self, socket: Path, timeout: float = 10.0) -> None:
        self.socket = socket
        self._timeout = timeout

    async def configure(self) -> None:
        """Read the configuration file again, and return when it is in force.

        BIRD answers 0003 when it is done, 0004 when protocols still shut down, or 0005 when it still is at the change
        before; it has read the new file in all three cases. One that is shutting down (0006) is as good as away: the
        next one reads the file when it starts.
        """
        async with self._talk() as bird:
            reply = await bird.ask("configure")
            if reply.code == replies.SHUTTING_DOWN:
                raise BirdAway(reply.text)
            if reply.code not in (replies.RECONFIGURED, replies.IN_PROGRESS, replies.QUEUED):
                raise Refused(reply.text)

    async def sessions(self) -> tuple[SessionState, ...]:
        async with self._talk() as bird:
            return replies.sessions(await bird.ask("show protocols all"))

    async def state(self) -> tuple[DaemonState, tuple[SessionState, ...]]:
        """The daemon and its sessions, in one conversation."""
        async with self._talk() as bird:
            daemon = replies.daemon(await bird.ask("show status"))
            return daemon, replies.sessions(await bird.ask("show protocols all"))

    @asynccontextmanager
    async def _talk(self) -> AsyncIterator[Conversation]:
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await asyncio.open_unix_connection(str(self.socket), limit=2**20)
                conversation = Conversation(reader, writer)
                await conversation.greeting()
                yield conversation
        except TimeoutError as error:
            raise BirdAway(f"no answer on {self.socket} within {self._timeout:g} s") from error
        except (OSError, ProtocolError) as error:
            raise BirdAway(f"{self.socket}: {error}") from error
        finally:
            if writer is not None:
                writer.close()
