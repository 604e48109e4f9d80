"""What `compare` foretells is what a step of the dataplane then does, and it touches nothing."""

import re
import subprocess

import pytest

from calico_openstack.felix.comparison import Comparison, compare
from calico_openstack.felix.dataplane import TARGETS, Dataplane, DataplaneSettings, Report
from calico_openstack.felix.plan import findings
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint, WantedProfile, WantedRule
from calico_openstack.model.endpoint import EndpointKey, QosControls
from calico_openstack.model.net import parse_net
from calico_openstack.testing.compute_host import eventually, ip
from calico_openstack.testing.listings import steady

pytestmark = pytest.mark.root

MAC = "fa:16:3e:00:00:01"
OPEN = WantedProfile(name="open", ingress=(WantedRule(action="allow"),), egress=(WantedRule(action="allow"),))
SETTINGS = DataplaneSettings()


def endpoint(name: str, *addresses: str, qos: QosControls | None = None) -> WantedEndpoint:
    key = EndpointKey("openstack", "h", "openstack", "vm", name)
    nets = tuple(parse_net(address) for address in addresses)
    return WantedEndpoint(key=key, interface=f"tap{name}", mac=MAC, addresses=nets, profiles=("open",), qos=qos)


def wanted(*endpoints: WantedEndpoint) -> Changes:
    return Changes(profiles={"open": OPEN}, endpoints={one.key: one for one in endpoints})


def tap(name: str) -> None:
    ip("link", "add", f"tap{name}", "type", "veth", "peer", "name", f"peer{name}")
    ip("link", "set", f"peer{name}", "up")
    ip("link", "set", f"tap{name}", "up")
    eventually(lambda: "state UP" in ip("link", "show", f"tap{name}"), "the tap carries")


def nft(*arguments: str) -> str:
    return subprocess.run(["nft", *arguments], capture_output=True, text=True, check=True).stdout


def tc(*arguments: str) -> str:
    return subprocess.run(["tc", *arguments], capture_output=True, text=True, check=True).stdout


def kernel() -> str:
    """Everything that a step may change, but for counters."""
    parts = [
        steady(nft("-s", "list", "ruleset")),
        ip("route", "show", "table", "all"),
        ip("-6", "route", "show", "table", "all"),
    ]
    return "\n".join([*parts, ip("neighbour", "show"), ip("-6", "neighbour", "show"), tc("qdisc"), ip("link")])


def stepped(changes: Changes) -> Report:
    """One step of a Felix that has just started."""
    dataplane = Dataplane(SETTINGS)
    try:
        return dataplane.step(changes, 0.0)
    finally:
        dataplane.close()


def texts(comparison: Comparison) -> dict[str, str]:
    return {
        target: "\n".join(f"{what}: {why}" for what, why in found) for target, found in findings(comparison).items()
    }


def test_what_is_foretold_is_what_a_step_does(namespace: None) -> None:
    tap("a")
    qos = QosControls(ingress_bandwidth=8_000_000, egress_bandwidth=8_000_000)
    changes = wanted(endpoint("a", "10.0.0.1", "2001:db8::1", "10.9.0.0/24", qos=qos), endpoint("b", "10.0.0.2"))
    before = kernel()

    foretold = compare(SETTINGS, changes)

    assert kernel() == before
    assert [owner.interface for owner in foretold.waiting] == ["tapb"]
    report = stepped(changes)
    assert foretold.counts() == {name: report.operations[name] for name in foretold.counts()}
    assert all(foretold.counts().values())
    # A new target of the dataplane belongs here, too; flows end by changes, not by what is, and what upstream left is
    # no work of every step: the command asks `switchover.look`.
    assert {*foretold.counts(), "flows", "upstream"} == set(TARGETS)
    assert not compare(SETTINGS, changes)


def test_each_damage_is_found_named_and_foretold(namespace: None) -> None:
    tap("a")
    changes = wanted(endpoint("a", "10.0.0.1", "2001:db8::1", qos=QosControls(ingress_bandwidth=8_000_000)))
    stepped(changes)
    tc("qdisc", "delete", "dev", "tapa", "root")
    nft("delete", "element", "inet", "calico", "taps", '{ "tapa" }')
    nft("add", "rule", "inet", "calico", "forward", "accept")
    nft("add", "chain", "inet", "calico", "stranger")
    ip("route", "delete", "10.0.0.1/32", "dev", "tapa")
    ip("route", "add", "10.99.0.1/32", "dev", "tapa")
    ip("neighbour", "replace", "2001:db8::1", "lladdr", "fa:16:3e:00:00:ff", "nud", "permanent", "dev", "tapa")
    subprocess.run(["sysctl", "-qw", "net.ipv4.conf.tapa.proxy_arp=0"], check=True)

    foretold = compare(SETTINGS, changes)

    said = texts(foretold)
    forward, element, stranger = said["nft"].splitlines()
    assert re.fullmatch(r"write the \d+ rules of chain inet calico forward: 1 foreign", forward)
    assert element == 'add to inet calico taps: "tapa": missing, for port a'
    assert stranger == "remove chain inet calico stranger: it is none of Felix's"
    assert said["routes"].splitlines() == [
        "set route 10.0.0.1/32 dev tapa metric 1024: missing, for port a",
        "remove route 10.99.0.1/32 dev tapa metric 0: the endpoint of tapa has no such address",
    ]
    assert said["neighbours"] == (
        f"set neighbour 2001:db8::1 lladdr {MAC} dev tapa: it is fa:16:3e:00:00:ff, for port a"
    )
    assert said["shaping"] == "limit ingress of tapa to 8000000 bit/s: missing, for port a"
    assert said["sysctls"] == "write 1 to /proc/sys/net/ipv4/conf/tapa/proxy_arp: it says 0"
    report = stepped(changes)
    assert foretold.counts() == {name: report.operations[name] for name in foretold.counts()}
    assert not compare(SETTINGS, changes)


def test_a_strangers_route_on_a_tap_without_endpoint_is_foretold_before_its_grace_ends(namespace: None) -> None:
    stepped(wanted())
    tap("a")
    ip("route", "add", "10.99.0.1/32", "dev", "tapa")

    said = texts(compare(SETTINGS, wanted()))

    assert said["routes"] == "remove route 10.99.0.1/32 dev tapa metric 0: no endpoint has tapa"
    assert "10.99.0.1" in ip("route", "show", "dev", "tapa")


def test_an_endpoint_that_claims_an_interface_of_the_hosts_own_is_refused(namespace: None) -> None:
    bad = WantedEndpoint(
        key=EndpointKey("openstack", "h", "openstack", "vm", "x"), interface="eth0", addresses=(parse_net("10.0.0.2"),)
    )

    assert "'eth0' begins with none of tap" in compare(SETTINGS, wanted(bad)).refused[bad.key]


def test_routes_of_others_are_left_alone_where_the_settings_say_so(namespace: None) -> None:
    tap("a")
    changes = wanted(endpoint("a", "10.0.0.1"))
    stepped(changes)
    ip("route", "add", "10.99.0.1/32", "dev", "tapa", "proto", "99")

    settings = DataplaneSettings(remove_external_routes=False)

    assert texts(compare(SETTINGS, changes))["routes"].startswith("remove route 10.99.0.1/32")
    assert not compare(settings, changes)
