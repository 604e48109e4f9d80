"""Law *packet*, for the host's own interfaces: what arrives for the host, what it sends, and what it forwards.

The meaning is written out here stage by stage, from the policies of the endpoint that is in force on the interface.
"""

import dataclasses
import itertools
import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calico_openstack.felix.ruleset import fields, meaning, statements, walk
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import (
    Wanted,
    WantedEndpoint,
    WantedHostEndpoint,
    WantedMatch,
    WantedPolicy,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.failsafe import NEIGHBOUR_DISCOVERY, Failsafe
from calico_openstack.model.policy import PolicyKey, PortRange
from calico_openstack.testing.wanted_states import HOSTS, INTERFACES, flows, rendered, states

RELAXED = settings(
    max_examples=int(os.environ.get("LAWS_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
PAIRS = [(a, b) for a, b in itertools.permutations(HOSTS, 2) if a.version == b.version]
SETTINGS = RulesetSettings()
with_hosts = states(hosts=st.lists(st.sampled_from(INTERFACES), min_size=1, unique=True))
kinds = st.lists(flows, min_size=4, max_size=4)
interfaces = st.sampled_from(("eth0", "eth1", "eth2", "lo"))


def in_force(wanted: Wanted, interface: str) -> WantedHostEndpoint | None:
    name = wanted.host_interfaces.get(interface)
    if name is None and interface != "lo":
        name = wanted.host_interfaces.get("*")
    return wanted.host_endpoints.get(name) if name else None


def passes_always(failsafes: tuple[Failsafe, ...], flow: meaning.Flow) -> bool:
    if flow.protocol == 58 and flow.icmp and flow.source.version == 6 and flow.icmp[0] in NEIGHBOUR_DISCOVERY:
        return True
    return bool(flow.ports) and Failsafe(flow.protocol, flow.ports[1]) in failsafes


def arrives(wanted: Wanted, interface: str, flow: meaning.Flow) -> bool:
    endpoint = in_force(wanted, interface)
    if endpoint is None or passes_always(SETTINGS.failsafe_in, flow):
        return True
    for tiers in (endpoint.untracked, endpoint.pre_dnat):
        decided = meaning.decides(wanted, tiers, "ingress", flow)
        if decided is not None:
            return decided
    return meaning.allows(wanted, endpoint, "ingress", flow)


def leaves(wanted: Wanted, interface: str, flow: meaning.Flow) -> bool:
    endpoint = in_force(wanted, interface)
    if endpoint is None or passes_always(SETTINGS.failsafe_out, flow):
        return True
    decided = meaning.decides(wanted, endpoint.untracked, "egress", flow)
    return decided if decided is not None else meaning.allows(wanted, endpoint, "egress", flow)


def is_forwarded(wanted: Wanted, arriving: str, leaving: str, flow: meaning.Flow) -> bool:
    """Between two of the host's own interfaces; the loopback forwards nothing."""
    endpoint, other = in_force(wanted, arriving), in_force(wanted, leaving)
    settled = False
    if endpoint is not None and not passes_always(SETTINGS.failsafe_in, flow):
        for tiers in (endpoint.untracked, endpoint.pre_dnat):
            decided = meaning.decides(wanted, tiers, "ingress", flow)
            if decided is False:
                return False
            if decided:
                settled = True
                break
    ingress = meaning.decides(wanted, endpoint.forward, "ingress", flow) if endpoint and not settled else None
    egress = meaning.decides(wanted, other.forward, "egress", flow) if other else None
    return ingress is not False and egress is not False


def packet(flow: meaning.Flow, arriving: str = "", leaving: str = "") -> walk.Packet:
    return walk.packet(
        flow.source,
        flow.destination,
        flow.protocol,
        ports=flow.ports,
        icmp=flow.icmp,
        in_interface=arriving,
        out_interface=leaving,
    )


def all_flows(chosen: list) -> list[meaning.Flow]:
    return [meaning.Flow(*ends, protocol, ports, icmp) for ends in PAIRS for protocol, ports, icmp in chosen]


@RELAXED
@given(with_hosts, kinds, interfaces)
def test_what_arrives_for_the_host_gets_the_verdict_of_the_interface(
    wanted: Wanted, chosen: list, interface: str
) -> None:
    ruleset = rendered(wanted)
    for flow in all_flows(chosen):
        done = walk.delivered(ruleset, packet(flow, arriving=interface))

        assert (done.result == "accept") == arrives(wanted, interface, flow), (flow, done.rules)


@RELAXED
@given(with_hosts, kinds, interfaces, st.booleans())
def test_what_the_host_sends_gets_the_verdict_of_the_interface(
    wanted: Wanted, chosen: list, interface: str, translated: bool
) -> None:
    ruleset = rendered(wanted)
    for flow in all_flows(chosen):
        start = packet(flow, leaving=interface)
        done = walk.sent(ruleset, dataclasses.replace(start, translated=translated))

        assert (done.result == "accept") == leaves(wanted, interface, flow), (flow, done.rules)


@RELAXED
@given(with_hosts, kinds, st.sampled_from(("eth0", "eth1", "eth2")), st.sampled_from(("eth0", "eth1", "eth2")))
def test_what_the_host_forwards_gets_the_verdicts_of_both_interfaces(
    wanted: Wanted, chosen: list, arriving: str, leaving: str
) -> None:
    ruleset = rendered(wanted)
    for flow in all_flows(chosen):
        done = walk.forwarded(ruleset, packet(flow, arriving, leaving))

        assert (done.result == "accept") == is_forwarded(wanted, arriving, leaving, flow), (flow, done.rules)


@RELAXED
@given(with_hosts, kinds, st.sampled_from(("eth0", "eth1", "eth2")))
def test_a_guest_and_the_hosts_interface_must_both_allow(wanted: Wanted, chosen: list, interface: str) -> None:
    ruleset = rendered(wanted)
    guests = {net: guest for guest in wanted.endpoints.values() for net in guest.addresses}
    outer = in_force(wanted, interface)
    for flow in all_flows(chosen):
        sender, receiver = guests.get(flow.source), guests.get(flow.destination)
        if sender is not None:
            mine = dataclasses.replace(packet(flow, sender.interface, interface), link=frame_of(sender))
            there = meaning.decides(wanted, outer.forward, "egress", flow) if outer else None
            expected = meaning.allows(wanted, sender, "egress", flow) and there is not False

            assert (walk.forwarded(ruleset, mine).result == "accept") == expected, flow
        if receiver is not None:
            done = walk.forwarded(ruleset, packet(flow, interface, receiver.interface))
            expected = meaning.allows(wanted, receiver, "ingress", flow) and is_forwarded(wanted, interface, "lo", flow)

            assert (done.result == "accept") == expected, (flow, done.rules)


def frame_of(guest: WantedEndpoint) -> bytes:
    """An Ethernet header from its MAC; nobody asks for the rest."""
    return bytes(6) + fields.mac(guest.mac or "") + bytes(2)


@RELAXED
@given(with_hosts, interfaces)
def test_packets_of_known_flows_pass_unless_an_untracked_policy_speaks(wanted: Wanted, interface: str) -> None:
    ruleset = rendered(wanted)
    endpoint = in_force(wanted, interface)
    for source, destination in PAIRS:
        flow = meaning.Flow(source, destination, 6, (80, 1024), None)
        start = dataclasses.replace(packet(flow, arriving=interface), state=statements.ESTABLISHED)
        decided = meaning.decides(wanted, endpoint.untracked, "ingress", flow) if endpoint else None

        assert (walk.delivered(ruleset, start).result == "accept") == (decided is not False)


@RELAXED
@given(with_hosts, kinds)
def test_the_host_speaks_freely_to_its_own_guests(wanted: Wanted, chosen: list) -> None:
    ruleset = rendered(wanted)
    for flow in all_flows(chosen):
        assert walk.sent(ruleset, packet(flow, leaving="tap1")).result == "accept"


UNTRACKED = PolicyKey("GlobalNetworkPolicy", "", "untracked")


def test_what_an_untracked_policy_allows_is_not_tracked_and_what_none_decides_is() -> None:
    web = WantedRule(action="allow", protocol=6, destination=WantedMatch(ports=(PortRange(80, 80),)))
    wanted = Wanted(
        policies={UNTRACKED: WantedPolicy(key=UNTRACKED, ingress=(web,), egress=())},
        host_endpoints={
            "eth0": WantedHostEndpoint(
                name="eth0", untracked=(WantedTier(name="default", ingress=(UNTRACKED,), default_pass=True),)
            )
        },
        host_interfaces={"eth0": "eth0"},
    )
    ruleset = rendered(wanted)

    def state_of(port: int) -> int:
        flow = meaning.Flow(*PAIRS[0], 6, (1024, port), None)
        return walk.walk(ruleset, packet(flow, arriving="eth0"), "prerouting").packet.state

    assert state_of(80) == statements.UNTRACKED
    assert state_of(81) == statements.NEW
