"""Established flows and policy that becomes narrower: real packets, a real kernel, no etcd."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from calico_openstack.felix.dataplane import Dataplane, DataplaneSettings, Report
from calico_openstack.felix.kernel.barred import UDP_PERIOD
from calico_openstack.felix.wanted.state import (
    Changes,
    MemberChange,
    SetId,
    WantedEndpoint,
    WantedMatch,
    WantedPolicy,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.endpoint import EndpointKey, Nat
from calico_openstack.model.net import parse_net
from calico_openstack.model.policy import PolicyKey, PortRange
from calico_openstack.testing.compute_host import Guest, eventually, ip

pytestmark = pytest.mark.root

SERVER = """
import selectors, socket
chosen = selectors.DefaultSelector()
for family in (socket.AF_INET, socket.AF_INET6):
    for kind, port in ((socket.SOCK_STREAM, 5001), (socket.SOCK_DGRAM, 5002), (socket.SOCK_DGRAM, 5003)):
        one = socket.socket(family, kind)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("", port))
        if kind == socket.SOCK_STREAM:
            one.listen()
        chosen.register(one, selectors.EVENT_READ, "accept" if kind == socket.SOCK_STREAM else "datagram")
print("ready", flush=True)
while True:
    for key, _ in chosen.select():
        if key.data == "accept":
            chosen.register(key.fileobj.accept()[0], selectors.EVENT_READ, "stream")
        elif key.data == "stream":
            data = key.fileobj.recv(100)
            if data:
                key.fileobj.send(data)
            else:
                chosen.unregister(key.fileobj)
        else:
            data, peer = key.fileobj.recvfrom(100)
            key.fileobj.sendto(data, peer)
"""

CLIENT = """
import socket, sys, time
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
one = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
one.settimeout(5)
one.connect((host, port))
one.settimeout(0.5)
sent = got = 0
while True:
    sent += 1
    try:
        one.send(b"%08d" % sent)
        got += one.recv(100) == b"%08d" % sent
    except OSError:
        pass
    print(sent, got, flush=True)
    time.sleep(0.01)
