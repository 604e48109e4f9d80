from __future__ import annotations

from typing import Any

import pytest

from calico_openstack.bgp.sessions import obstacle, router_id, session_name, speaker
from calico_openstack.model.bgp import Node, SecretRef
from calico_openstack.model.net import host_net


def names(speaking: Any) -> list[str]:
    return [session.name for session in speaking.sessions]


def only(speaking: Any) -> Any:
    assert len(speaking.sessions) == 1, names(speaking)
    return speaking.sessions[0]


NO_MESH = {"BGPConfiguration/default": {"spec": {"nodeToNodeMeshEnabled": False}}}


def peer(**spec: Any) -> dict[str, Any]:
    return {"BGPPeer/p": {"spec": spec}}


def test_the_mesh_joins_all_nodes_in_each_family_that_both_have(cluster_of: Any, nodes: Any) -> None:
    documents = nodes(3)
    del documents["Node/h3"]["spec"]["bgp"]["ipv6Address"]

    cluster = cluster_of(documents)

    assert names(speaker(cluster, "h1")) == ["Mesh_192_0_2_2", "Mesh_192_0_2_3", "Mesh_2001_db8__2"]
    assert names(speaker(cluster, "h3")) == ["Mesh_192_0_2_1", "Mesh_192_0_2_2"]
    assert speaker(cluster, "h1").problems == ()


def test_of_two_mesh_nodes_the_one_with_the_smaller_address_text_waits(cluster_of: Any, nodes: Any) -> None:
    documents = nodes(10)

    cluster = cluster_of({key: documents[key] for key in ("Node/h2", "Node/h10")})

    # "192.0.2.10" < "192.0.2.2" as texts, whatever the numbers say: calico-node compares so, and one side must wait.
    assert [(s.name, s.passive) for s in speaker(cluster, "h2").sessions if s.version == 4] == [
        ("Mesh_192_0_2_10", False)
    ]
    assert [(s.name, s.passive) for s in speaker(cluster, "h10").sessions if s.version == 4] == [
        ("Mesh_192_0_2_2", True)
    ]


def test_a_reflector_stays_out_of_the_mesh_and_the_mesh_can_be_switched_off(cluster_of: Any, nodes: Any) -> None:
    documents = nodes(3, h3={"routeReflectorClusterID": "192.0.2.200"})

    assert names(speaker(cluster_of(documents), "h1")) == ["Mesh_192_0_2_2", "Mesh_2001_db8__2"]
    assert names(speaker(cluster_of(documents), "h3")) == []
    assert names(speaker(cluster_of({**documents, **NO_MESH}), "h1")) == []


def test_a_peer_is_for_all_nodes_or_a_named_or_a_selected_one(cluster_of: Any, nodes: Any) -> None:
    documents = {**nodes(3, h2={"labels": {"rack": "r1"}}), **NO_MESH}

    def who(**spec: Any) -> list[list[str]]:
        cluster = cluster_of({**documents, **peer(peerIP="198.51.100.1", asNumber=65000, **spec)})
        return [names(speaker(cluster, f"h{number}")) for number in (1, 2, 3)]

    assert who() == [["Global_198_51_100_1"]] * 3
    assert who(node="h1") == [["Node_198_51_100_1"], [], []]
    assert who(nodeSelector="rack == 'r1'") == [[], ["Node_198_51_100_1"], []]


def test_a_peer_selector_makes_sessions_both_ways_unless_reverse_is_manual(cluster_of: Any, nodes: Any) -> None:
    documents = {**nodes(3, h3={"labels": {"rr": "yes"}}), **NO_MESH}

    def who(**spec: Any) -> list[list[str]]:
        cluster = cluster_of({**documents, **peer(peerSelector="has(rr)", **spec)})
        return [[name for name in names(speaker(cluster, f"h{number}")) if "2001" not in name] for number in (1, 2, 3)]

    assert who(nodeSelector="!has(rr)") == [
        ["Node_192_0_2_3"],
        ["Node_192_0_2_3"],
        ["Node_192_0_2_1", "Node_192_0_2_2"],
    ]
    assert who(nodeSelector="!has(rr)", reversePeering="Manual") == [["Node_192_0_2_3"], ["Node_192_0_2_3"], []]
    assert who() == [["Global_192_0_2_3"], ["Global_192_0_2_3"], ["Node_192_0_2_1", "Node_192_0_2_2"]]


def test_never_both_ends_of_a_session_are_passive(cluster_of: Any, nodes: Any) -> None:
    documents = nodes(12, h3={"labels": {"rr": "a"}, "routeReflectorClusterID": "1.1.1.1"}, h11={"labels": {"rr": "b"}})
    documents |= peer(peerSelector="has(rr)")
    documents["BGPPeer/q"] = {"spec": {"peerIP": "192.0.2.2"}}
    cluster = cluster_of(documents)
    address = {name: {node.ipv4, node.ipv6} for name, node in cluster.nodes.items()}
    waiting = {
        (name, session.address)
        for name in cluster.nodes
        for session in speaker(cluster, name).sessions
        if session.passive
    }

    both = [
        (name, far)
        for name, far in waiting
        for other in cluster.nodes
        if far in address[other] and any((other, own) in waiting for own in address[name] if own.version == far.version)
    ]

    assert waiting
    assert both == []


