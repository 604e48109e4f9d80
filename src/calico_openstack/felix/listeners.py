"""Where a running Felix can be asked: health, metrics, the debug socket. Each follows its settings as they change.

A listener that cannot be had (port taken, no such address) is reported and tried again: settings come from etcd for
all hosts at once, and none of them is to stop programming guests for want of somebody to ask.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from calico_openstack.daemon.health import serve
from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.tasks import Tasks
from calico_openstack.felix.debug_socket import DebugSocket
from calico_openstack.felix.metrics_server import METRICS_SETTINGS, MetricsServer
from calico_openstack.felix.running import Running
from calico_openstack.felix.settings import FelixSettings
from calico_openstack.felix.snapshot import snapshot
from calico_openstack.felix.tables import TABLES

log = get_logger("felix.listeners")

AGAIN = 10.0
"""Seconds between two tries to serve health."""


def start(tasks: Tasks, running: Running) -> None:
    """Serve for ever."""
    tasks.start("health", _health(running))
    tasks.start("metrics", _metrics(running))
    tasks.start("debug socket", _tables(running))


async def _health(running: Running) -> None:
    while True:
        settings = running.settings
        async with Tasks() as tasks:
            if settings.health_enabled:
                tasks.start("health server", _serve_health(running, settings.health_host, settings.health_port))
            await running.unchanged(tasks, settings, _values("health_enabled", "health_host", "health_port"))


async def _serve_health(running: Running, host: str, port: int) -> None:
    """Until cancelled; never raises for what cannot be served. Each reason is said once."""
    said = ""
    while True:
        try:
            server = await serve(running.health, host, port)
        except (OSError, ValueError) as error:
            if str(error) != said:
                said = str(error)
                cure = "free the port, or set HealthHost and HealthPort"
                log.warning("health.not_served", host=host, port=port, reason=said, cure=cure, again_in=AGAIN)
            await asyncio.sleep(AGAIN)
            continue
        if said:
            log.info("health.served", host=host, port=port)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()


async def _metrics(running: Running) -> None:
    wanted = _values("prometheus_metrics_enabled")
    while not running.settings.prometheus_metrics_enabled:
        await running.changed(running.settings, wanted)
    # The library costs some milliseconds and megabytes: only where it is wanted.
    from calico_openstack.felix.metrics import exposition

    server = MetricsServer(lambda: exposition(running, time.monotonic()))
    while True:
        settings = running.settings
        async with Tasks() as tasks:
            tasks.start("metrics server", server.serve(settings))
            await running.unchanged(tasks, settings, _values(*METRICS_SETTINGS))


async def _tables(running: Running) -> None:
    tables = DebugSocket(lambda: snapshot(running, time.monotonic()), TABLES)
    await tables.serve(running.settings.debug_socket_path)


def _values(*names: str) -> Callable[[FelixSettings], tuple[object, ...]]:
    return lambda settings: tuple(getattr(settings, name) for name in names)
