"""A real server that is killed, frozen, compacted, secured; several: nothing lost, nothing twice, nothing silent."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from calico_openstack.etcd.aio import AsyncClient
from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.errors import PermissionDenied, Unauthenticated, Unavailable
from calico_openstack.etcd.mirror import AsyncMirror, BlockingMirror
from calico_openstack.etcd.values import EtcdSettings, Event, Put
from calico_openstack.testing.certificates import make_certificates
from calico_openstack.testing.etcd_server import EtcdCluster, EtcdServer, free_port


class Collector:
    """Follows a watch or a mirror on a thread (through an asyncio client: on the loop) and keeps every event."""

    def __init__(self, source: Callable[[], Any], kind: str, loop: Any) -> None:
        self.events: list[Event] = []
        self.error: BaseException | None = None
        self.items: Any = None
        self._more = threading.Condition()
        if kind == "asyncio":
            self._loop = loop

            async def collect() -> None:
                async for batch in source():
                    self._take(batch)

            loop.run(self._spawn(collect))
        else:
            self.items = source()
            threading.Thread(target=self._collect, daemon=True).start()

    async def _spawn(self, collect: Any) -> None:
        import asyncio

        self.task = asyncio.create_task(collect())

    def _collect(self) -> None:
        try:
            for batch in self.items:
                self._take(batch)
        except BaseException as error:
            self.error = error

    def _take(self, batch: Any) -> None:
        with self._more:
            self.events += batch.events
            self._more.notify_all()

    def wait(self, count: int, seconds: float = 60) -> None:
        with self._more:
            arrived = self._more.wait_for(lambda: len(self.events) >= count, seconds)
        assert arrived, f"{len(self.events)} of {count} events after {seconds} s; error: {self.error}"

    def close(self) -> None:
        if self.items is not None:
            self.items.close()
        else:
            self._loop.run(self._cancel())

    async def _cancel(self) -> None:
        import asyncio

        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture(params=["blocking", "asyncio"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def watching(kind: str, loop: Any) -> Iterator[Callable[..., Collector]]:
    """Collect a watch of `/w/` from a revision on, through either client."""
    made: list[tuple[Collector, Any]] = []

    def start(settings: EtcdSettings, start: int) -> Collector:
        client: Any = BlockingClient(settings) if kind == "blocking" else AsyncClient(settings)
        collector = Collector(lambda: client.watch("/w/", start), kind, loop)
        made.append((collector, client))
        return collector

    yield start
    for collector, client in made:
        collector.close()
        if kind == "blocking":
            client.close()
        else:
            loop.run(client.close())


@pytest.fixture
def writer() -> Iterator[Callable[[EtcdSettings], BlockingClient]]:
    made: list[BlockingClient] = []

    def make(settings: EtcdSettings) -> BlockingClient:
        made.append(BlockingClient(settings))
        return made[-1]

    yield make
    for client in made:
        client.close()


def settings_for(*servers: EtcdServer, **more: Any) -> EtcdSettings:
    return EtcdSettings(tuple(server.endpoint for server in servers), **more)


@contextmanager
def secured(server: EtcdServer) -> Iterator[EtcdServer]:
    """A server that wants users; root's password is `pw`."""
    with server:
        server.etcdctl("user", "add", "root:pw")
        server.etcdctl("auth", "enable")
        yield server


def assert_each_once(events: list[Event], count: int) -> None:
    seen = Counter(event.mod_revision for event in events)
    assert (len(events), len(seen)) == (count, count), "some events are lost or come twice"


def test_a_watch_survives_a_server_that_is_away_for_four_seconds(
    server: EtcdServer, watching: Any, writer: Any
) -> None:
    settings = settings_for(server)
    client = writer(settings)
    collector = watching(settings, 1)
    for number in range(20):
        client.put(f"/w/{number}", b"x")
    collector.wait(20)

    server.kill()
    time.sleep(4)  # the outage itself
    server.start()
    back = time.monotonic()
    for number in range(20, 60):
        client.put(f"/w/{number}", b"x")
    collector.wait(60)

    assert time.monotonic() - back < 6
    assert_each_once(collector.events, 60)


