"""Law "now": the incremental graph's answer depends on what is there, not on how it came to be there."""

import random

from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.wanted.state import Wanted
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.intake import Absent, read
from calico_openstack.model.keys import ResourceKey, parse_key
from calico_openstack.model.names import parse_endpoint_name
from calico_openstack.model.policy import NetworkSetKey, PolicyKey
from calico_openstack.testing import clouds
from calico_openstack.testing.oracle import state_of, wanted_of, without_spoofing

HOST = clouds.HOSTS[0]
History = list[tuple[str, bytes | None]]


def tell(graph: Graph, path: str, stored: bytes | None) -> None:
    """One event, as the agent hands it to the graph."""
    key = parse_key(path)
    assert isinstance(key, ResourceKey)
    found = read(path, stored) if stored is not None else Absent(key, "deleted")
    value = found.stand_in if isinstance(found, Absent) else found.value
    graph_value: object = value
    match key.kind:
        case "WorkloadEndpoint":
            endpoint: EndpointKey = parse_endpoint_name(key.namespace, key.name)
            graph.set_endpoint(endpoint, graph_value)  # type: ignore[arg-type]
        case "Profile":
            graph.set_profile(key.name, graph_value)  # type: ignore[arg-type]
        case "Tier":
            graph.set_tier(key.name, graph_value)  # type: ignore[arg-type]
        case "NetworkSet" | "GlobalNetworkSet":
            graph.set_network_set(NetworkSetKey(key.namespace, key.name), graph_value)  # type: ignore[arg-type]
        case _:
            graph.set_policy(PolicyKey(key.kind, key.namespace, key.name), graph_value)  # type: ignore[arg-type]


def stored_after(history: History) -> dict[str, bytes]:
    stored: dict[str, bytes] = {}
    for path, value in history:
        if value is None:
            stored.pop(path, None)
        else:
            stored[path] = value
    return stored


def by_graph(history: History, flush_after: list[bool]) -> Wanted:
    graph, wanted = Graph(HOST), Wanted()
    for index, (path, value) in enumerate(history):
        tell(graph, path, value)
        if flush_after[index % len(flush_after)]:
            wanted.apply(graph.flush())
    wanted.apply(graph.flush())
    assert not graph.flush()
    return wanted


flushes = st.lists(st.booleans(), min_size=1, max_size=7)


@given(clouds.histories(), flushes)
def test_the_graph_equals_a_naive_recomputation_after_any_history(history: History, flush_after: list[bool]) -> None:
    state = without_spoofing(state_of(stored_after(history)))

    assert by_graph(history, flush_after) == wanted_of(state, HOST)


@given(clouds.histories(), flushes, st.integers(0, 2**16))
def test_order_repetition_and_gaps_make_no_difference(history: History, flush_after: list[bool], seed: int) -> None:
    final: History = list(stored_after(history).items())
    shuffled = [*final, *random.Random(seed).sample(final, len(final) // 2)]
    random.Random(seed).shuffle(shuffled)

    assert by_graph(history, flush_after) == by_graph(shuffled, flush_after)


@given(clouds.histories(), flushes)
def test_a_cloud_that_is_taken_away_leaves_nothing(history: History, flush_after: list[bool]) -> None:
    away: History = [(path, None) for path in stored_after(history)]

    assert by_graph(history + away, flush_after) == Wanted()
