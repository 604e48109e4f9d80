import asyncio
from collections.abc import Awaitable, Callable

import pytest

from calico_openstack.daemon.exchange import LINE, http_answer, http_path, http_request, one_answer

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader) -> bytes:
    return b"you asked " + (await reader.readline())


def serving(clients: Callable[[Callable[[], Awaitable[Streams]]], Awaitable[None]], **limits: float) -> None:
    """Run `clients` against a server that echoes a line."""

    async def run() -> None:
        handler = one_answer(echo, **limits)  # type: ignore[arg-type]
        server = await asyncio.start_server(handler, "127.0.0.1", 0, limit=LINE)
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(20):
            await clients(lambda: asyncio.open_connection("127.0.0.1", port))
        server.close()

    asyncio.run(run())


async def asked(connection: Streams, question: bytes) -> bytes:
    reader, writer = connection
    writer.write(question)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def test_a_question_is_answered_and_the_connection_closed() -> None:
    async def clients(connect: Callable[[], Awaitable[Streams]]) -> None:
        assert await asked(await connect(), b"how are you\n") == b"you asked how are you\n"

    serving(clients)


@pytest.mark.parametrize("question", [b"", b"half a quest", b"x" * (2 * LINE)], ids=["nothing", "half", "endless"])
def test_who_never_finishes_the_question_is_cut_off(question: bytes) -> None:
    async def clients(connect: Callable[[], Awaitable[Streams]]) -> None:
        assert await asked(await connect(), question) == b""

    serving(clients, seconds=0.05)


def test_who_comes_when_all_places_are_taken_is_closed_unheard_and_others_are_served_again_later() -> None:
    async def clients(connect: Callable[[], Awaitable[Streams]]) -> None:
        silent = [await connect() for _ in range(3)]
        assert await asked(await connect(), b"hello\n") == b""
        for reader, _ in silent:
            assert await reader.read() == b""
        assert await asked(await connect(), b"hello\n") == b"you asked hello\n"
        for _, writer in silent:
            writer.close()

    serving(clients, seconds=0.5, most=3)


def test_a_client_that_does_not_read_its_answer_is_cut_off() -> None:
    ended = asyncio.Event()

    async def flood(reader: asyncio.StreamReader) -> bytes:
        await reader.readline()
        return b"x" * (64 << 20)

    async def run() -> None:
        handle = one_answer(flood, seconds=0.2)

        async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await handle(reader, writer)
            ended.set()

        server = await asyncio.start_server(noted, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2], limit=1)
        writer.write(b"all\n")
        async with asyncio.timeout(20):
            await ended.wait()
        writer.transport.abort()
        server.close()

    asyncio.run(run())


def test_http_is_read_to_the_end_of_the_head() -> None:
    async def run() -> bytes:
        reader = asyncio.StreamReader()
        reader.feed_data(b"GET /metrics?x=1 HTTP/1.1\r\nHost: here\r\n\r\nrest")
        request = await http_request(reader)
        assert await reader.read(4) == b"rest"
        return http_path(request)

    assert asyncio.run(run()) == b"/metrics"


def test_a_head_request_gets_the_length_but_no_body() -> None:
    answer = http_answer(b"HEAD /metrics HTTP/1.0\r\n", "200 OK", b"body")

    assert answer.endswith(b"Content-Length: 4\r\n\r\n")
