"""What befalls Felix as a process: others damage its tables, the firewall refuses or is slow, the kernel hangs."""

import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from calico_openstack.felix.kernel.nft import NftTables
from calico_openstack.felix.ruleset.difference import Actual
from calico_openstack.felix.ruleset.named_sets import INET
from calico_openstack.model.names import tap_name
from calico_openstack.testing.compute_host import HOST, Guest, Host, eventually
from calico_openstack.testing.harmed_felix import VARIABLE, Mishaps
from calico_openstack.testing.written import WEB, allow, group, port

pytestmark = pytest.mark.root

PORTS = [f"{digit * 8}-0000-4000-8000-000000000000" for digit in "123"]
WATCHDOG = "20"
"""Seconds; no shorter one is taken."""


@pytest.fixture
def mishaps(host: Host, tmp_path: Path) -> Mishaps:
    directory = tmp_path / "mishaps"
    directory.mkdir()
    host.program = "calico_openstack.testing.harmed_felix"
    host.environment = {VARIABLE: str(directory)}
    return Mishaps(directory)


@pytest.fixture
def running(host: Host, mishaps: Mishaps, guest: Callable[..., Guest]) -> Host:
    """Two guests of a group, programmed and read back."""
    host.ready()
    tell(host, 0)
    tell(host, 1)
    host.put(*text(group(WEB, allow("TCP", [22]))))
    for number in (0, 1):
        guest(tap_name(PORTS[number]), f"fa:16:3e:00:00:0{number}", f"10.65.0.{number + 1}/24")
    host.start(DataplaneWatchdogTimeout=WATCHDOG)
    host.resync()
    eventually(lambda: status("readiness") == 200, "ready")
    eventually(lambda: INET in ruleset() and '"up"' in whole_status(host), "programmed")
    return host


def text(document: tuple[str, bytes]) -> tuple[str, str]:
    return document[0], document[1].decode()


def tell(host: Host, number: int) -> None:
    mac = f"fa:16:3e:00:00:0{number}"
    host.put(*text(port(PORTS[number], f"10.65.0.{number + 1}/32", groups=(WEB,), mac=mac)))


def whole_status(host: Host) -> str:
    return host.etcd.etcdctl(
        "get", "--prefix", "--print-value-only", f"/calico/felix/v2/no-region/host/{HOST}/workload"
    )


