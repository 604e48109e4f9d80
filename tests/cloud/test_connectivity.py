"""Who reaches whom: real packets between all guests, against what the documents in etcd mean."""

from collections.abc import Callable

import pytest

from calico_openstack.model.net import parse_net
from calico_openstack.policy.state import Packet, State
from calico_openstack.policy.verdict import verdict
from calico_openstack.sandbox import Rule, Sandbox
from calico_openstack.sandbox.guests import Booted
from calico_openstack.sandbox.probes import Probe, Prober
from calico_openstack.sandbox.waiting import eventually
from calico_openstack.testing.oracle import state_of

pytestmark = pytest.mark.root

# What the fixture `prober` answers on.
KINDS = (("icmp", 0), ("tcp", 80), ("tcp", 443), ("tcp", 5432), ("udp", 53), ("udp", 9999))
NUMBERS = {("icmp", 4): 1, ("icmp", 6): 58, ("tcp", 4): 6, ("tcp", 6): 6, ("udp", 4): 17, ("udp", 6): 17}


def expected_outcome(state: State, source: Booted, target: Booted, probe: Probe, version: int) -> bool:
    """Allowed by the sender's egress and by the receiver's ingress; nothing of Felix is asked."""
    endpoints = {endpoint.interface: endpoint for endpoint in state.endpoints.values()}
    packet = Packet(
        source=parse_net(source.address(version)),
        destination=parse_net(probe.target),
        protocol=NUMBERS[probe.protocol, version],
        source_port=40000 if probe.port else 0,
        destination_port=probe.port,
        icmp={4: (8, 0), 6: (128, 0)}[version] if probe.protocol == "icmp" else None,
    )
    return (
        verdict(state, endpoints[source.tap], "egress", packet).allowed
        and verdict(state, endpoints[target.tap], "ingress", packet).allowed
    )


def table(sandbox: Sandbox, state: State) -> dict[Probe, bool]:
    expected = {}
    for source in sandbox.guests:
        for target in sandbox.guests:
            if source.name == target.name:
                continue
            for version in (4, 6):
                for protocol, port in KINDS:
                    probe = Probe(source.namespace, target.address(version), protocol, port)  # type: ignore[arg-type]
                    expected[probe] = expected_outcome(state, source, target, probe, version)
    return expected


def differences(sandbox: Sandbox, expected: dict[Probe, bool], seen: dict[Probe, bool]) -> list[str]:
    names = {guest.namespace: guest.name for guest in sandbox.guests}
    names |= {address: guest.name for guest in sandbox.guests for address in (guest.v4, guest.v6) if address}
    return [
        f"{names[probe.source]} -> {names[probe.target]} {probe}: expected {'open' if expected[probe] else 'closed'}"
        for probe in expected
        if seen[probe] != expected[probe]
    ]


def test_every_flow_gets_the_verdict_that_the_policies_mean(
    sandbox: Sandbox, prober: Prober, documents: Callable[[], dict[str, bytes]]
) -> None:
    expected = table(sandbox, state_of(documents()))

    seen = prober.until(expected, limit=15)

    assert differences(sandbox, expected, seen) == []
    # The table is worth something only if it holds both, in both families and across hosts.
    assert len(expected) == 144
    for family in ("10.65.", "2001:"):
        outcomes = [open_ for probe, open_ in expected.items() if probe.target.startswith(family)]
        assert sum(outcomes) >= 10
        assert len(outcomes) - sum(outcomes) >= 10