def test_global_beats_node_beats_reverse_beats_mesh_for_the_same_neighbour(cluster_of: Any, nodes: Any) -> None:
    documents = nodes(2, h2={"labels": {"a": "b"}})
    documents["BGPPeer/reverse"] = {"spec": {"node": "h2", "peerSelector": "!has(a)"}}
    assert [s.kind for s in speaker(cluster_of(documents), "h1").sessions] == ["Node", "Node"]

    documents["BGPPeer/node"] = {"spec": {"node": "h1", "peerIP": "192.0.2.2", "localASNumber": 65009}}
    v4 = next(s for s in speaker(cluster_of(documents), "h1").sessions if s.version == 4)
    assert (v4.kind, v4.local_as) == ("Node", 65009)

    documents["BGPPeer/z-global"] = {"spec": {"peerIP": "192.0.2.2", "localASNumber": 65010}}
    v4 = next(s for s in speaker(cluster_of(documents), "h1").sessions if s.version == 4)
    assert (v4.kind, v4.local_as) == ("Global", 65010)


def test_the_order_of_documents_does_not_matter(cluster_of: Any, nodes: Any) -> None:
    documents = {**nodes(4), **peer(peerIP="198.51.100.1"), "BGPPeer/a": {"spec": {"peerIP": "198.51.100.1"}}}

    backwards = dict(reversed(documents.items()))

    assert speaker(cluster_of(documents), "h2") == speaker(cluster_of(backwards), "h2")


def test_as_numbers_and_ports_come_from_peer_then_node_then_default(cluster_of: Any, nodes: Any) -> None:
    documents = nodes(2, h2={"asNumber": 65002})
    documents["BGPConfiguration/default"] = {"spec": {"asNumber": "1.1", "listenPort": 1179}}
    documents["BGPConfiguration/node.h2"] = {"spec": {"listenPort": 2179}}

    session = speaker(cluster_of(documents), "h1").sessions[0]

    assert (session.local_as, session.remote_as) == (65537, 65002)
    assert (session.local_port, session.peer_port) == (1179, 2179)


def test_an_address_with_a_port_is_taken_at_its_word(cluster_of: Any, nodes: Any) -> None:
    documents = {**nodes(1), **peer(peerIP="[2001:db8:9::1]:1790", asNumber=65000)}

    session = only(speaker(cluster_of(documents), "h1"))

    assert (session.name, session.peer_port, session.version) == ("Global_2001_db8_9__1_port_1790", 1790, 6)


def test_a_reflector_serves_internal_peers_of_no_or_another_cluster(cluster_of: Any, nodes: Any) -> None:
    documents = nodes(
        4,
        h1={"routeReflectorClusterID": "1.1.1.1"},
        h2={"routeReflectorClusterID": "1.1.1.1"},
        h3={"routeReflectorClusterID": "2.2.2.2"},
    )
    documents |= peer(node="h1", peerSelector="all()")
    documents["BGPPeer/tor"] = {"spec": {"node": "h1", "peerIP": "198.51.100.1", "asNumber": 65000}}

    sessions = {
        s.address.address: s.cluster_id for s in speaker(cluster_of(documents), "h1").sessions if s.version == 4
    }

    assert sessions == {"192.0.2.2": None, "192.0.2.3": "1.1.1.1", "192.0.2.4": "1.1.1.1", "198.51.100.1": None}


def test_the_fields_of_a_peer_reach_its_session(cluster_of: Any, nodes: Any) -> None:
    documents = {
        **nodes(1),
        **peer(
            peerIP="198.51.100.1", asNumber=65000, localASNumber=65001, ttlSecurity=2, maxRestartTime="2m",
            keepaliveTime="5s", numAllowedLocalASNumbers=1, nextHopMode="Self", sourceAddress="None",
            reachableBy="192.0.2.254",
        ),
    }  # fmt: skip

    session = only(speaker(cluster_of(documents), "h1"))

    assert (session.local_as, session.hops, session.restart_time, session.keepalive_time) == (65001, 2, 120, 5)
    assert (session.allowed_local_as, session.next_hop, session.source) == (1, "self", None)
    assert session.reachable_by == host_net("192.0.2.254")


def test_the_older_keep_next_hop_holds_for_external_peers_only(cluster_of: Any, nodes: Any) -> None:
    def mode(as_number: int) -> str:
        documents = {**nodes(1), **peer(peerIP="198.51.100.1", asNumber=as_number, keepOriginalNextHop=True)}
        return str(only(speaker(cluster_of(documents), "h1")).next_hop)

    assert (mode(65000), mode(64512)) == ("keep", "")


