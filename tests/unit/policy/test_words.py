"""Rules and policies in people's words."""

import pytest

from calico_openstack.model.net import parse_net
from calico_openstack.model.policy import Icmp, Match, PolicyKey, PortRange, Rule
from calico_openstack.model.selector import parse
from calico_openstack.policy.words import policy_words, resource_words, rule_words

GROUPS = {"0a1b": "web"}
MEMBERS = Match(
    selector=parse('has(sg.projectcalico.org/openstack-0a1b) && projectcalico.org/namespace == "openstack"')
)
SSH = Match(ports=(PortRange(22, 22),))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule(action="allow"), "allow all traffic"),
        (Rule(action="deny", version=6), "deny all IPv6 traffic"),
        (Rule(action="allow", version=4, protocol=6, destination=SSH), "allow IPv4 tcp to port 22"),
        (
            Rule(action="allow", version=4, protocol=6, source=MEMBERS, destination=SSH),
            "allow IPv4 tcp from members of security group web (0a1b) to port 22",
        ),
        (
            Rule(action="allow", protocol=17, destination=Match(ports=(PortRange(1, 9), PortRange(53, 53)))),
            "allow udp to ports 1-9, 53",
        ),
        (Rule(action="allow", destination=Match(ports=(PortRange(1, 9),))), "allow all traffic to ports 1-9"),
        (
            Rule(action="pass", source=Match(nets=(parse_net("10.0.0.0/8"),), not_nets=(parse_net("10.1.0.0/16"),))),
            "pass all traffic from 10.0.0.0/8 except 10.1.0.0/16",
        ),
        (Rule(action="deny", destination=Match(not_nets=(parse_net("10.0.0.0/8"),))),
         "deny all traffic to anyone except 10.0.0.0/8"),
        (Rule(action="allow", source=Match(nets=(parse_net("::/0"),))), "allow all traffic from any IPv6 address"),
        (Rule(action="allow", protocol=1, icmp=Icmp(8)), "allow icmp echo request"),
        (Rule(action="allow", protocol=58, icmp=Icmp(1, 4)), "allow icmpv6 type 1 code 4"),
        (Rule(action="allow", protocol=1, not_icmp=Icmp(5)), "allow icmp except type 5"),
        (Rule(action="allow", not_protocol=6), "allow all traffic except tcp"),
        (Rule(action="allow", protocol=99), "allow protocol 99"),
        (Rule(action="allow", protocol=6, destination=Match(named_ports=("http",))), "allow tcp to port 'http'"),
        (Rule(action="allow", protocol=6, destination=Match(not_ports=(PortRange(22, 22),))),
         "allow tcp to no port 22"),
        (
            Rule(action="deny", source=Match(selector=parse("env == 'dev' && has(x)"))),
            'deny all traffic from endpoints and network sets with (env == "dev" && has(x))',
        ),
        (
            Rule(action="deny", source=Match(nets=tuple(parse_net(f"10.{n}.0.0/16") for n in range(8)))),
            "deny all traffic from 10.0.0.0/16 or 10.1.0.0/16 or 10.2.0.0/16 or 10.3.0.0/16 or 10.4.0.0/16 or "
            "10.5.0.0/16 or 2 more",
        ),
    ],
)  # fmt: skip
def test_a_rule_is_a_sentence(rule: Rule, words: str) -> None:
    assert rule_words(rule, GROUPS) == words


def test_membership_with_a_further_condition_is_shown_as_it_is_written() -> None:
    rule = Rule(action="allow", source=Match(selector=parse("has(sg.projectcalico.org/openstack-0a1b) && x == 'y'")))

    assert 'with (has(sg.projectcalico.org/openstack-0a1b) && x == "y")' in rule_words(rule, GROUPS)


def test_a_policy_has_neutrons_name_and_calicos() -> None:
    group, own = PolicyKey("NetworkPolicy", "openstack", "ossg.default.0a1b"), PolicyKey("GlobalNetworkPolicy", "", "x")

    assert policy_words(group, GROUPS) == "security group web (0a1b)"
    assert policy_words(group, {}) == "security group 0a1b"
    assert resource_words(group) == "NetworkPolicy openstack/ossg.default.0a1b"
    assert policy_words(own, GROUPS) == "GlobalNetworkPolicy x"
    assert resource_words("open") == "Profile open"
