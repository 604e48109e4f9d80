"""Law "meaning": what Felix wants for a host says the same as the policies do, for every packet of a generated cloud.

Together with "now" (the graph makes that wanted state) and "packet" (the ruleset says what the wanted state says)
this is the chain from a document to a packet's fate.
"""

from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.felix.ruleset.meaning import Flow, allows, decides
from calico_openstack.policy.host_verdict import Stage, host_verdict, is_discovery
from calico_openstack.policy.state import Packet
from calico_openstack.policy.verdict import Direction, verdict
from calico_openstack.testing import clouds
from calico_openstack.testing.oracle import state_of, wanted_of, without_spoofing

HOST = clouds.HOSTS[0]


def flow(packet: Packet) -> Flow:
    ports = (packet.source_port, packet.destination_port) if packet.protocol in (6, 17, 132) else None
    return Flow(packet.source, packet.destination, packet.protocol, ports, packet.icmp)


@given(
    clouds.many(clouds.documents, 14),
    clouds.endpoints(HOST),
    st.lists(clouds.packets(), min_size=1, max_size=8),
    st.sampled_from(("ingress", "egress")),
)
def test_wanted_state_means_what_the_policies_mean(
    documents: list[tuple[str, bytes]], local: tuple[str, bytes], packets: list[Packet], direction: Direction
) -> None:
    state = without_spoofing(state_of(dict([*documents, local])))
    wanted = wanted_of(state, HOST)

    for key, endpoint in wanted.endpoints.items():
        for packet in packets:
            meant = verdict(state, state.endpoints[key], direction, packet)
            assert allows(wanted, endpoint, direction, flow(packet)) is meant.allowed, (key, packet, meant)


@given(
    clouds.many(clouds.documents, 6),
    st.lists(clouds.policies(("GlobalNetworkPolicy",), st.just("all()")), min_size=1, max_size=4),
    clouds.host_endpoints(HOST),
    st.lists(clouds.packets(), min_size=1, max_size=8),
    st.sampled_from(("ingress", "egress")),
)
def test_what_is_wanted_of_a_host_endpoint_means_what_its_policies_mean_at_each_stage(
    documents: list[tuple[str, bytes]],
    policies: list[tuple[str, bytes]],
    local: tuple[str, bytes],
    packets: list[Packet],
    direction: Direction,
) -> None:
    state = without_spoofing(state_of(dict([*documents, *policies, local])))
    wanted = wanted_of(state, HOST)

    for name, endpoint in wanted.host_endpoints.items():
        of_stage = {
            Stage.UNTRACKED: endpoint.untracked,
            Stage.PRE_DNAT: endpoint.pre_dnat if direction == "ingress" else (),
            Stage.FORWARD: endpoint.forward,
        }
        # Discovery passes before policies are asked; test_host_packet holds the ruleset to that.
        for packet in (one for one in packets if not is_discovery(one)):
            one = flow(packet)
            for stage, tiers in of_stage.items():
                meant = host_verdict(state, state.host_endpoints[name], stage, direction, packet)
                assert decides(wanted, tiers, direction, one) is (meant and meant.allowed), (name, stage, packet)
            meant = host_verdict(state, state.host_endpoints[name], Stage.NORMAL, direction, packet)
            assert allows(wanted, endpoint, direction, one) is (meant is not None and meant.allowed), (name, packet)