@pytest.mark.parametrize(
    ("source", "target", "version", "protocol", "port", "open_"),
    [
        # Worked out by hand from the groups, so that an oracle that is wrong in the same way as Felix is noticed.
        ("web1", "web2", 4, "icmp", 0, True),
        ("db1", "web1", 6, "tcp", 80, True),
        ("web1", "db1", 4, "tcp", 5432, True),
        ("web2", "db1", 6, "tcp", 5432, True),
        ("client1", "web1", 4, "tcp", 80, True),
        ("client1", "web1", 4, "icmp", 0, True),
        ("client1", "web1", 6, "icmp", 0, False),
        ("client1", "db1", 4, "udp", 53, True),
        ("client1", "db1", 4, "tcp", 5432, False),
        ("db1", "client1", 6, "icmp", 0, True),
        ("web1", "client1", 4, "icmp", 0, False),
        ("web1", "db1", 4, "icmp", 0, False),
        ("web1", "db1", 4, "udp", 53, True),
        ("web1", "db1", 6, "udp", 53, False),
        ("web1", "web2", 4, "tcp", 443, False),
    ],
)
def test_flows_that_were_worked_out_by_hand(
    sandbox: Sandbox, prober: Prober, source: str, target: str, version: int, protocol: str, port: int, open_: bool
) -> None:
    probe = Probe(sandbox.guest(source).namespace, sandbox.guest(target).address(version), protocol, port)  # type: ignore[arg-type]

    assert prober.until({probe: open_}) == {probe: open_}


def test_the_fabric_router_reaches_guests_by_learnt_routes(sandbox: Sandbox, prober: Prober) -> None:
    fabric = sandbox.namespace("fabric")
    expected = {
        Probe(fabric, guest.address(version)): guest.name.startswith("web")
        for guest in sandbox.guests
        for version in (4, 6)
    }

    assert prober.until(expected) == expected


def test_a_remote_guests_host_route_on_each_host_is_birds(sandbox: Sandbox) -> None:
    for host in sandbox.spec.host_names:
        for guest in sandbox.guests:
            if guest.host == host:
                continue
            for version, length in ((4, 32), (6, 128)):
                route = sandbox.run(host, "ip", f"-{version}", "route", "show", f"{guest.address(version)}/{length}")
                assert "proto bird" in route, f"{guest.name} on {host}: {route!r}"


def test_a_rule_added_and_removed_through_the_api_opens_and_closes_a_port(sandbox: Sandbox, prober: Prober) -> None:
    here, there = sandbox.guest("db1"), sandbox.guest("web2")
    probes = [Probe(here.namespace, there.address(version), "tcp", 443) for version in (4, 6)]
    assert prober.check(probes) == dict.fromkeys(probes, False)
    group = sandbox.cloud.guests.neutron_group("web")

    rules = [
        sandbox.cloud.add_rule(group, Rule(ethertype=ethertype, protocol="tcp", ports=(443, 443)))  # type: ignore[arg-type]
        for ethertype in ("IPv4", "IPv6")
    ]
    assert prober.until(dict.fromkeys(probes, True)) == dict.fromkeys(probes, True)

    for rule in rules:
        sandbox.cloud.neutron.delete("security-group-rules", rule)
    assert prober.until(dict.fromkeys(probes, False)) == dict.fromkeys(probes, False)


def test_joining_a_group_opens_what_members_may_do_and_leaving_closes_it(sandbox: Sandbox, prober: Prober) -> None:
    guest, database = sandbox.guest("db1"), sandbox.guest("web2")
    probe = Probe(guest.namespace, database.address(4), "tcp", 5432)
    neutron = sandbox.cloud.neutron
    groups = {name: sandbox.cloud.guests.neutron_group(name) for name in ("web", "db")}
    assert prober.check_one(probe) is False

    neutron.update("ports", guest.port_id, security_groups=[groups["db"], groups["web"]])
    try:
        assert prober.until({probe: True}) == {probe: True}
    finally:
        neutron.update("ports", guest.port_id, security_groups=[groups["db"]])

    assert prober.until({probe: False}) == {probe: False}


def test_agents_are_alive_and_ports_active(sandbox: Sandbox) -> None:
    def alive() -> set[tuple[str, str]]:
        return {(agent["host"], agent["binary"]) for agent in sandbox.cloud.agents() if agent["alive"]}

    expected = {
        (host, binary) for host in ("h1", "h2") for binary in ("calico-felix", "calico-dhcp-agent", "calico-bgp-agent")
    }
    eventually(lambda: alive() >= expected, what=f"{expected}")

    statuses = {guest.name: sandbox.cloud.neutron.show("ports", guest.port_id)["status"] for guest in sandbox.guests}
    assert statuses == dict.fromkeys(statuses, "ACTIVE")
