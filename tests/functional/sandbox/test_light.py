"""The light cloud from nothing to packets and back to nothing."""

import os
import subprocess

import pytest

from calico_openstack.sandbox import Guest, Network, Sandbox, SandboxError, Spec, Subnet, spread
from calico_openstack.sandbox.namespaces import existing
from calico_openstack.sandbox.probes import Probe, Prober
from calico_openstack.sandbox.remove import left_overs

pytestmark = pytest.mark.root


def machine() -> dict[str, object]:
    """What a sandbox could leave on the machine itself."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    sockets = subprocess.run(["ss", "-Hltnup"], capture_output=True, text=True, check=False).stdout
    with open("/proc/self/mounts") as mounts:
        return {"links": links, "listeners": sorted(sockets.split("\n")), "mounts": sorted(mounts.read().split("\n"))}


def test_a_light_cloud_comes_up_lets_guests_talk_and_leaves_nothing(name: str) -> None:
    before = machine()
    with Sandbox(Spec(name=name, mode="light", guests=spread(2, 2))) as sandbox:
        # Everything it has is inside its namespaces (the handles of which are the only new mounts).
        during = machine()
        assert during["links"] == before["links"]
        assert during["listeners"] == before["listeners"]
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
    assert machine() == before
    assert not os.path.exists(sandbox.layout.directory)


def test_slaac_guests_make_their_own_address(name: str) -> None:
    networks = (Network("net1", (Subnet("10.65.0.0/24"), Subnet("2001:db8:65::/64", "slaac")), mtu=1400),)
    with Sandbox(Spec(name=name, mode="light", networks=networks, guests=spread(2, 2))) as sandbox:
        one, two = sandbox.guests
        with Prober() as prober:
            probes = {Probe(one.namespace, two.address(version)): True for version in (4, 6)}
            assert prober.until(probes) == probes
        assert "mtu 1400" in sandbox.run("g1", "ip", "link", "show", "eth0")
