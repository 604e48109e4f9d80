"""The light cloud from nothing to packets and back to nothing."""

import os
import subprocess

import pytest

from calico_openstack.sandbox import Guest, Network, Sandbox, SandboxError, Spec, Subnet, spread
from calico_openstack.sandbox.namespaces import existing
from calico_openstack.sandbox.probes import Probe, Prober
from calico_openstack.sandbox.remove import left_overs, processes_of

pytestmark = pytest.mark.root


def on_the_machine(sandbox: Sandbox) -> dict[str, list[str]]:
    """What there is of a sandbox outside its namespaces; only ours, since others work on this machine too."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout.splitlines()
    sockets = subprocess.run(["ss", "-Hltnup"], capture_output=True, text=True, check=True).stdout.splitlines()
    pids = {process.pid for process in processes_of(sandbox.layout)}
    taps = [guest.tap for guest in sandbox.guests] if sandbox.state.exists else []
    with open("/proc/self/mounts") as mounts:
        handles = [line for line in mounts if f"/{sandbox.layout.name}-" in line]
    return {
        "links": [line for line in links if any(tap in line for tap in taps)],
        "listeners": [line for line in sockets if any(f"pid={pid}," in line for pid in pids)],
        "mounts": handles,
    }


def test_a_light_cloud_comes_up_lets_guests_talk_and_leaves_nothing(name: str) -> None:
    with Sandbox(Spec(name=name, mode="light", guests=spread(2, 2))) as sandbox:
        during = on_the_machine(sandbox)
        assert len(processes_of(sandbox.layout)) > 10
        assert during["links"] == []
        assert during["listeners"] == []
        assert during["mounts"]  # the namespaces' handles in /run/netns
        one, two = sandbox.guest("g1"), sandbox.guest("g2")
        assert one.host != two.host
        with Prober() as prober:
            probes = {Probe(one.namespace, two.address(version)): True for version in (4, 6)}
            assert prober.until(probes) == probes

        with pytest.raises(SandboxError, match="is up already"):
            Sandbox(Spec(name=name, mode="light")).up()
        again = Sandbox.open(name)
        assert [guest.name for guest in again.guests] == ["g1", "g2"]
        booted = again.boot(Guest("g3", "h1", "net1"))
        assert booted.namespace in existing()
        with pytest.raises(SandboxError, match="already"):
            again.boot(Guest("g3", "h1", "net1"))
        again.delete("g3")
        assert booted.namespace not in existing()
        with pytest.raises(SandboxError, match="use one of ctl, fabric, h1, h2, g1, g2"):
            again.namespace("g3")

    assert left_overs(sandbox.layout) == []
    assert on_the_machine(sandbox) == {"links": [], "listeners": [], "mounts": []}
    assert not os.path.exists(sandbox.layout.directory)


def test_slaac_guests_make_their_own_address(name: str) -> None:
    networks = (Network("net1", (Subnet("10.65.0.0/24"), Subnet("2001:db8:65::/64", "slaac")), mtu=1400),)
    with Sandbox(Spec(name=name, mode="light", networks=networks, guests=spread(2, 2))) as sandbox:
        one, two = sandbox.guests
        with Prober() as prober:
            probes = {Probe(one.namespace, two.address(version)): True for version in (4, 6)}
            assert prober.until(probes) == probes
        assert "mtu 1400" in sandbox.run("g1", "ip", "link", "show", "eth0")