def test_a_server_killed_while_a_watcher_catches_up_with_30000_events_costs_none(
    server: EtcdServer, watching: Any, writer: Any
) -> None:
    settings = settings_for(server)
    client = writer(settings)
    for begin in range(0, 30_000, 100):
        client.txn([], [Put(f"/w/{number}", b"x" * 100) for number in range(begin, begin + 100)])
    collector = watching(settings, 1)
    collector.wait(1000)

    server.kill()
    server.start()
    collector.wait(30_000)

    seen = Counter(event.key for event in collector.events)
    assert len(seen) == 30_000
    assert set(seen.values()) == {1}


def test_a_frozen_server_is_noticed_and_left_for_another_in_about_15_seconds(kind: str, loop: Any) -> None:
    with EtcdCluster(3) as cluster:
        first, *others = cluster.members
        settings = settings_for(first)
        both = settings_for(first, *others)
        writer = BlockingClient(settings_for(*others))
        client: Any = BlockingClient(both) if kind == "blocking" else AsyncClient(both)
        client.session.endpoints._current = first.endpoint
        collector = Collector(lambda: client.watch("/w/", 1), kind, loop)
        BlockingClient(settings).put("/w/1", b"x")
        collector.wait(1)

        first.freeze()
        frozen = time.monotonic()
        writer.put("/w/2", b"x")
        collector.wait(2, 40)
        noticed = time.monotonic() - frozen
        collector.close()
        writer.close()
        first.thaw()

    assert noticed < 22
    assert_each_once(collector.events, 2)


def test_a_call_to_a_frozen_server_ends_within_its_time(server: EtcdServer, writer: Any) -> None:
    client = writer(settings_for(server))
    client.put("/a", b"x")
    server.freeze()
    began = time.monotonic()

    with pytest.raises(Unavailable, match=f"/a: no answer within 1 s.*{server.endpoint}"):
        client.get("/a", timeout=1)

    assert time.monotonic() - began < 3


def test_calls_go_to_the_next_endpoint_when_one_is_dead(server: EtcdServer, writer: Any) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    for endpoints in ((dead, server.endpoint), (server.endpoint, dead)):
        client = writer(EtcdSettings(endpoints))
        client.session.endpoints._current = dead

        client.put("/a", b"x", timeout=5)

        assert client.get("/a", timeout=1).value == b"x"


def test_no_endpoint_at_all_is_unavailable_and_says_where_and_what(writer: Any) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    client = writer(EtcdSettings((endpoint,)))

    with pytest.raises(Unavailable) as caught:
        client.put("/calico/x", b"x", timeout=1)

    assert "/calico/x" in str(caught.value)
    assert endpoint in str(caught.value)


def test_a_call_that_meets_an_outage_succeeds_when_the_server_is_back_in_time(server: EtcdServer, writer: Any) -> None:
    client = writer(settings_for(server))
    client.put("/a", b"x")
    server.kill()
    timer = threading.Timer(1.5, server.start)
    timer.start()

    assert client.get("/a", timeout=15).value == b"x"
    timer.join()


def test_a_killed_leader_costs_neither_writes_nor_events(watching: Any, writer: Any) -> None:
    with EtcdCluster(3) as cluster:
        settings = EtcdSettings(cluster.endpoints, timeout=20)
        client = writer(settings)
        collector = watching(settings, 1)
        for number in range(100):
            client.put(f"/w/{number}", b"x")
        collector.wait(100)

        leader = cluster.leader()
        leader.kill()
        for number in range(100, 200):
            client.put(f"/w/{number}", b"x")
        collector.wait(200)
        collector.close()

        last = {event.key for event in collector.events}
        assert last == {f"/w/{number}" for number in range(200)}
        assert_each_once(collector.events, len(collector.events))


def test_a_member_that_lost_its_cluster_refuses_calls_and_ends_watches_instead_of_hanging() -> None:
    with EtcdCluster(3) as cluster:
        lonely, second, third = cluster.members
        client = BlockingClient(settings_for(lonely, timeout=20))
        client.put("/w/1", b"x")
        heard: queue.Queue[bool] = queue.Queue()
        mirror = BlockingMirror(client, "/w/", on_health=lambda health: heard.put(health.healthy))
        threading.Thread(target=lambda: list(mirror), daemon=True).start()
        assert heard.get(timeout=20) is True

        second.kill()
        third.kill()

        assert heard.get(timeout=20) is False
        with pytest.raises(Unavailable):
            client.get("/w/1", timeout=3)
        mirror.close()
        client.close()