def status(path: str) -> int:
    """What the health port says; 0 if nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:9099/{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def ruleset() -> Actual:
    with NftTables() as tables:
        return tables.read()


def nft(commands: str) -> None:
    done = subprocess.run(["nft", "-f", "-"], input=commands, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def put_right(host: Host, *damages: str) -> None:
    """Each is repaired, and Felix lives on."""
    before = ruleset()
    with NftTables() as tables:
        for damage in damages:
            generation = tables.generation()
            nft(damage)
            # Theirs and ours.
            eventually(lambda start=generation: tables.generation() >= start + 2 and tables.read() == before, damage)
    assert host.runs


@pytest.mark.conformance("K1")
def test_hooks_and_rules_that_somebody_removes_or_adds_are_put_right(running: Host) -> None:
    put_right(
        running,
        "flush chain inet calico forward",
        "flush chain inet calico raw-prerouting",
        "flush chain inet calico forward\ndelete chain inet calico forward",
        "insert rule inet calico forward accept",
        "flush table inet calico",
        "delete table inet calico\ndelete table arp calico",
        "flush ruleset",
    )


@pytest.mark.conformance("K2")
def test_members_and_sets_that_somebody_removes_or_adds_are_put_right(running: Host) -> None:
    put_right(
        running,
        "flush set inet calico taps",
        "add element inet calico taps { tap-stranger }",
        "flush map inet calico ingress",
        f"delete element inet calico ingress {{ {tap_name(PORTS[0])} }}",
        "add set inet calico stranger { type ipv4_addr; }",
        "flush chain inet calico source4\ndelete set inet calico source4",
    )


@pytest.mark.conformance("K1", "K2")
def test_somebody_who_flushes_our_table_again_and_again_does_not_keep_an_update_from_its_place(
    running: Host, guest: Callable[..., Guest]
) -> None:
    guest(tap_name(PORTS[2]), "fa:16:3e:00:00:02", "10.65.0.3/24")
    flushes = "while :; do nft flush table inet calico; sleep 0.02; done"
    with subprocess.Popen(["bash", "-c", flushes], stderr=subprocess.DEVNULL) as vandal:
        try:
            tell(running, 2)
            with NftTables() as tables:
                generation = tables.generation()
                # Of theirs and ours; nft itself is slow in front of a ruleset that does not stand still.
                eventually(lambda: tables.generation() > generation + 8, "some flushes", within=60)
        finally:
            vandal.kill()
    wanted = tap_name(PORTS[2])

    eventually(lambda: wanted in repr(ruleset()[INET].sets["taps"].elements), "the newcomer is let in")
    eventually(lambda: ruleset()[INET].chains["forward"].rules != (), "the rules are back")
    assert running.runs


@pytest.mark.conformance("K6")
def test_a_firewall_that_takes_nothing_makes_felix_not_ready_and_after_a_time_end(
    running: Host, mishaps: Mishaps
) -> None:
    before = ruleset()
    running.stop()
    mishaps.order("patience", 8)
    running.start()
    eventually(lambda: status("readiness") == 200, "ready")
    mishaps.order("refuse")

    tell(running, 2)

    eventually(lambda: status("readiness") == 503, "not ready")
    assert status("liveness") == 200
    assert ruleset() == before
    eventually(lambda: not running.runs, "it gave up", within=60)
    assert "could not be programmed: nftables transaction refused" in running.lines()

    mishaps.recall("refuse")
    running.start()
    eventually(lambda: status("readiness") == 200, "ready with what it could not do before")
    assert ruleset() != before


@pytest.mark.conformance("K6")
def test_without_the_right_to_change_the_kernel_it_is_never_ready_and_ends(host: Host, mishaps: Mishaps) -> None:
    mishaps.order("patience", 2)
    mishaps.order("refuse")
    host.ready()
    tell(host, 0)
    host.start()

    eventually(lambda: "firewall.failed" in host.lines(), "tried")
    eventually(lambda: not host.runs, "it gave up", within=60)

    assert "felix.resync" not in host.lines()
    assert host.get(f"/calico/felix/v2/no-region/host/{HOST}/status") is None


@pytest.mark.slow
@pytest.mark.conformance("K7")
def test_a_slow_firewall_makes_felix_not_ready_until_it_is_quick_again(running: Host, mishaps: Mishaps) -> None:
    mishaps.order("slow", float(WATCHDOG) + 8)

    tell(running, 2)

    eventually(lambda: status("readiness") == 503, "not ready", within=60)
    mishaps.recall("slow")
    eventually(lambda: status("readiness") == 200, "ready again", within=60)
    assert tap_name(PORTS[2]) in repr(ruleset()[INET].sets["taps"].elements)
    assert running.runs


@pytest.mark.slow
@pytest.mark.conformance("K9")
def test_a_kernel_that_does_not_answer_is_found_out(running: Host, mishaps: Mishaps) -> None:
    mishaps.order("hang")

    tell(running, 2)

    eventually(lambda: status("liveness") == 503, "not live", within=60)
    eventually(lambda: "host.silent" in running.lines(), "nor does it tell Neutron so", within=60)
    mishaps.recall("hang")
    eventually(lambda: status("liveness") == 200, "live again")


@pytest.mark.conformance("K9")
def test_a_calculation_that_does_not_end_is_found_out(running: Host, mishaps: Mishaps) -> None:
    mishaps.order("ponder")

    tell(running, 2)

    # It is the health port's own loop that stands still: whoever asks gets no answer, and takes that for dead.
    eventually(lambda: status("liveness") == 0, "not live", within=60)
    assert running.runs
    mishaps.recall("ponder")
    eventually(lambda: status("liveness") == status("readiness") == 200, "live again")
    wanted = tap_name(PORTS[2])
    eventually(lambda: wanted in repr(ruleset()[INET].sets["taps"].elements), "what it had thought about")
