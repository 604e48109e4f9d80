"""A host on which the upstream Felix worked: ours takes over, and nothing of the host's own is touched.

What upstream would have is built with the real programs (iptables-nft, iptables-legacy, ipset, nft, tc), in the shape
that upstream gives it, between rules of the host's own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from calico_openstack.felix.dataplane import DataplaneSettings
from calico_openstack.felix.switchover import UPSTREAM
from calico_openstack.felix.wanted.state import Changes, WantedMatch, WantedPolicy, WantedRule
from calico_openstack.model.net import parse_net
from calico_openstack.testing.compute_host import eventually, ip
from calico_openstack.testing.guests import ALL, GROUP, Guest, endpoint, two_guests
from calico_openstack.testing.stage import Stage

pytestmark = pytest.mark.root

HASH = "cali:AbCdEfGh12-_xyz0"


def run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@pytest.fixture
def guests(namespace: None) -> Iterator[tuple[Guest, Guest]]:
    with two_guests() as both:
        yield both


@pytest.fixture
def stage(guests: tuple[Guest, Guest]) -> Iterator[Stage]:
    made = Stage()
    yield made
    made.dataplane.close()


def allowed(guests: tuple[Guest, Guest], sources: str = "10.65.0.1/32") -> Changes:
    """Both guests may send; `two` hears only from these sources."""
    one, two = guests
    changes = Changes()
    ingress = (WantedRule(action="allow", source=WantedMatch(nets=(parse_net(sources),))),)
    changes.policies = {GROUP: WantedPolicy(key=GROUP, ingress=ingress, egress=ALL)}
    changes.endpoints = {value.key: value for value in (endpoint(one), endpoint(two))}
    return changes


# What upstream makes, in its mode for iptables.

FOREIGN = {
    "filter": """
-N MINE
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -i docker0 -j MINE
-A MINE -s 192.0.2.0/24 -m comment --comment "ours; not cali: at all" -j RETURN
-N calico-dhcp
-A INPUT -i eth9 -j calico-dhcp
""",
    "nat": ":PREROUTING ACCEPT\n-A POSTROUTING -s 172.17.0.0/16 -o eth9 -j MASQUERADE\n",
    "mangle": ":PREROUTING ACCEPT\n-A POSTROUTING -p udp -m udp --dport 68 -j MARK --set-xmark 0x7/0x7\n",
    "raw": "-A PREROUTING -i eth9 -p udp -m udp --dport 9999 -j DROP\n",
}


def upstream_rules(taps: tuple[str, ...], sets: bool) -> dict[str, str]:
    """Its chains per table, in the form of iptables-restore, as felix/rules renders them for these taps."""
    dispatch = "".join(
        f"-N cali-tw-{tap}\n-N cali-fw-{tap}\n"
        f"-A cali-tw-{tap} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
        f"-A cali-tw-{tap} -j MARK --set-xmark 0x0/0x30000\n"
        f"-A cali-tw-{tap} -j cali-pi-default\n"
        f"-A cali-tw-{tap} -m mark --mark 0x10000/0x10000 -j RETURN\n"
        f"-A cali-tw-{tap} -j DROP\n"
        f"-A cali-fw-{tap} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
        f"-A cali-fw-{tap} -j MARK --set-xmark 0x10000/0x10000\n"
        f"-A cali-from-wl-dispatch -i {tap} -g cali-fw-{tap}\n"
        f"-A cali-to-wl-dispatch -o {tap} -g cali-tw-{tap}\n"
        for tap in taps
    )
    match = "-m set --match-set cali40s:xyz src " if sets else "-s 10.65.0.1/32 "
    return {
        "filter": f"""
-N cali-FORWARD
-N cali-INPUT
-N cali-wl-to-host
-N cali-from-wl-dispatch
-N cali-to-wl-dispatch
-N cali-pi-default
-N felix-FORWARD
-I FORWARD -m comment --comment "{HASH}" -j cali-FORWARD
-I INPUT -m comment --comment "{HASH}" -j cali-INPUT
-A FORWARD -m comment --comment "{HASH}" -m comment --comment "Accepted." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A FORWARD -m comment --comment "{HASH}" -j MARK --set-xmark 0x10000/0x10000
-A FORWARD -j felix-FORWARD
-A cali-FORWARD -m comment --comment "{HASH}" -i tap+ -j cali-from-wl-dispatch
-A cali-FORWARD -o tap+ -j cali-to-wl-dispatch
-A cali-INPUT -i tap+ -g cali-wl-to-host
-A cali-wl-to-host -p udp -m udp --sport 68 --dport 67 -j ACCEPT
-A cali-wl-to-host -j DROP
-A cali-pi-default {match}-m comment --comment "{HASH}" -j MARK --set-xmark 0x10000/0x10000
{dispatch}-A cali-from-wl-dispatch -m comment --comment "Unknown interface" -j DROP
-A cali-to-wl-dispatch -m comment --comment "Unknown interface" -j DROP
""",
        "nat": f"""
