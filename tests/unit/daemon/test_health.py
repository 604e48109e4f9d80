import asyncio

from calico_openstack.daemon.health import Health, response, serve


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_part_that_misses_its_timeout_is_neither_live_nor_ready() -> None:
    clock = Clock()
    health = Health(clock)
    health.register("apply", timeout=10, ready=True)

    clock.now += 10
    assert health.ready
    clock.now += 1
    assert (health.live, health.ready) == (False, False)

    health.beat("apply")
    assert health.ready


def test_a_part_that_is_not_ready_is_still_live() -> None:
    health = Health(Clock())
    health.register("first-apply")

    assert (health.live, health.ready) == (True, False)
    assert b"200 OK" in response(health, b"GET /liveness HTTP/1.1\r\n")
    assert b"503" in response(health, b"GET /readiness HTTP/1.1\r\n")


def test_a_signal_counts_once_and_shows_in_the_table() -> None:
    health = Health(Clock())

    assert health.signal("store-in-sync") is True
    assert health.signal("store-in-sync") is False
    assert "signal store-in-sync" in health.table()


def test_anything_but_the_two_paths_is_not_found() -> None:
    health = Health(Clock())

    for line in (b"GET / HTTP/1.1\r\n", b"POST /liveness HTTP/1.1\r\n", b"rubbish\r\n", b"", b"\xff\xfe"):
        assert b"404" in response(health, line)


def test_the_server_answers_over_a_socket() -> None:
    async def ask() -> bytes:
        health = Health()
        health.register("loop", ready=True)
        server = await serve(health, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /readiness HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        server.close()
        return answer

    assert b"200 OK" in asyncio.run(ask())


def test_headers_that_come_late_do_not_cost_the_answer() -> None:
    async def ask() -> bytes:
        health = Health()
        server = await serve(health, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /liveness HTTP/1.1\r\n")
        await writer.drain()
        for number in range(20):
            writer.write(b"X-Header-%d: x\r\n" % number)
            await writer.drain()
        writer.write(b"\r\n")
        answer = await reader.read()
        writer.close()
        server.close()
        return answer

    assert b"200 OK" in asyncio.run(ask())
