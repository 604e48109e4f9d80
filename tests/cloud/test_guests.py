"""The life of a guest: boot, lease, renewal, deletion, as Nova would have it."""

import contextlib
import json
import signal
import threading
from collections.abc import Iterator

import pytest

from calico_openstack.sandbox import Guest, Sandbox, SandboxError
from calico_openstack.sandbox.guests import Booted
from calico_openstack.sandbox.layout import FELIX_HEALTH_PORT, fabric_v4, fabric_v6, management_address
from calico_openstack.sandbox.probes import Probe, Prober
from calico_openstack.sandbox.waiting import eventually
from calico_openstack.testing.listings import steady

pytestmark = pytest.mark.root


@pytest.fixture
def extra(sandbox: Sandbox) -> Iterator[Guest]:
    """A guest that a test boots; removed afterwards if the test did not."""
    guest = Guest("extra", "h2", "net1", ("web",))
    yield guest
    if any(one.name == guest.name for one in sandbox.guests):
        sandbox.delete(guest.name)


def traces(sandbox: Sandbox, host: str) -> dict[str, str]:
    """All that a guest could leave on its host, in a form that can be compared."""
    links = json.loads(sandbox.run(host, "ip", "-json", "addr", "show"))
    addresses = {
        link["ifname"]: sorted(info["local"] for info in link["addr_info"] if "local" in info) for link in links
    }
    dhcp = sandbox.layout.place(host) / "dhcp"
    files = {str(path): path.read_text() for path in dhcp.rglob("*") if path.name in ("hosts", "options")}
    return {
        "links": json.dumps(addresses, sort_keys=True),
        "routes": sandbox.run(host, "ip", "route", "show", "table", "all"),
        "routes6": "\n".join(
            line
            for line in sandbox.run(host, "ip", "-6", "route", "show", "table", "all").splitlines()
            if "expires" not in line
        ),
        "neighbours": "\n".join(
            sorted(
                line.split(" dev ")[1].split()[0]
                for line in sandbox.run(host, "ip", "neigh", "show").splitlines()
                if "tap" in line
            )
        ),
        "nft": steady(sandbox.run(host, "nft", "-s", "list", "ruleset")),
        "dnsmasq": json.dumps(files, sort_keys=True),
    }


def test_a_deleted_guest_leaves_nothing_on_its_host_in_etcd_or_in_neutron(
    sandbox: Sandbox, extra: Guest, documents: object
) -> None:
    before = traces(sandbox, "h2")
    booted = sandbox.boot(extra)
    assert traces(sandbox, "h2") != before

    sandbox.delete("extra")

    with contextlib.suppress(SandboxError):  # the assertion below says better what is different
        eventually(lambda: traces(sandbox, "h2") == before, what="the host to be as before")
    assert traces(sandbox, "h2") == before
    eventually(
        lambda: (
            not [path for path in documents() if booted.port_id.replace("-", "--") in path or booted.port_id in path]
        ),  # type: ignore[operator]
        what="etcd to forget the port",
    )
    assert [port for port in sandbox.cloud.neutron.list("ports") if port["id"] == booted.port_id] == []


def test_the_remote_hosts_route_comes_and_goes_with_the_guest(sandbox: Sandbox, extra: Guest, prober: Prober) -> None:
    booted = sandbox.boot(extra)
    here = sandbox.guest("web1")

    def routes() -> list[str]:
        return [
            sandbox.run("h1", "ip", f"-{version}", "route", "show", f"{booted.address(version)}/{length}").strip()
            for version, length in ((4, 32), (6, 128))
        ]

    eventually(lambda: all("proto bird" in route for route in routes()), what="the routes on h1")
    probes = {Probe(here.namespace, booted.address(version)): True for version in (4, 6)}
    assert prober.until(probes) == probes

    sandbox.delete("extra")

    eventually(lambda: routes() == ["", ""], what="the routes to go")


def test_a_port_is_active_only_after_felix_has_programmed_it(sandbox: Sandbox, extra: Guest, prober: Prober) -> None:
    """Without Felix the port stays DOWN and the tap lets nothing through; with Felix both change."""
    sandbox.stop("h2/felix", signal.SIGKILL)
    booted: list[Booted] = []
    boot = threading.Thread(target=lambda: booted.append(sandbox.boot(extra)))
    try:
        boot.start()
        port = eventually(lambda: port_of(sandbox, "extra"), what="the port")
        tap = "tap" + port["id"][:11]
        eventually(lambda: tap in sandbox.run("h2", "ip", "-o", "link", "show"), what="the tap")
        # The DHCP agent, which lives, has served the port by now: so the host had its time.
        dhcp = sandbox.layout.place("h2") / "dhcp" / "v4" / "hosts"
        eventually(lambda: port["mac_address"] in dhcp.read_text(), what="the DHCP agent to know the port")
        assert sandbox.cloud.neutron.show("ports", port["id"])["status"] == "DOWN"
    finally:
        sandbox.start("h2/felix")
        boot.join(60)

    assert sandbox.cloud.neutron.show("ports", booted[0].port_id)["status"] == "ACTIVE"
    answered = Probe(sandbox.guest("web1").namespace, booted[0].address(4))
    assert prober.until({answered: True}) == {answered: True}


def port_of(sandbox: Sandbox, name: str) -> dict[str, str] | None:
    found = sandbox.cloud.neutron.list("ports", name=name)
    return found[0] if found and found[0]["binding:vif_type"] == "tap" else None


def test_a_lease_is_renewed_when_the_client_asks(sandbox: Sandbox) -> None:
    guest = sandbox.guest("web1")
    notes = sandbox.layout.guest_directory("web1") / "v4"
    before = notes.read_text().count(" renew ")

    sandbox.state.record("g-web1/udhcpc").process.signal(signal.SIGUSR1)

    eventually(lambda: notes.read_text().count(" renew ") > before, what="the renewal")
    last = notes.read_text().splitlines()[-1]
    assert f"ip={guest.v4}/24" in last
    assert "router=10.65.0.1" in last


def test_a_guest_does_not_reach_its_host_beyond_dhcp(sandbox: Sandbox, prober: Prober) -> None:
    """DefaultEndpointToHostAction is Drop: neither BIRD nor anything else of the host answers a guest."""
    guest = sandbox.guest("web1")
    addresses = (fabric_v4("h1"), fabric_v6("h1"), management_address("h1"), "10.65.0.1")
    closed = {
        Probe(guest.namespace, address, protocol, port): False  # type: ignore[arg-type]
        for address in addresses
        for protocol, port in (("icmp", 0), ("tcp", 179), ("tcp", FELIX_HEALTH_PORT))
    }
    # That BIRD listens there at all is seen from the other host.
    assert prober.check_one(Probe(sandbox.namespace("fabric"), fabric_v4("h1"), "tcp", 179))

    assert prober.check(closed) == closed


def test_times_of_a_boot_are_measured_in_order(sandbox: Sandbox, extra: Guest) -> None:
    times = sandbox.boot(extra, ping=True).timings

    assert 0 < times.bound < times.plugged < times.active < times.lease < times.first_ping < times.address_v6
    assert times.active < 10
