"""Why a flow is allowed or denied, in one example per cause, and what would allow it."""

import pytest

from calico_openstack.policy.explanation import Explanation, Flow, HostView, explain
from calico_openstack.policy.known import known
from calico_openstack.policy.parties import Unanswerable, find
from calico_openstack.policy.report import Facts, headline, party_words, side_facts
from calico_openstack.testing.written import ADMIN, NAMES, WEB, Document, allow, document, group, port

A, B = "aaaa1111-0000-4000-8000-000000000001", "bbbb2222-0000-4000-8000-000000000002"
FROM_ADMIN = {"selector": f"has(sg.projectcalico.org/openstack-{ADMIN})"}
SSH, HTTP, PING = Flow("tcp", 22), Flow("tcp", 80), Flow("icmp")
FLOATING = [{"internalIP": "10.65.0.2", "externalIP": "172.24.4.2"}]
PEOPLE = (
    port(A, "10.65.0.1/32", "2001:db8::1/128", groups=(ADMIN,)),
    port(B, "10.65.0.2/32", groups=(WEB,), host="compute-02", ipNATs=FLOATING),
)
GROUPS = (group(ADMIN), group(WEB, allow("ICMP", icmp={"type": 8}), allow(6, [22], source=FROM_ADMIN)))


def ask(
    source: str, destination: str, flow: Flow, *more: Document, version: int | None = None, view: HostView | None = None
) -> Explanation:
    cloud = known([*PEOPLE, *GROUPS, *more])
    hosts = (lambda host: view) if view is not None else (lambda host: HostView())
    return explain(cloud, find(cloud, source), find(cloud, destination), flow, version, hosts)


def facts(answer: Explanation, direction: str) -> Facts:
    side = answer.egress if direction == "egress" else answer.ingress
    assert side is not None
    return side_facts(side, NAMES)


def test_an_allowed_flow_names_group_and_rule_on_both_sides() -> None:
    answer = ask(A, B, SSH)

    assert answer.allowed
    assert headline(answer) == "allowed: IPv4 tcp to port 22"
    assert facts(answer, "egress") == {
        "allowed": True,
        "tier": "default",
        "policy": f"security group admin ({ADMIN})",
        "resource": f"NetworkPolicy openstack/ossg.default.{ADMIN}",
        "rule": 1,
        "says": "allow all IPv4 traffic",
    }
    ingress = facts(answer, "ingress")
    assert ingress["rule"] == 2
    assert ingress["says"] == f"allow IPv4 tcp from members of security group admin ({ADMIN}) to port 22"


def test_the_end_of_a_tier_says_which_rule_came_nearest_and_what_would_allow_it() -> None:
    answer = ask(A, B, HTTP)

    assert not answer.allowed
    ingress = facts(answer, "ingress")
    assert ingress["why"] == f"end of tier default: no rule of security group web ({WEB}) matches"
    assert ingress["nearest"] == [
        f"rule 2 of security group web ({WEB}), but for the destination port: "
        f"allow IPv4 tcp from members of security group admin ({ADMIN}) to port 22"
    ]
    assert ingress["would"] == (
        "openstack security group rule create --ingress --ethertype IPv4 --protocol tcp --dst-port 80 "
        f"--remote-ip 10.65.0.1/32 {WEB}"
    )


def test_what_would_allow_it_does() -> None:
    """The rule that the proposed command makes, as the driver writes it."""
    more = group(WEB, allow(6, [80], source={"nets": ["10.65.0.1/32"]}))

    assert ask(A, B, HTTP, more).allowed


def test_a_sender_that_is_not_in_the_group_is_told_by_its_address() -> None:
    nearest = facts(ask("192.0.2.1", B, SSH), "ingress")["nearest"]

    assert isinstance(nearest, list)
    assert "but for the source address" in nearest[0]


def test_an_end_outside_has_no_side() -> None:
    assert ask("192.0.2.1", B, PING).egress is None
    assert ask("192.0.2.1", B, PING).allowed
    assert ask(B, "192.0.2.1", PING).ingress is None
    assert party_words(ask(B, "192.0.2.1", PING).destination) == "192.0.2.1, outside"


def test_an_explicit_deny_names_its_policy() -> None:
    spec = {"order": 1, "selector": "all()", "types": ["Ingress"], "ingress": [{"action": "Deny"}]}
    ingress = facts(ask(A, B, SSH, document("GlobalNetworkPolicy", "emergency", "", spec)), "ingress")

    assert ingress["policy"] == "GlobalNetworkPolicy emergency"
    assert ingress["says"] == "deny all traffic"
    assert ingress["why"] == "the rule denies it"


def test_a_stand_in_says_why_it_stands_there() -> None:
    spec = {"order": 1, "selector": "all()", "types": ["Ingress"], "ingress": [{"action": "Deny", "protocol": "warp"}]}
    ingress = facts(ask(A, B, SSH, document("GlobalNetworkPolicy", "typo", "", spec)), "ingress")

    assert ingress["policy"] == "GlobalNetworkPolicy typo"
    assert "warp" in str(ingress["why"])
    assert str(ingress["would"]).startswith("correct the document")


def test_a_group_with_a_broken_rule_allows_nothing_and_says_so() -> None:
    broken = group(WEB, allow(6, [22]), allow("warp"))
    ingress = facts(ask(A, B, SSH, broken), "ingress")

    assert ingress["allowed"] is False
    assert "is broken" in str(ingress["why"])
    assert "warp" in str(ingress["why"])