"""


class Talk:
    """A flow that sends a number, waits for its echo at most half a second, and sends the next."""

    def __init__(self, guest: Guest, kind: str, host: str, port: int, log: Path) -> None:
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", guest.name, sys.executable, "-c", CLIENT, kind, host, str(port)], stdout=out
            )

    def counts(self) -> tuple[int, int]:
        """Sent and echoed so far."""
        lines = self._log.read_text().splitlines()
        sent, got = lines[-1].split() if lines else ("0", "0")
        return int(sent), int(got)

    def goes_on(self) -> bool:
        """Whether more echoes arrive, waiting for ten of them."""
        before = self.counts()[1]
        eventually(lambda: self.counts()[1] >= before + 10, "echoes")
        return True

    def is_over(self) -> bool:
        """Whether two numbers in a row get no echo."""
        sent, got = self.counts()
        eventually(lambda: self.counts()[0] >= sent + 3, "numbers sent")
        return self.counts()[1] <= got + 1

    def lost(self) -> int:
        sent, got = self.counts()
        return sent - got

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def key(name: str) -> EndpointKey:
    return EndpointKey("openstack", "h", "openstack", "vm", name)


def policy_key(name: str) -> PolicyKey:
    return PolicyKey("NetworkPolicy", "openstack", name)


GROUP = SetId("s:group")


def allow(protocol: int, port: int, *sets: SetId) -> WantedRule:
    return WantedRule(
        action="allow",
        protocol=protocol,
        source=WantedMatch(sets=sets),
        destination=WantedMatch(ports=(PortRange(port, port),)),
    )


TCP, UDP, OTHER = allow(6, 5001), allow(17, 5002), allow(17, 5003)


def policy(name: str, *ingress: WantedRule, egress: tuple[WantedRule, ...] = (WantedRule(action="allow"),)) -> Changes:
    wanted = WantedPolicy(key=policy_key(name), ingress=ingress, egress=egress)
    return Changes(policies={wanted.key: wanted})


def endpoint(number: int, name: str, **fields: Any) -> WantedEndpoint:
    return WantedEndpoint(
        key=key(str(number)),
        interface=f"tap{number}",
        mac=f"fa:16:3e:00:00:0{number}",
        addresses=(parse_net(f"10.0.0.{number}"), parse_net(f"2001:db8::{number}")),
        tiers=(WantedTier(name="default", ingress=(policy_key(name),), egress=(policy_key(name),)),),
        **fields,
    )


def link_local(interface: str) -> str | None:
    (shown,) = json.loads(ip("-json", "-6", "address", "show", "dev", interface, "-tentative", "scope", "link")) or [{}]
    return next((entry["local"] for entry in shown.get("addr_info", ())), None)


class Stage:
    """Guests 1 and 3 are clients, guest 2 echoes."""

    def __init__(self, guest: Callable[..., Guest], directory: Path) -> None:
        self.directory = directory
        self.now = 1000.0
        self.dataplane = Dataplane(DataplaneSettings(), lambda: self.now)
        self.guests = {
            number: guest(f"tap{number}", f"fa:16:3e:00:00:0{number}", f"10.0.0.{number}/24", f"2001:db8::{number}/128")
            for number in (1, 2, 3)
        }
        self.talks: list[Talk] = []
        for one in self.guests.values():
            eventually(lambda tap=one.tap: "state UP" in ip("link", "show", tap), "carries")
            one.run("ip", "route", "add", "172.24.4.0/24", "dev", "eth0", check=True)
            # As a router advertisement would say: the router is the tap's link-local address.
            router = eventually(lambda tap=one.tap: link_local(tap), "a link-local address")
            one.run("ip", "route", "add", "default", "via", router, "dev", "eth0", check=True)
        self._server = subprocess.Popen(
            ["ip", "netns", "exec", self.guests[2].name, sys.executable, "-c", SERVER], stdout=subprocess.PIPE
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"ready\n"

    def step(self, changes: Changes | None = None) -> Report:
        """One change, and the steps that it leads to by itself; what all of them did."""
        report = self.dataplane.step(changes or Changes(), self.now)
        for _ in range(50):
            if report.wake_at is None or report.wake_at > self.now:
                break
            more = self.dataplane.step(Changes(), self.now)
            for name, count in report.operations.items():
                more.operations[name] += count
            report = more
        return report

    def start(self, *ingress: WantedRule, **fields: Any) -> None:
        self.step(everything(*ingress, **fields))

    def talk(self, number: int, kind: str, host: str, port: int) -> Talk:
        made = Talk(self.guests[number], kind, host, port, self.directory / f"talk-{len(self.talks)}")
        self.talks.append(made)
        assert made.goes_on()
        return made

    def close(self) -> None:
        for talk in self.talks:
            talk.close()
        self._server.kill()
        self._server.wait()
        self.dataplane.close()


def everything(*ingress: WantedRule, **fields: Any) -> Changes:
    endpoints = (endpoint(1, "client"), endpoint(2, "server", **fields), endpoint(3, "client"))
    return Changes(
        sets={GROUP: frozenset((parse_net("10.0.0.1"), parse_net("10.0.0.3")))},
        policies={**policy("client").policies, **policy("server", *ingress).policies},
        endpoints={one.key: one for one in endpoints},
    )


@pytest.fixture
def stage(guest: Callable[..., Guest], tmp_path: Path) -> Iterator[Stage]:
    made = Stage(guest, tmp_path)
    yield made
    made.close()


def test_flows_of_a_removed_rule_end_and_others_live_on_without_loss(stage: Stage) -> None:
    stage.start(TCP, UDP, OTHER)
    stopped = [
        stage.talk(1, "tcp", "10.0.0.2", 5001),
        stage.talk(1, "tcp", "2001:db8::2", 5001),
        stage.talk(3, "udp", "10.0.0.2", 5003),
    ]
    spared = [stage.talk(3, "udp", "10.0.0.2", 5002), stage.talk(1, "udp", "2001:db8::2", 5002)]

    report = stage.step(policy("server", UDP))

    assert report.operations["flows"] == 3
    assert [talk.is_over() for talk in stopped] == [True] * 3
    assert [talk.goes_on() for talk in spared] == [True] * 2
    assert [talk.lost() for talk in spared] <= [1, 1]  # the number on its way


def test_a_rule_more_looks_at_no_flow(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.start(UDP)
    talk = stage.talk(1, "udp", "10.0.0.2", 5002)
    monkeypatch.setattr("calico_openstack.felix.kernel.conntrack.Conntrack.parts", lambda *_: pytest.fail("listed"))

    stage.step(policy("server", TCP, UDP))
    stage.step(Changes(members={GROUP: MemberChange(frozenset((parse_net("10.0.0.9"),)), frozenset())}))

    assert talk.goes_on()


def test_a_member_that_leaves_the_group_loses_its_flows_and_the_others_keep_theirs(stage: Stage) -> None:
    stage.start(allow(6, 5001, GROUP), allow(17, 5002, GROUP))
    leaver, stayer = stage.talk(1, "tcp", "10.0.0.2", 5001), stage.talk(3, "udp", "10.0.0.2", 5002)

    report = stage.step(Changes(members={GROUP: MemberChange(frozenset(), frozenset((parse_net("10.0.0.1"),)))}))

    assert report.operations["flows"] == 1
    assert leaver.is_over()
    assert stayer.goes_on()
    assert stayer.lost() <= 1


def test_a_removed_floating_ip_takes_its_flows_along_and_no_others(stage: Stage) -> None:
    nats = (Nat(parse_net("10.0.0.2"), parse_net("172.24.4.33")),)
    stage.start(TCP, UDP, nats=nats)
    floating, fixed = stage.talk(1, "tcp", "172.24.4.33", 5001), stage.talk(1, "udp", "10.0.0.2", 5002)

    # Policy looks at the fixed address: this ends nothing.
    assert stage.step(policy("server", UDP, TCP, allow(6, 9))).operations["flows"] == 0
    assert floating.goes_on()
    report = stage.step(Changes(endpoints={key("2"): endpoint(2, "server")}))

    assert report.operations["flows"] == 1
    assert floating.is_over()
    assert fixed.goes_on()
    assert fixed.lost() <= 1


def test_a_flow_through_a_floating_ip_ends_with_the_rule(stage: Stage) -> None:
    stage.start(TCP, UDP, nats=(Nat(parse_net("10.0.0.2"), parse_net("172.24.4.33")),))
    talk, other = stage.talk(1, "tcp", "172.24.4.33", 5001), stage.talk(1, "udp", "172.24.4.33", 5002)

    assert stage.step(policy("server", UDP)).operations["flows"] == 1

    assert talk.is_over()
    assert other.goes_on()


def test_a_new_process_ends_only_what_is_not_allowed_any_more(stage: Stage) -> None:
    stage.start(TCP, UDP)
    tcp, udp = stage.talk(1, "tcp", "10.0.0.2", 5001), stage.talk(3, "udp", "10.0.0.2", 5002)
    stage.dataplane.close()

    stage.dataplane = Dataplane(DataplaneSettings(), lambda: stage.now)
    assert not any(stage.step(everything(TCP, UDP)).operations.values())
    assert tcp.goes_on()
    stage.dataplane.close()
    stage.dataplane = Dataplane(DataplaneSettings(), lambda: stage.now)
    assert stage.step(everything(UDP)).operations["flows"] == 1

    assert tcp.is_over()
    assert udp.goes_on()


def test_what_guests_may_ask_of_the_host_and_what_the_host_opens_is_not_touched(stage: Stage) -> None:
    stage.start(TCP)
    ip("address", "add", "10.0.0.254/32", "dev", "lo")
    ask = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'?', ('10.0.0.254', 53))"
    stage.guests[2].run(sys.executable, "-c", ask, check=True)
    subprocess.run(["ping", "-c", "1", "-W", "2", "-I", "10.0.0.254", "10.0.0.2"], check=True, capture_output=True)
    before = flows_of("10.0.0.254")
    assert {"udp", "icmp"} <= {line.split()[0] for line in before}

    report = stage.step(policy("server", egress=()))

    assert report.operations["flows"] == 0
    assert len(flows_of("10.0.0.254")) == len(before)


TICKER = """
import socket, time
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); one.bind(("", 5002))
print("ready", flush=True)
data, peer = one.recvfrom(100)
sent = 0
while True:
    one.sendto(b"tick", peer)
    one.settimeout(0.01)
    try:
        data, _ = one.recvfrom(100)
        print("heard", flush=True)
    except TimeoutError:
        pass
    sent += 1
    print("sent", sent, flush=True)
