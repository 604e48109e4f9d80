"""Names and parents of projects, asked of Keystone in the background.

No request ever waits for Keystone: `known` answers from memory and puts the rest on a list that a thread works off; the
ports of a project are looked at again once its name has arrived. Until then a document keeps the name label that it
has. Without Keystone (`auth_strategy = noauth`, or no usable `[keystone_authtoken]`) there are no project-name labels.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from keystoneauth1 import loading
from keystoneauth1.session import Session
from oslo_config import cfg
from oslo_log import log

from calico_openstack.neutron.sync import Changes, Ref
from calico_openstack.neutron.translate.labels import Project

LOG = log.getLogger(__name__)

FRESH: Final = 3600.0
"""Seconds after which a name is asked for again (a project may be renamed)."""
PATIENCE: Final = 60.0
"""Seconds until Keystone is asked again after it failed."""
UNKNOWN: Final = Project("", "")


def keystone_lookup(conf: Any = cfg.CONF) -> Callable[[str], Project] | None:
    """A function that asks Keystone for one project, or None where there is no Keystone."""
    if conf.auth_strategy == "noauth":
        return None
    try:
        session = _session(conf, "keystone_authtoken")
    except Exception as error:
        LOG.warning(
            "No project names in labels: [keystone_authtoken] cannot be used (%s). Give it auth_type, auth_url, "
            "username and password of a user who may show projects",
            error,
        )
        return None

    def lookup(project_id: str) -> Project:
        answer = session.get(
            f"/projects/{project_id}",
            endpoint_filter={"service_type": "identity", "interface": "internal", "version": (3, 0)},
            raise_exc=False,
            timeout=10,
        )
        if answer.status_code == 404:
            return UNKNOWN
        answer.raise_for_status()
        project = answer.json()["project"]
        return Project(str(project.get("name") or ""), str(project.get("parent_id") or ""))

    return lookup


def _session(conf: Any, group: str) -> Session:
    loading.register_auth_conf_options(conf, group)
    try:
        loading.register_session_conf_options(conf, group)
    except cfg.DuplicateOptError:
        # keystonemiddleware has registered the same names with other texts; the values are what counts.
        pass
    auth = loading.load_auth_from_conf_options(conf, group)
    if auth is None:
        raise ValueError("auth_type is not set")
    section = conf[group]
    cert = (section.certfile, section.keyfile) if section.certfile and section.keyfile else section.certfile
    return Session(auth=auth, verify=False if section.insecure else section.cafile or True, cert=cert)


class Projects:
    """`limit` names are remembered, the least used goes first. Thread-safe; the thread starts at the first question."""

    def __init__(
        self,
        ports_of_project: Callable[[str], Iterable[str]],
        limit: int = 10000,
        make_lookup: Callable[[], Callable[[str], Project] | None] = keystone_lookup,
    ) -> None:
        self._ports_of_project = ports_of_project
        self._limit = limit
        self._make_lookup = make_lookup
        self._lock = threading.Condition()
        self._known: OrderedDict[str, tuple[Project, float]] = OrderedDict()
        self._asked: OrderedDict[str, None] = OrderedDict()
        self._thread: threading.Thread | None = None
        self._on_news: Callable[[Changes], None] = lambda changes: None

    def on_news(self, listener: Callable[[Changes], None]) -> None:
        """`listener` is given the ports of a project whose name has become known or changed."""
        self._on_news = listener

    def known(self, ids: set[str]) -> Mapping[str, Project]:
        now = time.monotonic()
        found: dict[str, Project] = {}
        with self._lock:
            for project_id in ids:
                entry = self._known.get(project_id)
                if entry is not None:
                    found[project_id] = entry[0]
                    self._known.move_to_end(project_id)
                if entry is None or now - entry[1] > FRESH:
                    self._asked[project_id] = None
            if self._asked and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="calico-projects", daemon=True)
                self._thread.start()
            self._lock.notify_all()
        return found

    def _run(self) -> None:
        try:
            lookup = self._make_lookup()
        except Exception:
            LOG.exception("No project names in labels")
            return
        if lookup is None:
            return
        failing = False
        while True:
            with self._lock:
                while not self._asked:
                    self._lock.wait()
                project_id = next(iter(self._asked))
            try:
                project = lookup(project_id)
            except Exception as error:
                # Once per failure, not each minute in each process.
                level = logging.DEBUG if failing else logging.WARNING
                LOG.log(level, "Keystone did not tell the name of project %s: %s", project_id, error)
                failing = True
                with self._lock:
                    self._asked.move_to_end(project_id)
                time.sleep(PATIENCE)
                continue
            failing = False
            self._learn(project_id, project)

    def _learn(self, project_id: str, project: Project) -> None:
        with self._lock:
            self._asked.pop(project_id, None)
            before = self._known.pop(project_id, None)
            self._known[project_id] = (project, time.monotonic())
            while len(self._known) > max(self._limit, 1):
                self._known.popitem(last=False)
        if before is None or before[0] != project:
            try:
                ids = self._ports_of_project(project_id)
                self._on_news({Ref("port", port_id): frozenset() for port_id in ids})
            except Exception:
                LOG.exception("Cannot find the ports of project %s", project_id)
