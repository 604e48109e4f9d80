"""What one process of Neutron holds: a connection to etcd and the background thread.

ML2 calls `initialize()` before uWSGI or neutron-periodic-workers fork, so nothing is made there. `Process` makes its
parts at the first use in each process id.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from oslo_config import cfg

from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.neutron import database, options
from calico_openstack.neutron.background import Background
from calico_openstack.neutron.projects import Projects
from calico_openstack.neutron.sync import Synchroniser

BACKGROUND_TIMEOUT: Final = 10.0
"""Seconds that one retry may take, so that what waits behind it is not held up for `etcd_timeout`."""


@dataclass(frozen=True, slots=True)
class Parts:
    """`client` waits `etcd_timeout` for a call, unless told otherwise."""

    client: BlockingClient
    projects: Projects
    synchroniser: Synchroniser
    background: Background


def make_parts() -> Parts:
    group = cfg.CONF[options.GROUP]
    client = BlockingClient(options.etcd_settings())
    projects = Projects(database.endpoint_port_ids_of_project, group.project_name_cache_max)
    synchroniser = Synchroniser(client, options.site(), database, projects.known)
    background = Background(synchroniser, group.etcd_request_timeout, min(group.etcd_timeout, BACKGROUND_TIMEOUT))
    projects.on_news(background.owe)
    return Parts(client, projects, synchroniser, background)


class Process:
    """`parts` is the same object for all threads of a process and another one after a fork."""

    def __init__(self, make: Callable[[], Parts] = make_parts) -> None:
        self._make = make
        # By process id: a lock that another thread held at the fork would never be released in the child.
        self._locks: dict[int, threading.Lock] = {}
        self._pid = 0
        self._parts: Parts | None = None

    @property
    def parts(self) -> Parts:
        pid = os.getpid()
        parts = self._parts
        if parts is not None and self._pid == pid:
            return parts
        with self._locks.setdefault(pid, threading.Lock()):
            if self._parts is None or self._pid != pid:
                self._parts = self._make()
                self._pid = pid
            return self._parts

    def close(self) -> None:
        parts, self._parts = self._parts, None
        if parts is not None and self._pid == os.getpid():
            parts.background.stop()
            parts.client.close()