-N cali-PREROUTING
-N cali-fip-dnat
-I PREROUTING -m comment --comment "{HASH}" -j cali-PREROUTING
-A cali-PREROUTING -j cali-fip-dnat
-A cali-PREROUTING -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 127.0.0.1:8775
""",
        "mangle": f"""
-N cali-PREROUTING
-I PREROUTING -m comment --comment "{HASH}" -j cali-PREROUTING
-A cali-PREROUTING -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
""",
        "raw": f"""
-N cali-PREROUTING
-I PREROUTING -m comment --comment "{HASH}" -j cali-PREROUTING
-A cali-PREROUTING -j MARK --set-xmark 0x0/0xf0000
-A cali-PREROUTING -i tap+ -j MARK --set-xmark 0x40000/0x40000
""",
    }


def load(program: str, tables: dict[str, str], version: int = 4) -> None:
    def fit(rules: str) -> str:
        """The same for IPv6, without what only IPv4 has."""
        if version == 4:
            return rules
        rules = rules.replace("-p udp -m udp --sport 68 --dport 67", "-p ipv6-icmp")
        kept = [line for line in rules.splitlines() if not re.search(r"DNAT|172\.|192\.", line)]
        return "\n".join(kept).replace("10.65.0.1/32", "2001:db8::1/128").replace("cali40", "cali60") + "\n"

    text = "".join(f"*{table}\n{fit(rules).strip()}\nCOMMIT\n" for table, rules in tables.items())
    run(f"{program}-restore", "--noflush", text=text)


def saved(program: str) -> str:
    """What is there, without times and counters."""
    shown = run(f"{program}-save")
    lines = [re.sub(r"\[\d+:\d+\]", "[]", line) for line in shown.splitlines() if not line.startswith("#")]
    return "\n".join(lines)


PROGRAMS = ["iptables-nft", "iptables-legacy"]


def build(program: str, taps: tuple[str, ...], sets: bool = True) -> Callable[[], tuple[str, str]]:
    """The host's own rules, then upstream's; how to ask for what is there now, in both families."""
    six = program.replace("iptables", "ip6tables")
    if sets:
        run("ipset", "create", "cali40s:xyz", "hash:net", "family", "inet")
        run("ipset", "create", "cali60s:xyz", "hash:net", "family", "inet6")
        run("ipset", "add", "cali40s:xyz", "10.65.0.1/32")
        run("ipset", "add", "cali60s:xyz", "2001:db8::1/128")
        run("ipset", "create", "felix-masq-ipam-pools", "hash:net")
        run("ipset", "create", "mine", "hash:ip")
    for name, version in ((program, 4), (six, 6)):
        load(name, FOREIGN, version)
    return lambda: (saved(program), saved(six))


def add_upstream(program: str, taps: tuple[str, ...], sets: bool = True) -> None:
    load(program, upstream_rules(taps, sets))
    load(program.replace("iptables", "ip6tables"), upstream_rules(taps, sets), 6)


@pytest.mark.conformance("K4", "K5")
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_upstream_left_goes_and_what_is_the_host_s_own_stays(
    stage: Stage, guests: tuple[Guest, Guest], program: str
) -> None:
    taps = tuple(guest.tap for guest in guests)
    shown = build(program, taps)
    before = shown()
    add_upstream(program, taps)
    assert "cali-FORWARD" in shown()[0]
    assert "cali-FORWARD" in shown()[1]

    report = stage.step(allowed(guests))

    assert report.operations["upstream"] > 20
    assert shown() == before
    eventually(lambda: not any(stage.step(seconds=70).operations.values()), "nothing left to do")
    assert sorted(run("ipset", "list", "-n").split()) == ["mine"]
    assert not stage.dataplane.ledgers()["switch-over"]
    run("nft", "add", "table", "inet", "another")
    stage.step(seconds=20)
    assert stage.dataplane.surroundings.obstacles == ()


@pytest.mark.conformance("K5")
def test_an_upstream_felix_that_runs_on_is_named_and_not_fought(
    stage: Stage,
    guests: tuple[Guest, Guest],
) -> None:
    taps = tuple(guest.tap for guest in guests)
    stage.step(allowed(guests))
    add_upstream("iptables-nft", taps, sets=False)

    eventually(lambda: stage.step(seconds=20) and stage.dataplane.surroundings.obstacles, "noticed")

    (told,) = stage.dataplane.surroundings.obstacles
    assert "the upstream Felix works on this host, too" in told.why
    assert "cali-FORWARD" in saved("iptables-nft")


@pytest.mark.conformance("K5")
def test_upstream_s_own_tables_of_nft_go_and_those_of_others_stay(stage: Stage, guests: tuple[Guest, Guest]) -> None:
    for family in ("ip", "ip6"):
        run(
            "nft",
            "-f",
            "-",
            text=f"""table {family} calico {{
                map cali-from-wl-dispatch {{ type ifname : verdict; }}
                chain cali-fw-tapone {{ counter accept; }}
                chain filter-cali-FORWARD {{ iifname vmap @cali-from-wl-dispatch; }}
                chain filter-FORWARD {{ type filter hook forward priority 0; jump filter-cali-FORWARD; }}
            }}
            add element {family} calico cali-from-wl-dispatch {{ "tapone" : goto cali-fw-tapone }}
            table {family} mine {{
                chain cali-mine {{ accept; }}
                chain forward {{ type filter hook forward priority 5; meta l4proto 89 jump cali-mine; }}
            }}""",
        )
    run("nft", "-f", "-", text="table arp calico-arp { chain filter-OUTPUT { type filter hook output priority 0; }; }")
    run("nft", "-f", "-", text="table inet calico-else { chain a { accept; }; }")
    others = {name: run("nft", "list", "table", *name.split()) for name in ("ip mine", "ip6 mine", "inet calico-else")}

    stage.step(allowed(guests))

    tables = set(run("nft", "list", "tables").splitlines())
    assert tables == {f"table {name}" for name in (*others, "inet calico", "arp calico")}
    assert {name: run("nft", "list", "table", *name.split()) for name in others} == others


def test_upstream_s_limits_go_after_ours_are_there(stage: Stage, guests: tuple[Guest, Guest]) -> None:
    run("ip", "link", "add", "bwcali0123456", "type", "ifb")
    run("ip", "link", "set", "bwcali0123456", "up")
    match, action = "match u32 0 0", "action mirred egress redirect dev bwcali0123456"
    for what in (
        "qdisc add dev bwcali0123456 root handle 1: tbf rate 1mbit burst 32k latency 25ms",
        "qdisc add dev tapone root handle 1: tbf rate 1mbit burst 32k latency 25ms",
        "qdisc add dev tapone ingress",
        f"filter add dev tapone parent ffff: protocol all prio 1 u32 {match} {action}",
    ):
        run("tc", *what.split())
    run("ip", "link", "add", "ifb-mine", "type", "ifb")

    stage.step(allowed(guests))

    links = {link["ifname"] for link in json.loads(ip("-json", "link", "show"))}
    assert "bwcali0123456" not in links
    assert "ifb-mine" in links
    assert run("tc", "filter", "show", "dev", "tapone", "ingress") == ""
    assert "tbf" not in run("tc", "qdisc", "show", "dev", "tapone")
    assert guests[0].reaches("10.65.0.2")


@pytest.mark.conformance("K11")
def test_a_clean_host_gets_our_tables_and_no_old_ones(
    stage: Stage, guests: tuple[Guest, Guest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forked(*_: object, **__: object) -> None:
        raise AssertionError("nothing is to be started on a clean host")

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", forked)
        report = stage.step(allowed(guests))

    assert report.operations["upstream"] == 0
    assert run("nft", "list", "tables").splitlines() == ["table inet calico", "table arp calico"]
    assert "map egress" in run("nft", "list", "table", "inet", "calico")
    with open("/proc/thread-self/net/ip_tables_names") as names:
        assert names.read() == ""


def test_a_chain_that_would_cut_guests_off_keeps_upstream_s_rules_until_that_is_cured(
    stage: Stage, guests: tuple[Guest, Guest]
) -> None:
    one, _ = guests
    taps = tuple(guest.tap for guest in guests)
    build("iptables-nft", taps)
    run("iptables-nft", "-P", "FORWARD", "DROP")
    add_upstream("iptables-nft", taps)

    stage.step(allowed(guests))
    stage.step(seconds=70)

    assert one.reaches("10.65.0.2")
    failure = stage.dataplane.ledgers()["switch-over"].get(UPSTREAM)
    assert failure is not None
    assert "chain FORWARD of table ip filter: its policy is drop" in failure.reason
    cure = re.search(r"iptables -A FORWARD -i tap\+ -j ACCEPT; iptables -A FORWARD -o tap\+ -j ACCEPT", failure.reason)
    assert cure

    for command in cure.group().split("; "):
        run(*command.replace("iptables", "iptables-nft").split())
    eventually(lambda: not any(stage.step(seconds=70).operations.values()), "nothing left to do")

    assert "cali-" not in saved("iptables-nft")
    assert one.reaches("10.65.0.2")
    assert not stage.dataplane.ledgers()["switch-over"]


def test_upstream_s_rules_can_be_left_alone(guests: tuple[Guest, Guest]) -> None:
    taps = tuple(guest.tap for guest in guests)
    shown = build("iptables-nft", taps)
    add_upstream("iptables-nft", taps)
    before = shown()
    stage = Stage(DataplaneSettings(remove_upstream_rules=False))

    stage.step(allowed(guests))
    stage.step(seconds=70)
    stage.dataplane.close()

    assert shown() == before


# With traffic.

SENDER = """
import socket, sys, time
v6, source, target, port = sys.argv[1] == "6", sys.argv[2], sys.argv[3], int(sys.argv[4])
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((source, int(sys.argv[5])))
s.settimeout(2)
s.connect((target, port))
number = lost = late = 0
print("ready", flush=True)
while True:
    word = b"%d" % number
    try:
        s.send(word)
        while s.recv(100) != word:
            pass
    except (TimeoutError, OSError):
        lost += 1
    number += 1
    print(number, lost, flush=True)
    time.sleep(0.005)
