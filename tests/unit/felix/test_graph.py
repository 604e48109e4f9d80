"""The graph's own promises beside the law "now": what a batch contains, and why something is absent."""

from typing import Any

from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.wanted.state import Changes, MemberChange, PortMember, SetId, WantedProfile, WantedRule
from calico_openstack.model.endpoint import Endpoint, EndpointKey, HostEndpoint, NamedPort
from calico_openstack.model.net import parse_net
from calico_openstack.model.policy import Match, Policy, PolicyKey, Rule, Tier
from calico_openstack.model.selector import parse

WEB = parse("role == 'web'")
POLICY = PolicyKey("NetworkPolicy", "openstack", "p")


def key(name: str, host: str = "here", workload: str = "vm") -> EndpointKey:
    return EndpointKey("openstack", host, "openstack", workload, name)


def endpoint(name: str, address: str, host: str = "here", **more: Any) -> Endpoint:
    fields: dict[str, Any] = {"interface": f"tap-{name}", "labels": {"role": "web"}, **more}
    return Endpoint(key=key(name, host), addresses=(parse_net(address),), **fields)


def policy(**more: Any) -> Policy:
    fields: dict[str, Any] = {"ingress": (Rule(action="allow", source=Match(selector=WEB)),), **more}
    return Policy(key=POLICY, selector=parse("role == 'web'"), **fields)


def graph_with(*endpoints: Endpoint) -> Graph:
    graph = Graph("here")
    graph.set_policy(POLICY, policy())
    for one in endpoints:
        graph.set_endpoint(one.key, one)
    return graph


SET = SetId(WEB.unique_id)


def test_a_policy_that_no_local_endpoint_has_costs_nothing() -> None:
    graph = graph_with(endpoint("far", "10.0.0.2", host="there"))

    assert not graph.flush()


def test_the_first_batch_has_the_whole_set_and_later_ones_differences() -> None:
    graph = graph_with(endpoint("a", "10.0.0.1"), endpoint("far", "10.0.0.2", host="there"))
    first = graph.flush()
    assert first.sets == {SET: frozenset({parse_net("10.0.0.1"), parse_net("10.0.0.2")})}
    assert first.members == {}

    graph.set_endpoint(key("far", "there"), None)
    graph.set_endpoint(key("new", "there"), endpoint("new", "10.0.0.3", host="there"))

    change = MemberChange(frozenset({parse_net("10.0.0.3")}), frozenset({parse_net("10.0.0.2")}))
    assert graph.flush() == Changes(members={SET: change})


def test_an_address_leaves_a_set_with_the_last_endpoint_that_has_it() -> None:
    graph = graph_with(
        endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.9", host="x"), endpoint("c", "10.0.0.9", host="y")
    )
    graph.flush()

    graph.set_endpoint(key("b", "x"), None)
    assert not graph.flush()

    graph.set_endpoint(key("c", "y"), None)
    assert graph.flush().members[SET].removed == {parse_net("10.0.0.9")}


def test_what_is_undone_before_the_flush_is_not_told() -> None:
    graph = graph_with(endpoint("a", "10.0.0.1"))
    graph.flush()

    graph.set_policy(POLICY, None)
    graph.set_endpoint(key("far", "there"), endpoint("far", "10.0.0.2", host="there"))
    graph.set_endpoint(key("far", "there"), None)
    graph.set_policy(POLICY, policy())

    assert not graph.flush()


def test_the_last_local_endpoint_takes_policy_and_set_with_it() -> None:
    graph = graph_with(endpoint("a", "10.0.0.1"))
    graph.flush()

    graph.set_endpoint(key("a"), None)

    changes = graph.flush()
    assert changes.endpoints_removed == {key("a")}
    assert changes.policies_removed == {POLICY}
    assert changes.sets_removed == {SET}


def test_policies_for_host_endpoints_and_staged_ones_never_apply() -> None:
    for kind in ("staged", "do_not_track", "pre_dnat"):
        graph = Graph("here")
        graph.set_policy(POLICY, policy(**{kind: True}))
        graph.set_endpoint(key("a"), endpoint("a", "10.0.0.1"))

        assert graph.flush().policies == {}, kind


def test_a_shadowed_endpoint_waits_for_its_interface_and_says_why() -> None:
    graph = Graph("here")
    first, second = endpoint("a", "10.0.0.1", interface="tap1"), endpoint("b", "10.0.0.2", interface="tap1")
    graph.set_endpoint(second.key, second)
    assert graph.flush().endpoints.keys() == {second.key}

    graph.set_endpoint(first.key, first)
    changes = graph.flush()
    assert (changes.endpoints.keys(), changes.endpoints_removed) == ({first.key}, {second.key})
    assert graph.reasons() == {second.key: "another endpoint owns interface tap1"}

    graph.set_endpoint(first.key, None)
    assert graph.flush().endpoints.keys() == {second.key}


def test_an_endpoint_that_may_spoof_is_absent_until_the_setting_allows_it() -> None:
    spoofing = endpoint("a", "10.0.0.1", spoof=(parse_net("192.0.2.0/24"),))
    graph = Graph("here")
    graph.set_endpoint(spoofing.key, spoofing)
    assert not graph.flush()
    assert "WorkloadSourceSpoofing" in graph.reasons()[spoofing.key]

    graph.set_allow_spoofing(True)
    assert graph.flush().endpoints.keys() == {spoofing.key}

    graph.set_allow_spoofing(False)
    assert graph.flush().endpoints_removed == {spoofing.key}


