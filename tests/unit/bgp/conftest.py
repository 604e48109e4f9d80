"""Small clusters, written as the JSON that is in etcd, so that the tests read what the agent reads."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calico_openstack.bgp.sessions import Cluster
from calico_openstack.bgp.view import View
from calico_openstack.etcd.values import Event
from calico_openstack.model.keys import ResourceKey

Documents = dict[str, dict[str, Any]]


def cluster_of(documents: Documents) -> Cluster:
    """`{"Node/h1": {"spec": ..., "labels": ...}, ...}` by way of keys and bytes."""
    view = View()
    for revision, (subject, body) in enumerate(documents.items(), 1):
        kind, name = subject.split("/")
        document = {"kind": kind, "metadata": {"name": name, "labels": body.get("labels", {})}, "spec": body["spec"]}
        view.apply([Event(ResourceKey(kind, name).path, json.dumps(document).encode(), revision)])
    return view.cluster()


def nodes(count: int = 3, **extra: dict[str, Any]) -> Documents:
    """h1, h2, ...: 192.0.2.1, 2001:db8::1, ...; `extra` has more `spec.bgp` fields and labels for some of them."""
    documents = {}
    for number in range(1, count + 1):
        more = dict(extra.get(f"h{number}", {}))
        labels = more.pop("labels", {})
        bgp = {"ipv4Address": f"192.0.2.{number}/24", "ipv6Address": f"2001:db8::{number}/64", **more}
        documents[f"Node/h{number}"] = {"spec": {"bgp": bgp}, "labels": labels}
    return documents


@pytest.fixture(name="cluster_of")
def _cluster_of() -> Callable[[Documents], Cluster]:
    return cluster_of


@pytest.fixture(name="nodes")
def _nodes() -> Callable[..., Documents]:
    return nodes


@pytest.fixture
def bird_reads(tmp_path: Path) -> Callable[[str], str]:
    """What BIRD's own parser says of a text: nothing if it takes it."""
    binary = shutil.which("bird", path="/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/usr/local/bin")
    if binary is None:
        pytest.skip("no BIRD on this machine")

    def read(text: str) -> str:
        path = tmp_path / "bird.conf"
        path.write_text(text)
        answer = subprocess.run([binary, "-p", "-c", str(path)], capture_output=True, text=True)
        return "" if answer.returncode == 0 else answer.stdout + answer.stderr

    return read