"""

ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[2], int(sys.argv[3])))
print("ready", flush=True)
while True:
    data, source = s.recvfrom(100)
    s.sendto(data, source)
"""

NEW_FLOWS = """
import socket, sys, time
v6, source, target, port = sys.argv[1] == "6", sys.argv[2], sys.argv[3], int(sys.argv[4])
print("ready", flush=True)
number = lost = 0
while True:
    s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((source, 0))
    s.settimeout(2)
    try:
        s.sendto(b"x", (target, port))
        s.recv(10)
    except (TimeoutError, OSError):
        lost += 1
    s.close()
    number += 1
    print(number, lost, flush=True)
    time.sleep(0.005)
"""

DENIED = """
import socket, sys, time
v6, source, target, port = sys.argv[1] == "6", sys.argv[2], sys.argv[3], int(sys.argv[4])
print("ready", flush=True)
number = 0
while True:
    s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((source, 0))
    s.sendto(b"never", (target, port))
    s.close()
    number += 1
    print(number, 0, flush=True)
    time.sleep(0.002)
"""


LISTEN = """
import socket, sys
s = socket.socket(socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[2], int(sys.argv[3])))
print("ready", flush=True)
number = 0
while True:
    s.recv(100)
    number += 1
    print(number, 0, flush=True)
"""