def test_a_frozen_server_makes_mirrors_unhealthy_in_about_15_seconds_and_both_recover(
    server: EtcdServer, loop: Any, writer: Any
) -> None:
    settings = settings_for(server)
    client = writer(settings)
    client.put("/w/1", b"x")
    heard: queue.Queue[tuple[str, bool]] = queue.Queue()
    collectors = [
        Collector(
            lambda: BlockingMirror(BlockingClient(settings), "/w/", lambda health: heard.put(("t", health.healthy))),
            "blocking",
            loop,
        ),
        Collector(
            lambda: AsyncMirror(
                AsyncClient(settings), "/w/", lambda health: heard.put(("a", health.healthy))
            ).batches(),
            "asyncio",
            loop,
        ),
    ]
    assert {heard.get(timeout=20) for _ in collectors} == {("t", True), ("a", True)}

    server.freeze()
    frozen = time.monotonic()
    assert {heard.get(timeout=30) for _ in collectors} == {("t", False), ("a", False)}
    noticed = time.monotonic() - frozen
    server.thaw()
    assert {heard.get(timeout=30) for _ in collectors} == {("t", True), ("a", True)}
    client.put("/w/2", b"x")
    for collector in collectors:
        collector.wait(2)
        collector.close()
        assert_each_once(collector.events, 2)

    assert noticed < 20


@pytest.mark.conformance("D3")
@pytest.mark.parametrize("mirror_kind", ["blocking", "asyncio"])
def test_a_mirror_delivers_the_differences_after_an_outage_in_which_history_was_compacted(
    server: EtcdServer, writer: Any, mirror_kind: str, loop: Any
) -> None:
    settings = settings_for(server)
    client = writer(settings)
    for name in ("kept", "changed", "vanished"):
        client.put(f"/w/{name}", b"1")
    if mirror_kind == "blocking":
        collector = Collector(lambda: BlockingMirror(BlockingClient(settings), "/w/"), "blocking", loop)
    else:
        collector = Collector(lambda: AsyncMirror(AsyncClient(settings), "/w/").batches(), "asyncio", loop)
    collector.wait(3)

    # Change and compact while nobody follows: the mirror's server is away, and comes back on the same port.
    server.kill()
    aside = EtcdServer(port=free_port(), peer_port=server.peer_port)
    aside.directory, server_directory = server.directory, aside.directory
    try:
        aside.start()
        other = writer(EtcdSettings((aside.endpoint,)))
        other.put("/w/changed", b"2")
        other.delete("/w/vanished")
        other.compact(other.put("/w/new", b"1"))
    finally:
        aside.kill()
        server_directory.rmdir()
    server.start()
    collector.wait(6)
    collector.close()

    assert {event.key: event.value for event in collector.events[3:]} == {
        "/w/changed": b"2",
        "/w/vanished": None,
        "/w/new": b"1",
    }


def test_an_expired_token_is_renewed(writer: Any) -> None:
    with secured(EtcdServer(arguments=["--auth-token-ttl=2"])) as server:
        client = writer(settings_for(server, username="root", password="pw"))
        client.put("/a", b"1")
        token = client.session.token

        deadline = time.monotonic() + 20
        while client.session.token == token and time.monotonic() < deadline:
            time.sleep(3)  # longer than the token lives; a use would prolong it
            client.put("/a", b"2")

        assert client.session.token != token


def test_a_token_that_the_server_does_not_know_is_replaced_in_calls_and_watches(watching: Any, writer: Any) -> None:
    with secured(EtcdServer()) as server:
        settings = settings_for(server, username="root", password="pw")
        client = writer(settings)
        client.session.token = "of-another-life.7"
        client.put("/w/1", b"1")

        watch = client.watch("/w/", 1)
        client.session.token = "of-another-life.8"

        assert next(watch).events[0].value == b"1"
        watch.close()


def test_a_watch_signs_in_anew_after_a_restart(watching: Any, writer: Any) -> None:
    with secured(EtcdServer()) as server:
        settings = settings_for(server, username="root", password="pw")
        client = writer(settings)
        collector = watching(settings, 1)
        client.put("/w/1", b"1")
        collector.wait(1)

        server.kill()
        server.start()
        client.put("/w/2", b"2")
        collector.wait(2, 20)

        assert_each_once(collector.events, 2)
        collector.close()


