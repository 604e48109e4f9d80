from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest

from calico_openstack.neutron.process import Process


def test_threads_that_come_first_at_the_same_time_share_one_set_of_parts() -> None:
    made: list[object] = []

    def slow() -> Any:
        time.sleep(0.05)
        made.append(object())
        return made[-1]

    process = Process(slow)
    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(process.parts)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 1
    assert got == made * 8


def test_a_child_does_not_wait_for_what_the_parent_was_making_at_the_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen from the child: another process id, and a lock that nobody will release."""
    parent, being_made, end = os.getpid(), threading.Event(), threading.Event()

    def make() -> Any:
        if threading.current_thread() is holder:
            being_made.set()
            end.wait(10)
            return "the parent's"
        return "the child's"

    process = Process(make)
    holder = threading.Thread(target=lambda: process.parts)
    holder.start()
    assert being_made.wait(10)
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    got: list[Any] = []
    child = threading.Thread(target=lambda: got.append(process.parts), daemon=True)
    child.start()
    child.join(5)
    end.set()
    holder.join()

    assert got == ["the child's"]