"""

ASKER = """
import socket, time
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); one.bind(("", 40000)); one.connect(("10.0.0.2", 5002))
one.settimeout(0.01)
asked = got = 0
while True:
    one.send(b"ask")
    asked += 1
    try:
        got += len(one.recv(100))
    except OSError:
        pass
    print(asked, got, flush=True)
"""


def test_a_server_that_goes_on_sending_datagrams_does_not_let_the_client_in_again(
    stage: Stage, guest: Callable[..., Guest], tmp_path: Path
) -> None:
    # As below, the client is no guest of ours. To the firewall an answer by UDP looks like a flow that the server,
    # which may send to anybody, opens itself; the client's datagrams would then pass as answers to it.
    outside = guest("eth9", "fa:16:3e:00:00:09", "192.0.2.7/24")
    ip("address", "add", "192.0.2.1/24", "dev", "eth9")
    outside.run("ip", "route", "add", "default", "via", "192.0.2.1", check=True)
    router = link_local("tap2")
    assert router
    stage.guests[2].run("ip", "route", "add", "192.0.2.0/24", "via", "inet6", router, "dev", "eth0", check=True)
    stage._server.kill()
    stage._server.wait()
    stage.start(UDP)
    served, asked = tmp_path / "served", tmp_path / "asked"
    with contextlib.ExitStack() as stack:
        for one, script, log in ((stage.guests[2], TICKER, served), (outside, ASKER, asked)):
            out = stack.enter_context(log.open("wb"))
            process = subprocess.Popen(["ip", "netns", "exec", one.name, sys.executable, "-c", script], stdout=out)
            stack.callback(process.wait)
            stack.callback(process.kill)
            eventually(lambda log=log: log.stat().st_size, "a first line")
        eventually(lambda: served.read_text().count("heard") > 3, "the client is heard")

        assert stage.step(policy("server", TCP)).operations["flows"] == 1

        heard, sent, asks = served.read_text().count("heard"), served.read_text().count("sent"), lines(asked)
        eventually(lambda: served.read_text().count("sent") > sent + 20 and lines(asked) > asks + 20, "both go on")
        assert served.read_text().count("heard") <= heard + 1
        assert not [line for line in flows_of("10.0.0.2") if "5002" in line]
        # After a while nobody waits for an answer any more. What the server sends then it sends on its own account,
        # and its policy allows it.
        stage.now += UDP_PERIOD
        stage.step()
        eventually(lambda: served.read_text().count("heard") > heard + 3, "a flow that the server opened")
        (line,) = [line for line in flows_of("10.0.0.2") if "5002" in line]
        assert "src=10.0.0.2 dst=192.0.2.7 sport=5002 dport=40000" in line


def lines(log: Path) -> int:
    return log.read_text().count("\n")


def flows_of(address: str) -> list[str]:
    listed = subprocess.run(["conntrack", "-L"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in listed if address in line]


PUSHER = """
import socket, time
one = socket.socket(); one.bind(("", 5001)); one.listen()
print("ready", flush=True)
stream = one.accept()[0]
while True:
    stream.send(b"x" * 100)
    time.sleep(0.01)
