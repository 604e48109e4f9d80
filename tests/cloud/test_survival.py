"""Traffic outlives the processes: each is killed or taken away while packets flow between hosts."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from calico_openstack.sandbox import Rule, Sandbox
from calico_openstack.sandbox.execute import holds
from calico_openstack.sandbox.layout import FELIX_HEALTH_PORT
from calico_openstack.sandbox.pinger import Pinger
from calico_openstack.sandbox.probes import Probe, Prober
from calico_openstack.sandbox.steps import HttpAnswers
from calico_openstack.sandbox.waiting import eventually
from calico_openstack.testing.listings import steady

pytestmark = pytest.mark.root
PER_SECOND = 200


@contextmanager
def pings_between_hosts(sandbox: Sandbox) -> Iterator[list[Pinger]]:
    """200 packets per second from web1 on h1 to web2 on h2, IPv4 and IPv6."""
    here, there = sandbox.guest("web1"), sandbox.guest("web2")
    with ExitStack() as stack:
        pingers = [
            stack.enter_context(Pinger(here.namespace, there.address(version), PER_SECOND)) for version in (4, 6)
        ]
        for pinger in pingers:
            eventually(lambda pinger=pinger: pinger.received > 50, what="the first replies")  # type: ignore[misc]
        yield pingers


def felix_ready(sandbox: Sandbox, host: str) -> bool:
    return holds(HttpAnswers(sandbox.namespace(host), f"http://127.0.0.1:{FELIX_HEALTH_PORT}/readiness"))


@contextmanager
def kernel_events(sandbox: Sandbox, host: str, directory: Path) -> Iterator[Path]:
    """Writes every nftables and route event of a host into a file while the block runs."""
    log = directory / "events"
    commands = (
        ["nft", "monitor"],
        ["ip", "-4", "monitor", "route"],
        ["ip", "-6", "monitor", "route"],
    )
    children = []
    try:
        with log.open("wb") as output:
            for command in commands:
                argv = ["ip", "netns", "exec", sandbox.namespace(host), *command]
                children.append(subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT))
        yield log
    finally:
        for child in children:
            child.kill()
            child.wait()


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_felix_killed_and_started_again_loses_no_packet_and_touches_nothing(
    sandbox: Sandbox, prober: Prober, tmp_path: Path, host: str
) -> None:
    eventually(lambda: felix_ready(sandbox, host), what=f"Felix on {host} is ready")
    table_handle = steady(sandbox.run(host, "nft", "-a", "list", "table", "inet", "calico"))
    with kernel_events(sandbox, host, tmp_path) as log, pings_between_hosts(sandbox) as pingers:
        before = [pinger.received for pinger in pingers]
        sandbox.stop(f"{host}/felix", signal.SIGKILL)
        eventually(lambda: not felix_ready(sandbox, host), what="Felix is gone")
        for pinger, count in zip(pingers, before, strict=True):
            # A second without Felix.
            eventually(lambda p=pinger, c=count: p.received > c + PER_SECOND, what="replies without Felix")  # type: ignore[misc]

        sandbox.start(f"{host}/felix")
        eventually(lambda: felix_ready(sandbox, host), what="Felix is ready again")
        after = [pinger.received for pinger in pingers]
        for pinger, count in zip(pingers, after, strict=True):
            eventually(lambda p=pinger, c=count: p.received > c + 2 * PER_SECOND, what="replies with Felix")  # type: ignore[misc]
        events = log.read_text()

        assert events == ""
        # Felix counted for itself what its first look at the kernel made it do.
        resyncs = re.findall(r"felix\.resync .*operations=(\d+)", sandbox.layout.log(f"{host}/felix").read_text())
        assert resyncs[-1] == "0"
        # The very same objects, not equal ones: handles are part of the listing.
        assert steady(sandbox.run(host, "nft", "-a", "list", "table", "inet", "calico")) == table_handle

        # And the monitor does see what is done: a new rule must appear in it.
        group = sandbox.cloud.guests.neutron_group("web")
        rule = sandbox.cloud.add_rule(group, Rule(protocol="tcp", ports=(8080, 8080)))
        try:
            eventually(lambda: log.read_text() != "", what="the monitor to see a new rule")
        finally:
            sandbox.cloud.neutron.delete("security-group-rules", rule)
    assert [pinger.result.lost for pinger in pingers] == [(), ()], [str(pinger.result) for pinger in pingers]


def test_the_other_agents_and_the_api_may_die_without_a_packet_lost(sandbox: Sandbox) -> None:
    victims = ["h1/dhcp", "h2/dhcp", "h1/bgp", "h2/bgp", "ctl/neutron-periodic-workers"]
    with pings_between_hosts(sandbox) as pingers:
        for name in victims:
            sandbox.stop(name, signal.SIGKILL)
        count = pingers[0].received
        eventually(lambda: pingers[0].received > count + PER_SECOND, what="replies without the agents")
        for name in victims:
            sandbox.start(name)
        eventually(
            lambda: sum(agent["alive"] for agent in sandbox.cloud.agents()) >= 6, limit=60, what="six living agents"
        )
    assert [pinger.result.lost for pinger in pingers] == [(), ()], [str(pinger.result) for pinger in pingers]


def test_bird_killed_and_started_again_loses_no_packet(sandbox: Sandbox) -> None:
    with pings_between_hosts(sandbox) as pingers:
        sandbox.stop("h2/bird", signal.SIGKILL)
        count = pingers[0].received
        eventually(lambda: pingers[0].received > count + PER_SECOND, what="replies without BIRD")
        sandbox.start("h2/bird")
        eventually(lambda: established(sandbox, "h2") >= 4, limit=60, what="BGP sessions of h2")
        count = pingers[0].received
        eventually(lambda: pingers[0].received > count + PER_SECOND, what="replies with BIRD")
    assert [pinger.result.lost for pinger in pingers] == [(), ()], [str(pinger.result) for pinger in pingers]


def established(sandbox: Sandbox, host: str) -> int:
    try:
        return sandbox.run(host, "birdc", "show", "protocols").count("Established")
    except Exception:  # BIRD's socket is not there yet
        return 0


@pytest.mark.slow
def test_without_etcd_for_20_seconds_traffic_goes_on_and_a_rule_added_meanwhile_arrives_when_it_is_back(
    sandbox: Sandbox, prober: Prober
) -> None:
    probe = Probe(sandbox.guest("web1").namespace, sandbox.guest("db1").address(4), "tcp", 443)
    across = Probe(sandbox.guest("web1").namespace, sandbox.guest("web2").address(4), "tcp", 443)
    group = sandbox.cloud.guests.neutron_group("db")
    assert prober.check([probe, across]) == {probe: False, across: False}
    with pings_between_hosts(sandbox) as pingers:
        sandbox.stop("ctl/etcd", signal.SIGKILL)
        count = pingers[0].received
        rule = sandbox.cloud.add_rule(group, Rule(protocol="tcp", ports=(443, 443)))
        # Twenty seconds, told by the pings themselves.
        eventually(lambda: pingers[0].received > count + 20 * PER_SECOND, limit=60, what="20 s of replies without etcd")
        assert prober.check([probe, across]) == {probe: False, across: False}

        sandbox.start("ctl/etcd")

        wanted = {probe: True, across: True}  # web2 is a member of db too
        assert prober.until(wanted, limit=60) == wanted
    sandbox.cloud.neutron.delete("security-group-rules", rule)
    closed = {probe: False, across: False}
    assert prober.until(closed) == closed
    assert [pinger.result.lost for pinger in pingers] == [(), ()], [str(pinger.result) for pinger in pingers]