def test_an_endpoint_without_group_passes_nothing() -> None:
    ingress = facts(ask(A, "cccc", SSH, port("cccc", "10.65.0.3/32")), "ingress")

    assert ingress["why"] == "no security group or other policy governs ingress of port cccc, and it lists no profile"
    assert ingress["would"] == "a security group with a rule for it: openstack port set --security-group GROUP cccc"


def test_a_profile_decides_after_the_tiers() -> None:
    profile = document("Profile", "open", "", {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]})
    ingress = facts(ask(A, "cccc", SSH, profile, port("cccc", "10.65.0.3/32", profiles=["open"])), "ingress")
    missing = facts(ask(A, "cccc", SSH, port("cccc", "10.65.0.3/32", profiles=["open"])), "ingress")

    assert (ingress["policy"], ingress["rule"]) == ("Profile open", 1)
    assert "no rule of its profiles (open) matches" in str(missing["why"])


def test_a_broken_endpoint_is_denied_with_the_reason_and_the_other_side_is_still_told() -> None:
    answer = ask(A, "cccc", SSH, port("cccc", "10.65.0.3/32", mac="nonsense"))

    assert not answer.allowed
    assert "nonsense" in str(facts(answer, "ingress")["why"])
    assert facts(answer, "egress")["why"] == "the other end's address is not known"
    assert facts(ask(A, "cccc@10.65.0.3", SSH, port("cccc", "10.65.0.3/32", mac="nonsense")), "egress")["allowed"]


def test_a_foreign_source_address_is_spoofing() -> None:
    egress = facts(ask(f"{A}@10.65.0.77", B, SSH), "egress")

    assert egress["why"] == (
        "anti-spoofing on host compute-01: 10.65.0.77 is none of its addresses or allowed address pairs"
    )
    assert egress["would"] == f"openstack port set --allowed-address ip-address=10.65.0.77 {A}"


def test_an_endpoint_that_may_spoof_may_where_its_host_lets_it() -> None:
    may = port("cccc", "10.65.0.3/32", groups=(ADMIN,), allowSpoofedSourcePrefixes=["10.99.0.0/16"])

    assert ask("cccc@10.99.0.1", "192.0.2.1", SSH, may, view=HostView(spoofing=True)).allowed
    assert not ask("cccc@10.98.0.1", "192.0.2.1", SSH, may, view=HostView(spoofing=True)).allowed


def test_members_of_network_sets_and_host_endpoints_are_peers_like_any() -> None:
    peers = [
        document("GlobalNetworkSet", "office", "", {"nets": ["192.0.2.0/24"]}, labels={"zone": "office"}),
        document("HostEndpoint", "h", "", {"node": "h", "expectedIPs": ["192.0.3.1"]}, labels={"zone": "office"}),
    ]
    spec = {"selector": "all()", "ingress": [{"action": "Allow", "source": {"selector": "zone == 'office'"}}]}
    policy = document("GlobalNetworkPolicy", "from-office", "", spec)

    assert ask("192.0.2.7", B, HTTP, policy, *peers).allowed
    assert ask("192.0.3.1", B, HTTP, policy, *peers).allowed
    assert not ask("192.0.4.1", B, HTTP, policy, *peers).allowed


def test_what_a_host_refuses_is_denied_with_its_reason() -> None:
    answer = ask(A, B, SSH, view=HostView(forbids=lambda packet: "never that"))
    key = answer.source.key
    assert key is not None

    assert facts(answer, "egress")["why"] == "never that"
    refused = ask(A, B, SSH, view=HostView(refused={key: "another endpoint owns the interface"}))
    assert facts(refused, "egress")["why"] == f"port {A} passes nothing: another endpoint owns the interface"


def test_a_floating_ip_is_the_senders_business_on_another_host_and_translated_on_the_same() -> None:
    only = ({"action": "Allow", "ipVersion": 4, "destination": {"nets": ["172.24.4.0/24"]}},)
    narrow = group(ADMIN, egress=only)

    assert ask(A, "172.24.4.2", SSH, narrow).allowed
    assert not ask(A, B, SSH, narrow).allowed
    neighbour = port("dddd", "10.65.0.4/32", groups=(ADMIN,), host="compute-02")
    assert not ask("dddd", "172.24.4.2", SSH, narrow, neighbour).allowed


def test_the_family_is_the_one_that_both_have() -> None:
    both = port("eeee", "10.65.0.5/32", "2001:db8::5/128", groups=(WEB,))

    assert ask(A, "eeee", PING, both).version == 4
    assert ask(A, "2001:db8::5", PING, both).version == 6
    assert ask(A, "eeee", PING, both, version=6).version == 6


@pytest.mark.parametrize(
    ("source", "destination", "reason"),
    [
        ("192.0.2.1", "192.0.2.2", "neither 192.0.2.1 nor 192.0.2.2"),
        (A, A, "same endpoint"),
        (A, "169.254.169.254", "metadata"),
        (A, "192.168.1.11", "host compute-01 itself"),
        ("192.168.1.11", A, "host compute-01 itself"),
        (A, f"{B}@10.9.9.9", r"10.9.9.9 is no address of port bbbb.*it has 10\.65\.0\.2"),
        ("2001:db8::1", B, "no address of the same family"),
    ],
)
def test_what_policies_do_not_decide_is_refused(source: str, destination: str, reason: str) -> None:
    node = document("Node", "compute-01", "", {"bgp": {"ipv4Address": "192.168.1.11/24"}})

    with pytest.raises(Unanswerable, match=reason):
        ask(source, destination, SSH, node)


def test_a_family_that_one_end_does_not_have_is_refused_with_the_cure() -> None:
    with pytest.raises(Unanswerable, match=f"{B} has no IPv6 address; ask with --version 4"):
        ask(A, B, SSH, version=6)
