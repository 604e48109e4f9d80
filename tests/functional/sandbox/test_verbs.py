"""The verbs on a running light cloud, each as its own process, as a user types them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.remove import left_overs, remove

pytestmark = pytest.mark.root
COMMAND = [str(Path(sys.prefix) / "bin" / "calico-openstack"), "sandbox"]
Verb = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def verb() -> Iterator[Verb]:
    """Runs `calico-openstack sandbox VERB --name <ours> ...` against one cloud of this module."""
    name = f"fv{os.getpid()}"

    def run(verb: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        argv = [*COMMAND, verb, "--name", name, *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=200)

    try:
        up = run("up", "--light", "--guests", "1")
        assert up.returncode == 0, up.stdout + up.stderr
        yield run
    finally:
        remove(Layout(name))
        assert left_overs(Layout(name)) == []


def test_status_tells_processes_agents_guests_and_memory(verb: Verb) -> None:
    output = verb("status").stdout

    for words in ("ctl/etcd", "h2/felix", "runs", "Calico DHCP agent", "g1", "PSS MiB", "total"):
        assert words in output
    assert "ended" not in output


def test_boot_tells_the_times_and_delete_takes_it_away(verb: Verb) -> None:
    booted = verb("boot", "extra", "--host", "h2")
    assert booted.returncode == 0, booted.stderr
    assert "→first ping" in booted.stdout
    assert verb("exec", "extra", "ip", "route").stdout.startswith("default via 10.65.0.1 dev eth0")

    assert verb("delete", "extra").stdout == "Guest extra is gone.\n"
    gone = verb("exec", "extra", "true")
    assert gone.returncode == 1
    assert "there is no place 'extra'; use one of ctl, fabric, h1, h2, g1" in gone.stderr


def test_exec_ends_as_the_command_ends(verb: Verb) -> None:
    assert verb("exec", "h1", "sh", "-c", "exit 7").returncode == 7
    assert "Established" in verb("exec", "h1", "birdc", "show", "protocols").stdout
    assert (
        "is healthy"
        in verb("exec", "ctl", "etcdctl", "endpoint", "health").stderr
        + verb("exec", "ctl", "etcdctl", "endpoint", "health").stdout
    )


def test_a_shell_knows_where_it_is_and_which_bird_is_meant(verb: Verb) -> None:
    result = verb("shell", "h2", stdin="birdc show status\nip -o link show eth0\n")

    assert "BIRD 2" in result.stdout
    assert "eth0@" in result.stdout
    assert result.stderr == ""


def test_the_operators_command_knows_its_place(verb: Verb) -> None:
    assert verb("exec", "h1", "calico-openstack", "plan").stdout == "host h1: 1 endpoint; nothing to do\n"
    assert " up " in verb("exec", "h1", "calico-openstack", "felix", "show", "endpoints").stdout

    address = verb("exec", "ctl", "openstack", "port", "list", "-f", "value", "-c", "ID").stdout.strip()
    allowed = verb("exec", "ctl", "calico-openstack", "explain", address, "198.51.100.1")
    assert allowed.stdout.startswith("allowed: IPv4 icmp"), allowed.stderr


def test_the_openstack_client_is_the_administrator(verb: Verb) -> None:
    assert verb("openstack", "network", "list", "-f", "value", "-c", "Name").stdout == "net1\n"


def test_logs_lists_processes_and_shows_one(verb: Verb) -> None:
    assert "h1/felix" in verb("logs").stdout
    assert "felix" in verb("logs", "h1/felix").stdout
    assert "there is no process 'h9/felix'" in verb("logs", "h9/felix").stderr


def test_a_stopped_process_is_told_as_ended_and_starts_again(verb: Verb) -> None:
    assert verb("stop", "h1/dhcp").returncode == 0
    assert "ended" in verb("status").stdout

    assert verb("start", "h1/dhcp").returncode == 0
    assert "ended" not in verb("status").stdout
    again = verb("start", "h1/dhcp")
    assert again.returncode == 1
    assert "is running already" in again.stderr
