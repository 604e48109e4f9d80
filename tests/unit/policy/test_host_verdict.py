"""What policies mean for interfaces of the host itself, stage by stage."""

from typing import Any

from calico_openstack.model.endpoint import HostEndpoint
from calico_openstack.model.failsafe import Failsafe
from calico_openstack.model.net import host_net, parse_net
from calico_openstack.model.policy import Policy, PolicyKey, Profile, Rule
from calico_openstack.model.selector import parse
from calico_openstack.policy.host_verdict import Stage, host_verdict
from calico_openstack.policy.state import Packet, State

PACKET = Packet(host_net("192.0.2.1"), host_net("198.51.100.7"), 6, 40000, 80)
SSH = PACKET._replace(destination_port=22)
ALLOW, DENY, PASS = (Rule(action="allow"),), (Rule(action="deny"),), (Rule(action="pass"),)
ETH0 = HostEndpoint(name="he", host="h", interface="eth0", labels={"role": "host"})
INBOUND = (Failsafe(6, 22),)


def policy(name: str, ingress: tuple[Rule, ...] | None, egress: tuple[Rule, ...] | None = None, **kind: Any) -> Policy:
    key = PolicyKey("GlobalNetworkPolicy", "", name)
    return Policy(key=key, selector=parse("role == 'host'"), ingress=ingress, egress=egress, **kind)


def state(*policies: Policy) -> State:
    return State(policies={one.key: one for one in policies})


def allowed(of: State, stage: Stage, packet: Packet = PACKET, endpoint: HostEndpoint = ETH0) -> bool | None:
    found = host_verdict(of, endpoint, stage, "ingress", packet, INBOUND)
    return None if found is None else found.allowed


def test_without_a_policy_only_failsafe_ports_and_forwarded_packets_pass() -> None:
    nothing = state()

    assert allowed(nothing, Stage.NORMAL) is False
    assert allowed(nothing, Stage.NORMAL, SSH) is True
    assert allowed(nothing, Stage.FORWARD) is None
    assert allowed(nothing, Stage.UNTRACKED) is None
    assert allowed(nothing, Stage.PRE_DNAT) is None


def test_failsafe_ports_may_be_open_to_one_network_only() -> None:
    narrow = (Failsafe(6, 22, parse_net("203.0.113.0/24")),)
    found = host_verdict(state(), ETH0, Stage.NORMAL, "ingress", SSH, narrow)

    assert found is not None
    assert not found.allowed


def test_neighbour_discovery_passes_whatever_policies_say_but_is_not_forwarded_so() -> None:
    ends = {"source": host_net("fe80::1"), "destination": host_net("ff02::1"), "protocol": 58}
    solicitation, echo = Packet(**ends, icmp=(135, 0)), Packet(**ends, icmp=(128, 0))
    closed = state(
        policy("a", DENY, DENY, apply_on_forward=True), policy("b", DENY, DENY, do_not_track=True),
        policy("c", DENY, pre_dnat=True),
    )  # fmt: skip

    assert [allowed(closed, stage, solicitation) for stage in Stage] == [True, True, False, True]
    assert [allowed(closed, stage, echo) for stage in Stage] == [False, False, False, False]
    assert allowed(closed, Stage.NORMAL, PACKET._replace(protocol=1, icmp=(135, 0))) is False


def test_a_policy_speaks_only_at_the_stages_of_its_kind() -> None:
    normal, forwarding = state(policy("p", ALLOW)), state(policy("p", DENY, apply_on_forward=True))
    untracked = state(policy("p", ALLOW, do_not_track=True, apply_on_forward=True))
    early = state(policy("p", ALLOW, pre_dnat=True, apply_on_forward=True))

    assert [allowed(normal, stage) for stage in Stage] == [None, None, None, True]
    assert [allowed(forwarding, stage) for stage in Stage] == [None, None, False, False]
    assert [allowed(untracked, stage) for stage in Stage] == [True, None, None, False]
    assert [allowed(early, stage) for stage in Stage] == [None, True, None, False]


def test_untracked_and_early_policies_that_match_nothing_do_not_deny_at_the_end() -> None:
    other = (Rule(action="allow", protocol=17),)
    both = state(policy("u", other, do_not_track=True), policy("d", other, pre_dnat=True), policy("n", ALLOW))

    assert [allowed(both, stage) for stage in Stage] == [None, None, None, True]


def test_an_untracked_deny_spares_failsafe_ports() -> None:
    closed = state(policy("u", DENY, do_not_track=True))

    assert allowed(closed, Stage.UNTRACKED) is False
    assert allowed(closed, Stage.UNTRACKED, SSH) is True


def test_forwarded_packets_know_no_failsafe_ports_and_no_profiles() -> None:
    forwarding = state(policy("p", PASS, apply_on_forward=True))
    forwarding.profiles["open"] = Profile(name="open", ingress=ALLOW)
    listing = HostEndpoint(name="he", host="h", interface="eth0", labels={"role": "host"}, profiles=("open",))

    assert allowed(forwarding, Stage.NORMAL, endpoint=listing) is True
    assert allowed(forwarding, Stage.FORWARD, SSH, listing) is None
    assert allowed(state(policy("p", DENY, apply_on_forward=True)), Stage.FORWARD, SSH) is False
