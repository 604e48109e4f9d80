"""Other users of the kernel's packet filters beside Felix: who stops guests is named, and the cure named works."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import structs

from calico_openstack.felix.debug_socket import ask
from calico_openstack.felix.wanted.state import Changes, WantedPolicy
from calico_openstack.testing.compute_host import Host, eventually
from calico_openstack.testing.guests import ALL, GROUP, Guest, endpoint, two_guests
from calico_openstack.testing.stage import Stage

pytestmark = pytest.mark.root

DEBIAN = """table inet filter {
    chain input { type filter hook input priority 0; policy drop;
        ct state established,related accept; iif lo accept; tcp dport 22 accept; }
    chain forward { type filter hook forward priority 0; policy drop; ct state established,related accept; }
    chain output { type filter hook output priority 0; }
}"""
"""As in the examples of Debian's nftables package."""

REJECTING = """table inet strict {
    chain forward_ours { ip daddr 192.0.2.1 accept; }
    chain forward { type filter hook forward priority 10; policy accept;
        ct state established,related accept; jump forward_ours; reject with icmpx admin-prohibited; }
}"""
"""As firewalld ends its chains."""

DOCKER = [
    "iptables-{} -P FORWARD DROP",
    "iptables-{} -N DOCKER-USER",
    "iptables-{} -A FORWARD -j DOCKER-USER",
    "iptables-{} -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "iptables-{} -A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
    "iptables-{} -A DOCKER-USER -j RETURN",
]

HARMLESS = """table inet ours {
    chain forward { type filter hook forward priority 0; policy accept;
        ip saddr 192.0.2.0/24 drop; iifname "virbr0" reject; }
    chain unused { drop; }
    chain opened { type filter hook input priority 0; policy drop; iifname "tap*" jump guests; }
    chain guests { accept; }
    chain both { type filter hook forward priority 5; policy drop; iifname "tap*" accept; oifname "ta*" accept; }
}
table bridge filter { chain forward { type filter hook forward priority 0; policy drop; }; }
table arp filter { chain input { type filter hook input priority 0; policy accept; }; }"""


def run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def load(what: str) -> None:
    if what in ("nft", "legacy"):
        for command in DOCKER:
            run(*command.format(what).split())
    else:
        run("nft", "-f", "-", text=what)


@pytest.fixture
def guests(namespace: None) -> Iterator[tuple[Guest, Guest]]:
    with two_guests() as both:
        yield both


@pytest.fixture
def stage(guests: tuple[Guest, Guest]) -> Iterator[Stage]:
    made = Stage()
    changes = Changes()
    changes.policies = {GROUP: WantedPolicy(key=GROUP, ingress=ALL, egress=ALL)}
    changes.endpoints = {value.key: value for value in map(endpoint, guests)}
    made.step(changes)
    yield made
    made.dataplane.close()


def places(stage: Stage) -> list[str]:
    stage.step(seconds=20)
    return [one.where for one in stage.dataplane.surroundings.obstacles]


def cure(stage: Stage, program: str) -> None:
    """Do what Felix says."""
    for one in stage.dataplane.surroundings.obstacles:
        for command in one.cure.partition(": ")[2].split("; "):
            words = re.match(r"nft '(.*)'$", command)
            if words:
                run("nft", words.group(1))
            else:
                run(*command.replace("iptables ", f"{program} ").split())


@pytest.mark.parametrize(
    ("what", "where"),
    [
        (DEBIAN, ["chain input of table inet filter", "chain forward of table inet filter"]),
        (REJECTING, ["chain forward of table inet strict"]),
        ("nft", ["chain FORWARD of table ip filter"]),
        ("legacy", ["chain FORWARD of iptables-legacy table filter"]),
    ],
    ids=["debian", "rejecting", "docker-nft", "docker-legacy"],
)
def test_a_chain_that_stops_guests_is_named_and_what_is_said_to_help_helps(
    stage: Stage, guests: tuple[Guest, Guest], what: str, where: list[str]
) -> None:
    assert guests[0].reaches("10.65.0.2")
    assert places(stage) == []

    load(what)

    assert not guests[1].pings("10.65.0.1")
    if what == "legacy":  # which sends no events
        stage.dataplane.resync()
    eventually(lambda: places(stage) == where, "named")

    cure(stage, "iptables-nft")

    assert guests[0].reaches("10.65.0.2")
    stage.dataplane.resync()
    eventually(lambda: places(stage) == [], "out of the way")


def test_chains_that_do_not_stop_guests_are_not_spoken_of(stage: Stage) -> None:
    load(HARMLESS)
    load("nft")
    run("iptables-nft", "-I", "DOCKER-USER", "-i", "tap+", "-j", "ACCEPT")
    run("iptables-nft", "-I", "DOCKER-USER", "-o", "tap+", "-j", "ACCEPT")

    stage.dataplane.resync()

    assert places(stage) == []


def test_chains_for_ipv6_are_spoken_of_once_a_guest_has_it(guests: tuple[Guest, Guest]) -> None:
    run("ip6tables-nft", "-P", "FORWARD", "DROP")
    stage = Stage()
    changes = Changes()
    both = endpoint(guests[0])
    changes.endpoints = {both.key: structs.replace(both, addresses=both.addresses[:1])}
    stage.step(changes)
    assert places(stage) == []

    changes.endpoints = {both.key: both}
    stage.step(changes)
    stage.dataplane.resync()

    assert places(stage) == ["chain FORWARD of table ip6 filter"]
    stage.dataplane.close()


def test_nothing_is_read_when_only_our_own_tables_change(
    stage: Stage, guests: tuple[Guest, Guest], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.settle()
    reads: list[bool] = []
    others = stage.dataplane.surroundings._others
    assert others is not None
    known = others.tables

    def counted(whole: bool = False) -> Any:
        reads.append(whole)
        return known(whole)

    monkeypatch.setattr(others, "tables", counted)
    stage.step(Changes(endpoints_removed={endpoint(guests[0]).key}), seconds=20)
    stage.step(seconds=20)
    assert reads == []

    run("nft", "add", "table", "inet", "another")
    eventually(lambda: stage.step(seconds=20) and reads, "read")


def test_a_running_felix_tells_of_it_in_its_log_its_tables_and_its_figures(host: Host) -> None:
    load(DEBIAN)
    host.ready()
    host.start(PrometheusMetricsEnabled="true", PrometheusMetricsHost="127.0.0.1")
    host.resync()

    eventually(lambda: "others.in_the_way" in host.lines(), "the warning")
    assert host.lines().count("others.in_the_way") == 2
    assert "chain forward of table inet filter" in ask(str(host.debug_socket), "others")
    with urllib.request.urlopen("http://127.0.0.1:9091/metrics", timeout=20) as answer:
        scraped = answer.read().decode()
    assert "calico_openstack_felix_obstacles 2.0" in scraped

    run("nft", "delete", "table", "inet", "filter")
    eventually(lambda: "others.out_of_the_way" in host.lines(), "the good news", within=40)
