"""What the agent tries again, and when. Store and clock are pretended, the BIRD that refuses is a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calico_openstack.bgp.agent import AGAIN, Agent
from calico_openstack.bgp.settings import read_settings
from calico_openstack.etcd.mirror import AsyncMirror
from calico_openstack.model.keys import ResourceKey
from calico_openstack.testing.fake_etcd import FakeEtcd


def settings_of(directory: Path, *lines: str) -> Any:
    config = directory / "bgp.cfg"
    files = [f"bird_config = {directory}/bird.conf", f"bird_socket = {directory}/bird.ctl"]
    config.write_text("\n".join(["[DEFAULT]", "host = h1", "[bgp]", *files, *lines, ""]))
    return read_settings(str(config))


def test_an_address_that_appears_after_the_start_gets_into_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[int, str] = {}
    monkeypatch.setattr("calico_openstack.bgp.settings.found_address", found.get)
    monkeypatch.setattr("calico_openstack.bgp.agent.found_address", found.get)
    monkeypatch.setattr("calico_openstack.bgp.agent.ADDRESS_RETRY", 0.01)
    settings, etcd = settings_of(tmp_path), FakeEtcd()
    node = ResourceKey("Node", "h1").path

    async def start_without_a_network() -> bytes:
        running = asyncio.create_task(Agent(settings, etcd.aio()).run())
        async with asyncio.timeout(20):
            async for batch in AsyncMirror(etcd.aio(), node).batches():
                for event in batch.events:
                    if event.value is not None and b"192.0.2.1" in event.value:
                        running.cancel()
                        return event.value
                found[4] = "192.0.2.1"
        raise AssertionError("a mirror ended")

    assert b'"ipv4Address":"192.0.2.1"' in asyncio.run(start_without_a_network())


def test_a_refused_file_is_tried_again_after_a_minute_though_looked_at_in_between(
    tmp_path: Path, cluster_of: Callable[..., Any], nodes: Callable[..., Any]
) -> None:
    bird = tmp_path / "bird"
    bird.write_text('#!/bin/sh\necho asked >>"$0.log"\nexit 1\n')
    bird.chmod(0o755)
    settings = settings_of(tmp_path, f"bird_binary = {bird}")
    now = 1000.0

    async def look_at(*seconds: float) -> list[int]:
        nonlocal now
        agent = Agent(settings, FakeEtcd().aio(), clock=lambda: now)
        asked = []
        for second in seconds:
            now = 1000.0 + second
            await agent.apply(cluster_of(nodes()))
            asked.append((tmp_path / "bird.log").read_text().count("asked"))
        return asked

    assert asyncio.run(look_at(0, 30, AGAIN, AGAIN + 30, 2 * AGAIN)) == [1, 1, 2, 2, 3]