@pytest.mark.parametrize(
    "spec",
    [
        {"peerIP": "198.51.100.999"},
        {"peerIP": "198.51.100.1", "node": "h1", "nodeSelector": "all()"},
        {"peerIP": "198.51.100.1", "peerSelector": "all()"},
        {"peerSelector": "all()", "asNumber": 65000},
        {"peerSelector": "has("},
        {"peerIP": "198.51.100.1", "asNumber": 0x1_0000_0000},
        {"peerIP": "198.51.100.1", "maxRestartTime": "soon"},
        {"peerIP": "198.51.100.1", "ttlSecurity": 256},
        {"peerIP": "198.51.100.1", "password": {"secretKeyRef": {"name": "../../etc", "key": "shadow"}}},
        {"peerIP": "198.51.100.1", "filters": ["nobody"]},
        {"peerIP": "198.51.100.1", "password": {"secretKeyRef": {"name": "bgp", "key": "absent"}}},
        {"localWorkloadSelector": "all()"},
        {},
    ],
)
def test_a_bad_peer_disables_only_itself_with_a_reason_and_a_cure(cluster_of: Any, nodes: Any, spec: Any) -> None:
    documents = {**nodes(2), "BGPPeer/bad": {"spec": spec}, "BGPPeer/good": {"spec": {"peerIP": "198.51.100.2"}}}

    speaking = speaker(cluster_of(documents), "h1")

    assert names(speaking) == ["Global_198_51_100_2", "Mesh_192_0_2_2", "Mesh_2001_db8__2"]
    assert [problem.subject for problem in speaking.problems] == ["BGPPeer/bad"]
    assert all(problem.reason and problem.cure for problem in speaking.problems)


def test_a_bad_filter_takes_its_peers_with_it_and_no_other(cluster_of: Any, nodes: Any) -> None:
    documents = {
        **nodes(1),
        "BGPFilter/f": {"spec": {"exportV4": [{"action": "Reject", "fromTheFuture": 1}]}},
        "BGPPeer/with": {"spec": {"peerIP": "198.51.100.1", "filters": ["f"]}},
        "BGPPeer/without": {"spec": {"peerIP": "198.51.100.2"}},
    }

    speaking = speaker(cluster_of(documents), "h1")

    assert names(speaking) == ["Global_198_51_100_2"]
    assert {problem.subject for problem in speaking.problems} == {"BGPFilter/f", "BGPPeer/with"}


def test_passwords_come_from_the_host_and_are_in_no_print(cluster_of: Any, nodes: Any) -> None:
    documents = {**nodes(1), **peer(peerIP="198.51.100.1", password={"secretKeyRef": {"name": "bgp", "key": "tor"}})}
    cluster = cluster_of(documents)

    session = only(speaker(cluster, "h1", {SecretRef("bgp", "tor"): "correct horse"}))

    assert session.password == "correct horse"
    assert "horse" not in repr(session)
    for bad in ('a"b', "line\nbreak", "x" * 81, "ü", ""):
        assert names(speaker(cluster, "h1", {SecretRef("bgp", "tor"): bad})) == []


def test_without_own_node_or_readable_configuration_there_is_an_obstacle(cluster_of: Any, nodes: Any) -> None:
    assert obstacle(cluster_of(nodes(1)), "h1") is None
    assert obstacle(cluster_of(nodes(1)), "h2").subject == "Node/h2"
    for subject in ("BGPConfiguration/default", "BGPConfiguration/node.h1", "Node/h1"):
        broken = {**nodes(2), subject: {"spec": {"asNumber": -1, "bgp": {"asNumber": "x"}}}}
        assert obstacle(cluster_of(broken), "h1").subject == subject
    other = {**nodes(2), "BGPConfiguration/node.h2": {"spec": {"listenPort": 0}}}
    assert obstacle(cluster_of(other), "h1") is None
    assert speaker(cluster_of(other), "h1").problems == ()


def test_a_node_without_ipv4_still_has_a_router_id_of_its_own() -> None:
    one, two = router_id(Node(name="h1")), router_id(Node(name="h2"))

    assert one != two
    assert host_net(one).version == 4
    assert router_id(Node(name="h1", ipv4=host_net("192.0.2.1"))) == "192.0.2.1"


def test_session_names_are_upstreams() -> None:
    assert session_name("Mesh", host_net("192.0.2.1"), None) == "Mesh_192_0_2_1"
    assert session_name("Global", host_net("2001:db8::1"), 1790) == "Global_2001_db8__1_port_1790"


def test_a_host_without_an_address_says_why_it_has_no_sessions(cluster_of: Any, nodes: Any) -> None:
    documents = nodes() | {"Node/h1": {"spec": {"bgp": {}}}}

    wish = speaker(cluster_of(documents), "h1")

    assert wish.sessions == ()
    assert [(problem.subject, problem.reason) for problem in wish.problems] == [
        ("Node/h1", "has no BGP address, so this host has no sessions")
    ]
