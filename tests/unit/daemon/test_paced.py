import asyncio
import socket
import time

import pytest

from calico_openstack.daemon.exchange import one_answer
from calico_openstack.daemon.paced import start


async def echo(reader: asyncio.StreamReader) -> bytes:
    return b"you asked " + (await reader.readline())


async def asked(port: int, question: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(question)
    answer = await reader.read()
    writer.close()
    return answer


def test_connections_are_taken_in_at_a_pace_and_none_is_lost() -> None:
    async def run() -> float:
        server = await start(one_answer(echo), "127.0.0.1", 0, pause=0.05)
        port = server.sockets[0].getsockname()[1]
        begun = time.monotonic()
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*(asked(port, b"%d\n" % number) for number in range(20)))
        assert answers == [b"you asked %d\n" % number for number in range(20)]
        await server.close()
        return time.monotonic() - begun

    assert asyncio.run(run()) >= 19 * 0.05


def test_a_closed_server_frees_its_port() -> None:
    async def run() -> None:
        first = await start(one_answer(echo), "127.0.0.1", 0)
        port = first.sockets[0].getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await start(one_answer(echo), "127.0.0.1", port)
        await first.close()
        second = await start(one_answer(echo), "127.0.0.1", port)
        assert await asyncio.wait_for(asked(port, b"again\n"), 20) == b"you asked again\n"
        await second.close()

    asyncio.run(run())


def test_without_a_host_all_addresses_are_served() -> None:
    async def run() -> set[int]:
        server = await start(one_answer(echo), None, 0)
        families = {one.family for one in server.sockets}
        by_family = {one.family: one.getsockname()[1] for one in server.sockets}
        assert await asyncio.wait_for(asked(by_family[socket.AF_INET], b"hello\n"), 20) == b"you asked hello\n"
        await server.close()
        return set(map(int, families))

    assert socket.AF_INET in asyncio.run(run())


def test_who_leaves_at_once_ends_no_listener() -> None:
    async def run() -> None:
        server = await start(one_answer(echo), "127.0.0.1", 0, pause=0.001)
        address = server.sockets[0].getsockname()
        for _ in range(20):
            with socket.create_connection(address) as client:
                # A reset instead of an end.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        assert await asyncio.wait_for(asked(address[1], b"still there\n"), 20) == b"you asked still there\n"
        await server.close()

    asyncio.run(run())
