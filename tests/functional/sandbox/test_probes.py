"""The prober and the pinger between two real namespaces."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from calico_openstack.sandbox.namespaces import existing, inside
from calico_openstack.sandbox.pinger import Pinger
from calico_openstack.sandbox.probes import Probe, Prober

pytestmark = pytest.mark.root


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    """Two namespaces with a cable: 10.9.9.1, fd99::1 and 10.9.9.2, fd99::2."""
    one, two = f"ftp{os.getpid()}-a", f"ftp{os.getpid()}-b"
    try:
        for namespace in (one, two):
            sh(f"ip netns add {namespace}")
        sh(f"ip link add e0 netns {one} type veth peer name e0 netns {two}")
        for number, namespace in ((1, one), (2, two)):
            sh(f"ip netns exec {namespace} sysctl -qw net.ipv6.conf.e0.accept_dad=0")
            sh(f"ip -n {namespace} addr add 10.9.9.{number}/24 dev e0")
            sh(f"ip -n {namespace} addr add fd99::{number}/64 dev e0 nodad")
            sh(f"ip -n {namespace} link set e0 up")
        with Prober() as prober:
            assert prober.check_one(Probe(one, "fd99::2"), wait=10)
        yield one, two
    finally:
        for namespace in (one, two):
            subprocess.run(["ip", "netns", "delete", namespace], check=False)


def sh(command: str) -> None:
    subprocess.run(command.split(), check=True)


def test_a_table_of_probes_tells_open_from_closed_and_absent(pair: tuple[str, str]) -> None:
    one, two = pair
    with Prober() as prober:
        prober.listen(two, "tcp", 80)
        prober.listen(two, "udp", 53)
        expected = {
            Probe(one, target, protocol, port): open_ and not target.endswith("3")  # type: ignore[arg-type]
            for target in ("10.9.9.2", "fd99::2", "10.9.9.3", "fd99::3")
            for protocol, port, open_ in (
                ("icmp", 0, True),
                ("tcp", 80, True),
                ("tcp", 81, False),
                ("udp", 53, True),
                ("udp", 54, False),
            )
        }

        assert prober.check(expected, wait=1.0) == expected


def test_a_firewall_that_drops_is_seen_as_silence_and_its_removal_as_answers(pair: tuple[str, str]) -> None:
    one, two = pair
    with Prober() as prober:
        prober.listen(two, "tcp", 80)
        probes = [Probe(one, "10.9.9.2", "tcp", 80), Probe(one, "10.9.9.2")]
        rules = "table inet t { chain c { type filter hook input priority 0; policy drop; }; }"
        subprocess.run(["ip", "netns", "exec", two, "nft", "-f", "-"], input=rules, text=True, check=True)
        assert prober.check(probes, wait=0.5) == dict.fromkeys(probes, False)

        sh(f"ip netns exec {two} nft flush ruleset")

        assert prober.until(dict.fromkeys(probes, True)) == dict.fromkeys(probes, True)


def test_the_pinger_counts_what_is_lost(pair: tuple[str, str]) -> None:
    one, two = pair
    with Pinger(one, "10.9.9.2") as pinger:
        _wait_for(lambda: pinger.received >= 50)
    assert pinger.result.lost == ()
    assert pinger.result.duplicates == 0
    assert pinger.result.sent >= 50

    with Pinger(one, "fd99::2", patience=0.5) as pinger:
        _wait_for(lambda: pinger.received >= 50)
        rules = "table inet t { chain c { type filter hook input priority 0; icmpv6 type echo-request drop; }; }"
        subprocess.run(["ip", "netns", "exec", two, "nft", "-f", "-"], input=rules, text=True, check=True)
        before = pinger.sent
        _wait_for(lambda: pinger.sent >= before + 20)
        sh(f"ip netns exec {two} nft flush ruleset")
        again = pinger.received + 50
        _wait_for(lambda: pinger.received >= again)

    lost = pinger.result.lost
    assert len(lost) >= 18
    # One gap, not losses here and there.
    assert list(lost) == list(range(lost[0], lost[-1] + 1))
    assert pinger.result.longest_silence >= 0.08


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_work_inside_a_namespace_leaves_the_caller_where_it_was(pair: tuple[str, str]) -> None:
    one, _ = pair
    read = "/proc/thread-self/net/dev"

    def devices() -> str:
        with open(read) as file:
            return file.read()

    before = devices()

    assert "e0:" in inside(one, devices)
    assert devices() == before
    assert one in existing()


def test_an_absent_namespace_is_an_error_for_the_caller() -> None:
    with pytest.raises(FileNotFoundError):
        inside("no-such-namespace", lambda: None)