class Talk:
    """A process in a guest that prints a line of two numbers after each exchange: how many, how many without answer."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.done = self.lost = 0
        self._thread = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._thread.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):  # not cut short by the end
                self.done, self.lost = map(int, line.split())

    def goes_on(self, exchanges: int = 100) -> None:
        until = self.done + exchanges
        eventually(lambda: self.done >= until, "traffic goes on", within=60)


@contextmanager
def in_guest(guest: Guest, program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = ["ip", "netns", "exec", guest.space, sys.executable, "-uc", program, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.conformance("K5")
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_take_over_loses_no_allowed_packet_and_passes_no_denied_one(
    stage: Stage, guests: tuple[Guest, Guest], program: str, version: int
) -> None:
    one, two = guests
    taps = tuple(guest.tap for guest in guests)
    first, second = ("10.65.0.1", "10.65.0.2") if version == 4 else ("2001:db8::1", "2001:db8::2")
    build(program, taps)
    add_upstream(program, taps)
    assert one.reaches(second)
    six = str(version)
    with (
        in_guest(one, LISTEN, six, first, "7500") as victim,
        in_guest(two, ECHO, six, second, "7000"),
        in_guest(one, SENDER, six, first, second, "7000", "7001") as old,
        in_guest(one, NEW_FLOWS, six, first, second, "7000") as fresh,
        in_guest(two, DENIED, six, second, first, "7500") as bad,
    ):
        talks = [Talk(old), Talk(fresh)]
        attempts, leaked = Talk(bad), Talk(victim)
        for talk in (*talks, attempts):
            talk.goes_on()
        assert leaked.done == 0

        changes = allowed(guests, sources=f"{first}/{32 if version == 4 else 128}")
        report = stage.step(changes)
        assert report.operations["upstream"] > 20
        for talk in (*talks, attempts):
            talk.goes_on()
        eventually(lambda: not any(stage.step(seconds=70).operations.values()), "nothing left to do")
        for talk in (*talks, attempts):
            talk.goes_on()

        assert [talk.lost for talk in talks] == [0, 0]
        assert leaked.done == 0
    assert "cali-" not in saved(program)
