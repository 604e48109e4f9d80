"""Law "now": the incremental graph's answer depends on what is there, not on how it came to be there."""

import random
from itertools import zip_longest

from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.wanted.state import Wanted, WantedPool
from calico_openstack.model.bgp import Node
from calico_openstack.model.cluster import IpPool
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.intake import Absent, read
from calico_openstack.model.keys import ResourceKey, parse_key
from calico_openstack.model.names import parse_endpoint_name
from calico_openstack.model.net import host_net, parse_net
from calico_openstack.model.policy import NetworkSetKey, PolicyKey
from calico_openstack.testing import clouds
from calico_openstack.testing.oracle import migrations_of, state_of, wanted_of, without_spoofing

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
        case "HostEndpoint":
            graph.set_host_endpoint(key.name, graph_value)  # type: ignore[arg-type]
        case "Profile":
            graph.set_profile(key.name, graph_value)  # type: ignore[arg-type]
        case "LiveMigration":
            graph.set_migration(key.namespace, key.name, graph_value)  # type: ignore[arg-type]
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
    documents = stored_after(history)
    state = without_spoofing(state_of(documents))

    assert by_graph(history, flush_after) == wanted_of(state, HOST, migrations_of(documents))


@given(clouds.histories(20, st.one_of(clouds.endpoints(HOST), clouds.migrations())), flushes)
def test_an_endpoint_has_the_role_that_the_live_migrations_of_now_give_it(
    history: History, flush_after: list[bool]
) -> None:
    documents = stored_after(history)
    state = without_spoofing(state_of(documents))

    assert by_graph(history, flush_after) == wanted_of(state, HOST, migrations_of(documents))


@given(
    clouds.histories(
        20, st.one_of(clouds.host_endpoints(HOST), clouds.host_endpoints(), clouds.policies(), clouds.tiers())
    ),
    flushes,
)
def test_a_host_endpoint_has_the_policies_of_each_kind_that_select_it(
    history: History, flush_after: list[bool]
) -> None:
    documents = stored_after(history)

    assert by_graph(history, flush_after) == wanted_of(state_of(documents), HOST, migrations_of(documents))


@given(clouds.histories(), flushes, st.integers(0, 2**16))
def test_order_repetition_and_gaps_make_no_difference(history: History, flush_after: list[bool], seed: int) -> None:
    final: History = list(stored_after(history).items())
    shuffled = [*final, *random.Random(seed).sample(final, len(final) // 2)]
    random.Random(seed).shuffle(shuffled)

    assert by_graph(history, flush_after) == by_graph(shuffled, flush_after)


POOLS = [
    IpPool(name="p", cidr=parse_net(net), nat_outgoing=nat) for net in ("10.0.0.0/8", "::/0") for nat in (False, True)
]
NODES = [Node(name="n"), Node(name="n", ipv4=host_net("192.0.2.1")), Node(name="n", ipv6=host_net("2001:db8::1"))]
names = st.sampled_from("abc")


@given(
    st.lists(st.tuples(names, st.one_of(st.none(), st.sampled_from(POOLS)))),
    st.lists(st.tuples(names, st.one_of(st.none(), st.sampled_from(NODES)))),
    flushes,
)
def test_pools_and_hosts_are_those_that_were_told_last(
    pools: list[tuple[str, IpPool | None]], nodes: list[tuple[str, Node | None]], flush_after: list[bool]
) -> None:
    graph, wanted = Graph(HOST), Wanted()
    for index, (pool, node) in enumerate(zip_longest(pools, nodes)):
        if pool:
            graph.set_pool(*pool)
        if node:
            graph.set_host(*node)
        if flush_after[index % len(flush_after)]:
            wanted.apply(graph.flush())
    wanted.apply(graph.flush())

    assert not graph.flush()
    last = {name: pool for name, pool in dict(pools).items() if pool}
    assert wanted.pools == {n: WantedPool(cidr=p.cidr, nat_outgoing=p.nat_outgoing) for n, p in last.items()}
    nets = {name: tuple(net for net in (node.ipv4, node.ipv6) if net) for name, node in dict(nodes).items() if node}
    assert wanted.hosts == {name: addresses for name, addresses in nets.items() if addresses}


@given(clouds.histories(), flushes)
def test_a_cloud_that_is_taken_away_leaves_nothing(history: History, flush_after: list[bool]) -> None:
    away: History = [(path, None) for path in stored_after(history)]

    assert by_graph(history + away, flush_after) == Wanted()
