"""What BIRD may answer to "configure" (its nest/cmds.c and conf/conf.c, cmd_reconfig_msg), and what it means."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from calico_openstack.bgp.bird import Bird, BirdAway, Refused


def configured(directory: Path, answer: str) -> None:
    """Ask a BIRD that gives this answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"0001 BIRD 2.0.12 ready.\n")
        await reader.readline()
        writer.write(b"0002-Reading configuration from /etc/bird/bird.conf\n" + answer.encode() + b"\n")
        await writer.drain()
        writer.close()

    async def ask() -> None:
        path = directory / "bird.ctl"
        async with await asyncio.start_unix_server(serve, path):
            await Bird(path).configure()

    asyncio.run(ask())


@pytest.mark.parametrize(
    "answer",
    [
        "0003 Reconfigured",
        "0004 Reconfiguration in progress",
        "0005 Reconfiguration already in progress, queueing new config",
    ],
)
def test_a_file_that_was_read_is_in_force_now_or_soon(tmp_path: Path, answer: str) -> None:
    configured(tmp_path, answer)


def test_a_bird_that_is_shutting_down_refuses_nothing(tmp_path: Path) -> None:
    with pytest.raises(BirdAway, match="shutting down"):
        configured(tmp_path, "0006 Reconfiguration ignored, shutting down")


def test_a_file_with_an_error_is_refused_in_birds_words(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="7:3 syntax error"):
        configured(tmp_path, "8002 /etc/bird/bird.conf:7:3 syntax error")
