"""Work is proportional to the change: the same change costs the same on a small host and on a large one.

Counted are messages to and from the kernel, and calls of Python functions, never seconds.
"""

import contextlib
import random
import sys
from collections import Counter
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
from rig import documents
from rig.documents import Document
from rig.host import local_cloud
from rig.wires import Wires

from calico_openstack.etcd.values import Event
from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.datastore import Datastore
from calico_openstack.netlink import wire
from calico_openstack.netlink.socket import NetlinkSocket
from calico_openstack.testing.compute_host import own_namespace
from calico_openstack.testing.stage import Stage

pytestmark = pytest.mark.root

FEW, MANY = 10, 200
GROUPS = [90, 91]
SLACK = 1.25
"""A tree or a dict may be a little deeper."""


class Host:
    """The whole way from etcd's bytes to the kernel, stepped by hand."""

    def __init__(self, *documents_: Document) -> None:
        self.store = Datastore(Graph(documents.HERE))
        self.stage = Stage()
        self.take(*documents_)
        self.stage.settle()

    def take(self, *changed: Document) -> None:
        self.store.take([Event(*document, 1) for document in changed])
        self.stage.step(self.store.graph.flush(), seconds=3)

    def close(self) -> None:
        self.stage.dataplane.close()


@contextlib.contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Messages to and from the kernel, and calls of functions, while this is open."""
    counts: Counter[str] = Counter()
    send, read = NetlinkSocket._send, NetlinkSocket._read

    def sending(self: NetlinkSocket, data: bytes) -> None:
        counts["sent"] += sum(1 for _ in wire.messages(data))
        send(self, data)

    def reading(self: NetlinkSocket, flags: int = 0) -> Any:
        found = list(read(self, flags))
        counts["received"] += len(found)
        return found

    def called(frame: FrameType, event: str, argument: object) -> None:
        counts["calls"] += event in ("call", "c_call")

    with monkeypatch.context() as patch:
        patch.setattr(NetlinkSocket, "_send", sending)
        patch.setattr(NetlinkSocket, "_read", reading)
        sys.setprofile(called)
        try:
            yield counts
        finally:
            sys.setprofile(None)


def one_endpoint(local: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Counter[str], Counter[str]]:
    """What it costs that one endpoint comes, and that it goes."""
    with own_namespace(), contextlib.closing(Wires(range(local + 2))) as wires:
        # Another has the same groups, so that no chain is new; few have them, so that few flows are concerned.
        other = documents.endpoint(local + 1, documents.HERE, GROUPS)
        host = Host(*local_cloud(local), *map(documents.policy, GROUPS), other)
        document = documents.endpoint(local, documents.HERE, GROUPS)
        with counted(monkeypatch) as comes:
            host.take(document)
        wires.passes(local)
        host.stage.settle()
        with counted(monkeypatch) as goes:
            host.take(Document(document.key, None))  # type: ignore[arg-type]
        host.close()
        return comes, goes


def test_one_endpoint_costs_the_same_among_few_and_among_many(namespace: None, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = (one_endpoint(local, monkeypatch) for local in (FEW, MANY))

    for small, large in zip(few, many, strict=True):
        assert large["sent"] == small["sent"] > 5
        assert large["received"] <= SLACK * small["received"]
        assert large["calls"] <= SLACK * small["calls"]


def one_member(members: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    host = Host(
        documents.policy(0),
        documents.endpoint(0, documents.HERE, [0]),
        *(documents.endpoint(number, "elsewhere", [0]) for number in range(1, members)),
    )
    with counted(monkeypatch) as counts:
        host.take(documents.endpoint(members, "elsewhere", [0]))
    host.close()
    return counts


def test_one_member_costs_the_same_in_a_small_group_and_in_a_large_one(
    namespace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = (one_member(members, monkeypatch) for members in (20, 2000))

    assert large["sent"] == small["sent"]
    assert large["received"] == small["received"]
    assert large["calls"] <= SLACK * small["calls"]


def test_an_endpoint_elsewhere_in_no_group_of_ours_sends_nothing(
    namespace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(3)
    host = Host(documents.policy(0), documents.endpoint(0, documents.HERE, [0]))

    with counted(monkeypatch) as counts:
        host.take(*(documents.endpoint(n, "elsewhere", [chance.randrange(1, 9)]) for n in range(1, 50)))
    host.close()

    assert counts["sent"] == 0