def test_wrong_password_and_missing_rights_are_told_apart(kind: str, loop: Any, writer: Any) -> None:
    with EtcdServer() as server:
        server.etcdctl("user", "add", "root:pw")
        server.etcdctl("user", "add", "felix:pw")
        server.etcdctl("role", "add", "felix")
        server.etcdctl("role", "grant-permission", "felix", "--prefix=true", "readwrite", "/mine/")
        server.etcdctl("user", "grant-role", "felix", "felix")
        server.etcdctl("auth", "enable")

        with pytest.raises(Unauthenticated, match=r"/mine/a.*check user and password"):
            writer(settings_for(server, username="felix", password="wrong")).get("/mine/a")
        client = writer(settings_for(server, username="felix", password="pw"))
        client.put("/mine/a", b"x")
        with pytest.raises(PermissionDenied, match="/other/a"):
            client.put("/other/a", b"x")
        with pytest.raises(PermissionDenied, match="/other/"):
            next(client.watch("/other/", 1))


def test_a_user_is_harmless_where_the_server_wants_none(server: EtcdServer, writer: Any) -> None:
    client = writer(settings_for(server, username="felix", password="pw"))

    client.put("/a", b"x")

    assert client.get("/a").value == b"x"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server's and a client's certificate, made by openssl."""
    return make_certificates(tmp_path_factory.mktemp("tls"))


def test_certificates_let_in_and_their_absence_keeps_out(certificates: Path, kind: str, loop: Any, writer: Any) -> None:
    with EtcdServer(tls=certificates) as server:
        good = settings_for(
            server,
            ca_file=str(certificates / "ca.crt"),
            cert_file=str(certificates / "client.crt"),
            key_file=str(certificates / "client.key"),
        )
        if kind == "blocking":
            client = writer(good)
            client.put("/a", b"x")
            assert client.get("/a").value == b"x"
        else:

            async def use() -> bytes:
                client = AsyncClient(good)
                await client.put("/a", b"x")
                kv = await client.get("/a")
                await client.close()
                assert kv is not None
                return kv.value

            assert loop.run(use()) == b"x"

        with pytest.raises(Unavailable):
            writer(settings_for(server, ca_file=str(certificates / "ca.crt"))).get("/a", timeout=2)
        with pytest.raises(Unavailable):
            writer(settings_for(server)).get("/a", timeout=2)
        with pytest.raises(Unavailable, match=r"TLS file.*missing\.crt"):
            writer(settings_for(server, ca_file=str(certificates / "missing.crt"))).get("/a", timeout=1)


def test_a_renewed_certificate_is_used_without_a_new_client(
    certificates: Path, tmp_path: Path, kind: str, drive: Any
) -> None:
    for name in ("crt", "key"):
        # A certificate that this server does not trust: another authority's own.
        shutil.copy(certificates / f"stranger.{name}", tmp_path / f"client.{name}")
    with EtcdServer(tls=certificates) as server:
        settings = settings_for(
            server,
            ca_file=str(certificates / "ca.crt"),
            cert_file=str(tmp_path / "client.crt"),
            key_file=str(tmp_path / "client.key"),
        )
        client: Any = BlockingClient(settings) if kind == "blocking" else drive(AsyncClient(settings))
        with pytest.raises(Unavailable):
            client.get("/a", timeout=2)

        for name in ("crt", "key"):
            shutil.copy(certificates / f"client.{name}", tmp_path / f"client.{name}")
            os.utime(tmp_path / f"client.{name}")

        assert client.put("/a", b"x", timeout=10) > 0
        client.close()


FORKING = """
import os, sys
from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.values import EtcdSettings

client = BlockingClient(EtcdSettings((sys.argv[1],)))
if sys.argv[2] == "used":
    client.put("/parent", b"x")
child = os.fork()
if not child:
    client.put("/child", str(os.getpid()).encode())
    print("child", client.get("/child").value.decode() == str(os.getpid()), flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
print("parent", status, client.put("/parent", b"y", timeout=5) > 0, flush=True)
# What gRPC still holds need not be taken down.
os._exit(0)
"""


@pytest.mark.parametrize("before", ["used", "unused"])
def test_a_client_works_in_a_forked_child_and_in_its_parent(server: EtcdServer, before: str) -> None:
    # In a process of its own: gRPC cannot follow a fork while threads that other tests left behind are calling into it.
    done = subprocess.run(
        [sys.executable, "-c", FORKING, server.endpoint, before], capture_output=True, text=True, timeout=60
    )

    assert done.stdout.split("\n")[:2] == ["child True", "parent 0 True"], done.stderr
