"""When the agent tries a refused configuration again. The clock is pretended, the BIRD that refuses is a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from calico_openstack.bgp.agent import AGAIN, Agent
from calico_openstack.bgp.settings import read_settings
from calico_openstack.testing.fake_etcd import FakeEtcd


def test_a_refused_file_is_tried_again_after_a_minute_though_looked_at_in_between(
    tmp_path: Path, cluster_of: Callable[..., Any], nodes: Callable[..., Any]
) -> None:
    bird = tmp_path / "bird"
    bird.write_text('#!/bin/sh\necho asked >>"$0.log"\nexit 1\n')
    bird.chmod(0o755)
    config = tmp_path / "bgp.cfg"
    config.write_text(
        "[DEFAULT]\nhost = h1\n"
        f"[bgp]\nbird_config = {tmp_path}/bird.conf\nbird_socket = {tmp_path}/bird.ctl\nbird_binary = {bird}\n"
    )
    now = 1000.0

    async def look_at(*seconds: float) -> list[int]:
        nonlocal now
        agent = Agent(read_settings(str(config)), FakeEtcd().aio(), clock=lambda: now)
        asked = []
        for second in seconds:
            now = 1000.0 + second
            await agent.apply(cluster_of(nodes()))
            asked.append((tmp_path / "bird.log").read_text().count("asked"))
        return asked

    assert asyncio.run(look_at(0, 30, AGAIN, AGAIN + 30, 2 * AGAIN)) == [1, 1, 2, 2, 3]
