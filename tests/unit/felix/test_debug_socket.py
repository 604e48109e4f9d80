import asyncio
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from calico_openstack.felix.debug_socket import DebugSocket, ask

TABLES: dict[str, Callable[[int], str]] = {"numbers": lambda number: f"NUMBER\n{number}\n"}


def listening(path: Path, clients: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        server = await DebugSocket(lambda: 42, TABLES).start(str(path))
        async with asyncio.timeout(20):
            await clients()
        server.close()

    asyncio.run(run())


def test_a_table_is_asked_for_by_name(tmp_path: Path) -> None:
    path = tmp_path / "made" / "felix.sock"

    async def clients() -> None:
        assert await asyncio.to_thread(ask, str(path), "numbers") == "NUMBER\n42\n"
        with pytest.raises(ValueError, match="no such table; there are numbers"):
            await asyncio.to_thread(ask, str(path), "letters")

    listening(path, clients)


def test_the_socket_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "felix.sock"

    async def clients() -> None:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600

    listening(path, clients)


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "felix.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    async def clients() -> None:
        assert await asyncio.to_thread(ask, str(path), "numbers")

    listening(path, clients)


def test_a_socket_that_is_in_use_and_what_is_no_socket_are_left_alone(tmp_path: Path) -> None:
    path, file = tmp_path / "felix.sock", tmp_path / "file"
    file.write_text("mine")

    async def clients() -> None:
        for taken, reason in ((path, "another process listens"), (file, "no socket")):
            with pytest.raises(FileExistsError, match=reason):
                await DebugSocket(lambda: 0, TABLES).start(str(taken))
        assert await asyncio.to_thread(ask, str(path), "numbers") == "NUMBER\n42\n"

    listening(path, clients)
    assert file.read_text() == "mine"


def test_a_directory_that_cannot_be_made_costs_only_the_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def run() -> None:
        serving = asyncio.create_task(DebugSocket(lambda: 0, TABLES).serve(str(tmp_path / "file" / "felix.sock")))
        done, _ = await asyncio.wait({serving}, timeout=0.2)
        assert not done
        serving.cancel()

    asyncio.run(run())


def test_the_socket_goes_when_its_felix_goes(tmp_path: Path) -> None:
    path = tmp_path / "felix.sock"

    async def run() -> None:
        serving = asyncio.create_task(DebugSocket(lambda: 0, TABLES).serve(str(path)))
        async with asyncio.timeout(20):
            while not path.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(run())
    assert not path.exists()
