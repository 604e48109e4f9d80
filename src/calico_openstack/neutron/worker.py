"""Where the chores run: in a process of their own under neutron-periodic-workers, or in a thread of a small API
process.
"""

from __future__ import annotations

import threading
from typing import Any

from neutron_lib import worker
from oslo_config import cfg
from oslo_log import log

from calico_openstack.neutron import options
from calico_openstack.neutron.chores import Chores
from calico_openstack.neutron.process import Process

LOG = log.getLogger(__name__)


class ChoresWorker(worker.BaseWorker):
    """One process per controller (`worker_process_count` 1); the election decides which one does the work."""

    def __init__(self, process: Process) -> None:
        super().__init__(worker_process_count=1, desc="calico chores")
        self._process = process
        self._chores: Chores | None = None
        self._ended = threading.Event()

    def start(self, **kwargs: Any) -> None:
        super().start(desc="calico chores")
        self._ended.clear()
        self._chores = Chores(self._process.parts)
        self._chores.start()

    def stop(self) -> None:
        chores, self._chores = self._chores, None
        if chores is not None:
            chores.stop()
        self._process.close()
        self._ended.set()

    def wait(self) -> None:
        self._ended.wait()

    def reset(self) -> None:
        pass


def start_in_api(process: Process, trigger: Any) -> Chores | None:
    """At the start of a process: run the chores here if the options say so and this is an API process.

    The trigger is the worker's class in an API process and an instance in all others (Neutron 28 and 29).
    """
    if cfg.CONF[options.GROUP].chores != "api" or not isinstance(trigger, type):
        return None
    chores = Chores(process.parts)
    chores.start()
    return chores