"""

READER = """
import socket
one = socket.create_connection(("10.0.0.2", 5001), 5)
got = 0
while True:
    got += len(one.recv(100))
    print(got, flush=True)
"""


def retransmitted(guest: Guest) -> int:
    """TCP segments that the guest has sent again (RetransSegs of /proc/net/snmp)."""
    names, values = [
        line.split() for line in guest.run("cat", "/proc/net/snmp").stdout.splitlines() if line.startswith("Tcp:")
    ]
    return int(values[names.index("RetransSegs")])


def test_a_server_that_goes_on_sending_does_not_keep_an_ended_flow_up(
    stage: Stage, guest: Callable[..., Guest], tmp_path: Path
) -> None:
    # The client is no guest of ours: only the server's policy is asked, which lets it send to anybody.
    outside = guest("eth9", "fa:16:3e:00:00:09", "192.0.2.7/24")
    ip("address", "add", "192.0.2.1/24", "dev", "eth9")
    outside.run("ip", "route", "add", "default", "via", "192.0.2.1", check=True)
    router = link_local("tap2")
    assert router
    stage.guests[2].run("ip", "route", "add", "192.0.2.0/24", "via", "inet6", router, "dev", "eth0", check=True)
    stage._server.kill()
    stage._server.wait()
    stage.start(TCP)
    push = subprocess.Popen(
        ["ip", "netns", "exec", stage.guests[2].name, sys.executable, "-c", PUSHER], stdout=subprocess.PIPE
    )
    log = tmp_path / "read"
    try:
        assert push.stdout is not None
        assert push.stdout.readline() == b"ready\n"
        with log.open("wb") as out:
            read = subprocess.Popen(["ip", "netns", "exec", outside.name, sys.executable, "-c", READER], stdout=out)
        try:
            eventually(lambda: log.stat().st_size > 100, "data")
            assert stage.step(policy("server", UDP)).operations["flows"] == 1

            seen, repeated = log.stat().st_size, retransmitted(stage.guests[2])
            eventually(lambda: retransmitted(stage.guests[2]) >= repeated + 3, "the server repeats itself")
            assert log.stat().st_size <= seen + 100
            listed = subprocess.run(["nft", "list", "table", "inet", "calico-ended"], capture_output=True, text=True)
            assert "10.0.0.2 . 5001 . 192.0.2.7" in listed.stdout
            # Neither a reading of the firewall nor a change in it came of that.
            readings = stage.dataplane.firewall.tables.readings
            stage.now += 3
            assert not any(stage.step().operations.values())
            assert stage.dataplane.firewall.tables.readings == readings
            # And after a while nothing of it is left.
            stage.now += 1200
            stage.step()
            listed = subprocess.run(["nft", "list", "table", "inet", "calico-ended"], capture_output=True, text=True)
            assert "10.0.0.2" not in listed.stdout
        finally:
            read.kill()
            read.wait()
    finally:
        push.kill()
        push.wait()


def test_many_flows_are_judged_in_slices(stage: Stage) -> None:
    stage.start(UDP)
    flood = (
        "import socket\n"
        "for port in range(20000, 24000):\n"
        "    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    s.bind(('', port)); s.sendto(b'!', ('10.0.0.2', 5002)); s.close()\n"
    )
    stage.guests[1].run(sys.executable, "-c", flood, check=True)
    spared = stage.talk(3, "udp", "10.0.0.2", 5002)
    narrower = WantedRule(
        action="allow",
        protocol=17,
        source=WantedMatch(nets=(parse_net("10.0.0.3"),)),
        destination=WantedMatch(ports=(PortRange(5002, 5002),)),
    )
    longest, ended, changes = 0.0, 0, policy("server", narrower)
    while True:
        start = time.perf_counter()
        report = stage.dataplane.step(changes, stage.now)
        longest = max(longest, time.perf_counter() - start)
        ended += report.operations["flows"]
        changes = Changes()
        if report.wake_at is None or report.wake_at > stage.now:
            break

    print(f"{ended} flows ended, longest step {longest * 1000:.0f} ms")
    assert ended == 4000
    assert spared.goes_on()
    assert spared.lost() <= 1
    # Against an apply loop that stands still, on a busy machine.
    assert longest < 1