def test_named_ports_of_endpoints_and_host_endpoints_become_members() -> None:
    rule = Rule(action="allow", protocol=6, destination=Match(selector=WEB, named_ports=("http",)))
    graph = Graph("here")
    graph.set_policy(POLICY, policy(ingress=(rule,)))
    graph.set_endpoint(key("a"), endpoint("a", "10.0.0.1", ports=(NamedPort("http", 6, 8080),)))
    graph.set_host_endpoint(
        "h",
        HostEndpoint(
            name="h",
            host="there",
            labels={"role": "web"},
            addresses=(parse_net("192.0.2.1"),),
            ports=(NamedPort("http", 6, 80), NamedPort("http", 17, 81)),
        ),
    )

    changes = graph.flush()

    (port_set,) = changes.policies[POLICY].ingress[0].destination.port_sets  # type: ignore[index]
    assert port_set.startswith("n:")
    assert changes.sets[port_set] == {
        PortMember(parse_net("10.0.0.1"), 6, 8080),
        PortMember(parse_net("192.0.2.1"), 6, 80),
    }


def test_the_profile_that_allows_all_is_there_without_a_document() -> None:
    graph = Graph("here")
    name = "projectcalico-default-allow"
    graph.set_endpoint(key("a"), endpoint("a", "10.0.0.1", profiles=(name, "lost")))

    everything = (WantedRule(action="allow"),)
    assert graph.flush().profiles == {
        name: WantedProfile(name=name, ingress=everything, egress=everything),
        "lost": WantedProfile(name="lost"),
    }
    graph.set_endpoint(key("a"), None)
    assert graph.flush().profiles_removed == {name, "lost"}


def test_a_policy_that_comes_to_be_for_hosts_only_leaves_the_guests_and_comes_back() -> None:
    graph = graph_with(endpoint("a", "10.0.0.1"))
    graph.flush()

    graph.set_policy(POLICY, policy(do_not_track=True))
    away = graph.flush()
    assert away.policies_removed == {POLICY}
    assert away.endpoints[key("a")].tiers == ()

    graph.set_policy(POLICY, policy())
    back = graph.flush()
    assert set(back.policies) == {POLICY}
    assert back.endpoints[key("a")].tiers[0].ingress == (POLICY,)


def test_endpoints_are_told_anew_when_a_policy_or_a_tier_moves() -> None:
    other = PolicyKey("NetworkPolicy", "openstack", "q")
    graph = graph_with(endpoint("a", "10.0.0.1"))
    graph.set_policy(other, Policy(key=other, selector=WEB, order=5, ingress=()))
    assert graph.flush().endpoints[key("a")].tiers[0].ingress == (other, POLICY)

    graph.set_policy(POLICY, policy(order=1))
    assert graph.flush().endpoints[key("a")].tiers[0].ingress == (POLICY, other)

    graph.set_policy(POLICY, policy(tier="platform"))
    graph.set_tier("default", Tier(name="default", order=1))
    graph.set_tier("platform", Tier(name="platform", order=2))
    assert [tier.name for tier in graph.flush().endpoints[key("a")].tiers] == ["default", "platform"]
    graph.set_tier("platform", Tier(name="platform", order=0))
    assert [tier.name for tier in graph.flush().endpoints[key("a")].tiers] == ["platform", "default"]
    graph.set_tier("platform", Tier(name="platform", order=0, default_pass=True))
    assert graph.flush().endpoints[key("a")].tiers[0].default_pass


def test_a_set_whose_only_rule_moves_to_another_policy_in_one_batch_was_never_away() -> None:
    other = PolicyKey("NetworkPolicy", "openstack", "q")
    graph = graph_with(endpoint("a", "10.0.0.1"))
    graph.flush()

    graph.set_policy(POLICY, policy(ingress=()))
    graph.set_policy(other, Policy(key=other, selector=WEB, ingress=policy().ingress))
    batch = graph.flush()
    assert (batch.sets, batch.sets_removed) == ({}, set())

    graph.set_endpoint(key("b"), endpoint("b", "10.0.0.2"))
    assert graph.flush().members == {SET: MemberChange(frozenset({parse_net("10.0.0.2")}), frozenset())}


def test_policies_are_closed_while_their_tier_is_not_there() -> None:
    denying = (*policy().ingress, Rule(action="deny"))
    graph = graph_with(endpoint("a", "10.0.0.1"))
    graph.set_policy(POLICY, policy(tier="platform", ingress=denying))
    graph.set_tier("default", Tier(name="default", order=-1))
    first = graph.flush()
    assert [rule.action for rule in first.policies[POLICY].ingress or ()] == ["deny"]
    assert first.sets == {}, "nobody asks who is meant by rules that are not in force"
    assert graph.closed_policies() == {POLICY: "its tier platform does not exist"}

    graph.set_tier("platform", Tier(name="platform", order=2))
    opened = graph.flush()
    assert [rule.action for rule in opened.policies[POLICY].ingress or ()] == ["allow", "deny"]
    assert opened.sets
    assert graph.closed_policies() == {}

    graph.set_tier("platform", Tier(name="platform", broken="order: no number"))
    closed = graph.flush()
    assert [rule.action for rule in closed.policies[POLICY].ingress or ()] == ["deny"]
    assert graph.closed_policies() == {POLICY: "its tier platform cannot be used: order: no number"}
    graph.set_policy(POLICY, policy(tier="platform", staged=True))
    assert graph.closed_policies() == {}
