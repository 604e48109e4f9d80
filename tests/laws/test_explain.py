"""Law "explain": an explanation says of a flow what the policies of the whole cloud say, and always finds words."""

from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.policy.explanation import Flow, HostView, explain, holders
from calico_openstack.policy.known import known
from calico_openstack.policy.parties import Party, Unanswerable
from calico_openstack.policy.report import headline, side_facts
from calico_openstack.policy.state import Packet
from calico_openstack.policy.verdict import Direction, verdict
from calico_openstack.testing import clouds
from calico_openstack.testing.connectivity import may_reach
from calico_openstack.testing.oracle import state_of

FLOWS = [Flow("icmp"), *(Flow(protocol, port) for protocol in ("tcp", "udp") for port in clouds.NUMBERS)]


@given(
    clouds.many(clouds.documents, 14),
    st.lists(clouds.endpoints(), min_size=2, max_size=4),
    st.sampled_from(FLOWS),
)
def test_an_explanation_agrees_with_the_verdicts_over_everything(
    documents: list[tuple[str, bytes]], endpoints: list[tuple[str, bytes]], flow: Flow
) -> None:
    stored = dict([*documents, *endpoints])
    state, cloud = state_of(stored), known(stored.items())
    parties = [Party(key.endpoint, key, endpoint) for key, endpoint in state.endpoints.items()]
    for source in parties:
        for destination in parties:
            try:
                answer = explain(cloud, source, destination, flow, view=lambda host: HostView(spoofing=True))
            except Unanswerable:
                continue
            assert answer.egress is not None
            assert answer.ingress is not None
            assert answer.egress.packet is not None
            assert source.endpoint is not None
            assert destination.endpoint is not None
            meant = may_reach(state, source.endpoint, destination.endpoint, answer.egress.packet)
            assert answer.allowed is meant.reaches
            assert (answer.egress.verdict, answer.ingress.verdict) == (meant.egress, meant.ingress)
            assert headline(answer)
            for side in (answer.egress, answer.ingress):
                facts = side_facts(side, cloud.groups)
                assert side.allowed or facts["why"]
                assert all(near.misses for near in side.near)


@given(
    clouds.many(clouds.documents, 14),
    clouds.endpoints(),
    st.lists(clouds.packets(), min_size=1, max_size=8),
    st.sampled_from(("ingress", "egress")),
)
def test_who_has_neither_address_makes_no_difference(
    documents: list[tuple[str, bytes]], local: tuple[str, bytes], packets: list[Packet], direction: Direction
) -> None:
    state = state_of(dict([*documents, local]))
    for endpoint in state.endpoints.values():
        for packet in packets:
            narrowed = holders(state, packet)
            assert verdict(narrowed, endpoint, direction, packet) == verdict(state, endpoint, direction, packet)
