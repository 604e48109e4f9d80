"""Law "explain": the explanation of a flow says what the policies say of the whole cloud, and always has words for it."""

from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.policy.explanation import Flow, HostView, explain
from calico_openstack.policy.known import known
from calico_openstack.policy.parties import Party, Unanswerable
from calico_openstack.policy.report import headline, side_facts
from calico_openstack.testing import clouds
from calico_openstack.testing.connectivity import may_reach
from calico_openstack.testing.oracle import state_of

FLOWS = [Flow("icmp"), *(Flow(protocol, port) for protocol in ("tcp", "udp") for port in clouds.NUMBERS)]


@given(
    st.lists(clouds.documents, max_size=10),
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
