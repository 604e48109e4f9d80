from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from calico_openstack.neutron import projects as module
from calico_openstack.neutron.projects import Projects
from calico_openstack.neutron.sync import Ref
from calico_openstack.neutron.translate.labels import Project


def eventually(check: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def ports(project_id: str) -> list[str]:
    return [f"port-of-{project_id}"]


def test_nobody_waits_for_keystone_and_the_ports_are_looked_at_when_it_has_answered() -> None:
    may_answer, news = threading.Event(), []

    def lookup(project_id: str) -> Project:
        may_answer.wait(10)
        return Project(f"name of {project_id}", "default")

    projects = Projects(ports, make_lookup=lambda: lookup)
    projects.on_news(news.append)
    assert projects.known({"one"}) == {}

    may_answer.set()
    eventually(lambda: projects.known({"one"}) == {"one": Project("name of one", "default")})
    eventually(lambda: news == [{Ref("port", "port-of-one"): frozenset()}])


def test_a_failing_keystone_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    answers: list[Any] = [RuntimeError("away"), RuntimeError("away"), Project("demo", "")]

    def lookup(project_id: str) -> Project:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Project(answer.name, answer.parent_id)

    projects = Projects(ports, make_lookup=lambda: lookup)
    eventually(lambda: projects.known({"one"}) == {"one": Project("demo", "")})


def test_the_least_used_name_is_forgotten_first() -> None:
    projects = Projects(ports, limit=2, make_lookup=lambda: lambda project_id: Project(project_id, ""))
    for project_id in ("one", "two"):
        eventually(lambda project_id=project_id: projects.known({project_id}))
    projects.known({"one"})
    eventually(lambda: projects.known({"three"}))

    assert set(projects._known) == {"one", "three"}


def test_without_keystone_nothing_is_known_and_nothing_fails() -> None:
    projects = Projects(ports, make_lookup=lambda: None)

    assert projects.known({"one"}) == {}
    assert projects.known({"one"}) == {}


def test_a_project_that_keystone_will_not_tell_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)

    def lookup(project_id: str) -> Project:
        if project_id == "hidden":
            raise RuntimeError("as planned")
        return Project(project_id, "")

    projects = Projects(ports, make_lookup=lambda: lookup)
    projects.known({"hidden"})
    eventually(lambda: projects.known({"one"}) == {"one": Project("one", "")})
