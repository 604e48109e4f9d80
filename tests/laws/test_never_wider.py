"""The law "never wider": what the written policy allows, the Neutron rule allows; and for what can be expressed, the
reverse.

Neutron's meaning is written here a second time, naively and rule by rule, straight from the API's definition;
anything that the API would not accept means nothing. The policy's meaning comes from reading the document as Felix
would.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from calico_openstack.model.endpoint import Endpoint, EndpointKey
from calico_openstack.model.intake import Accepted, read
from calico_openstack.model.names import sg_label
from calico_openstack.model.net import Net, host_net, parse_net
from calico_openstack.model.policy import Policy
from calico_openstack.neutron.translate.document import compose
from calico_openstack.neutron.translate.rules import PROTOCOL_NUMBERS
from calico_openstack.neutron.translate.security_groups import group_documents
from calico_openstack.neutron.translate.site import Site
from calico_openstack.policy.state import Packet, State
from calico_openstack.policy.verdict import verdict

GROUP, REMOTE = "0a1b2c3d-4e5f-4061-8273-94a5b6c7d8e9", "7f6e5d4c-3b2a-4190-8f7e-6d5c4b3a2918"
ADDRESS_GROUPS = {
    "both": ["198.51.100.0/25", "2001:db8:b::/64", "192.0.2.7/32"],
    "v6": ["2001:db8:b::/64"],
    "none": [],
    "many": [f"10.{high}.{low}.0/30" for high in range(2) for low in range(130)],
}
ADDRESSES = [
    "10.65.0.1",
    "10.65.0.2",
    "10.0.1.2",
    "192.0.2.7",
    "198.51.100.9",
    "203.0.113.5",
    "2001:db8:a41::1",
    "2001:db8:a41::2",
    "2001:db8:b::5",
]
MEMBERS = {GROUP: ("10.65.0.1", "2001:db8:a41::1"), REMOTE: ("10.65.0.2", "2001:db8:a41::2")}

numbers = st.one_of(st.none(), st.sampled_from([-1, 0, 1, 3, 8, 22, 80, 128, 254, 255, 256, 443, 65535, 65536]))
protocols = st.one_of(
    st.none(),
    st.sampled_from(
        ["any", "0", "ip", "hopopt", "-1", "256", "quic", "TCP", "6", "1", "58", "17", "132", -1, 0, 6, 300]
    ),
    st.sampled_from(sorted(PROTOCOL_NUMBERS)),
    st.integers(0, 255).map(str),
)
WILD = {
    "direction": st.sampled_from(["ingress", "egress", "sideways"]),
    "ethertype": st.sampled_from(["IPv4", "IPv6", "IPX", None]),
    "protocol": protocols,
    "port_range_min": numbers,
    "port_range_max": numbers,
    "remote_ip_prefix": st.sampled_from(["10.65.0.0/24", "10.65.0.9/31", "2001:db8::/32", "0.0.0.0/0", "x/y"]),
    "remote_group_id": st.sampled_from([REMOTE, GROUP, "x') || all() || has(y"]),
    "remote_address_group_id": st.sampled_from([*ADDRESS_GROUPS, "gone"]),
}


@st.composite
def sensible_rules(draw: st.DrawFn) -> dict[str, Any]:
    """Rules that the API accepts, so that the reverse direction of the law has something to bite on."""
    version = draw(st.sampled_from(["IPv4", "IPv6"]))
    protocol = draw(
        st.sampled_from([None, "tcp", "udp", "sctp", "6", "icmp", "1", "58", "ipv6-icmp", "gre", "0", "vrrp"])
    )
    first = last = None
    if protocol in ("tcp", "udp", "sctp", "6"):
        first, last = draw(st.sampled_from([(None, None), (22, 22), (80, 443), (1, 65535)]))
    elif protocol in ("icmp", "1", "58", "ipv6-icmp"):
        first, last = draw(st.sampled_from([(None, None), (8, None), (8, 0), (3, 4), (128, 0)]))
    remote: dict[str, Any] = draw(
        st.sampled_from(
            [
                {},
                {"remote_group_id": REMOTE},
                {"remote_address_group_id": "both"},
                {"remote_address_group_id": "many"},
                {"remote_ip_prefix": "10.65.0.0/24" if version == "IPv4" else "2001:db8:a41::/64"},
            ]
        )
    )
    return {
        "id": "r",
        "direction": draw(st.sampled_from(["ingress", "egress"])),
        "ethertype": version,
        "protocol": protocol,
        "port_range_min": first,
        "port_range_max": last,
        **remote,
    }


@st.composite
def wild_rules(draw: st.DrawFn) -> dict[str, Any]:
    """A sensible rule with up to three fields replaced by anything: close enough to sense to be misread."""
    rule = draw(sensible_rules())
    for name in draw(st.sets(st.sampled_from(sorted(WILD)), max_size=3)):
        rule[name] = draw(WILD[name])
    return rule


@st.composite
def packets(draw: st.DrawFn, rule: dict[str, Any]) -> Packet:
    """A packet that the rule may well be about."""
    version = draw(st.sampled_from([4, 6] + [{"IPv6": 6}.get(rule["ethertype"], 4)] * 3))
    mine = host_net(MEMBERS[GROUP][version == 6])
    others = [host_net(text) for text in ADDRESSES if host_net(text).version == version]
    said = str(rule["protocol"]).lower()
    number = PROTOCOL_NUMBERS.get(said, int(said) if said.isdigit() and int(said) < 256 else 6)
    protocol = draw(st.sampled_from([1, 6, 17, 33, 58, 136, 255] + [58 if (number, version) == (1, 6) else number] * 6))
    near = [value for value in (rule["port_range_min"], rule["port_range_max"]) if value is not None and value >= 0]
    port, icmp = 0, None
    if protocol in (6, 17, 33, 132, 136):
        port = draw(st.sampled_from([1, 22, 100, 444, 65535, *near]))
    elif protocol in (1, 58):
        icmp = (draw(st.sampled_from([0, 3, 8, 128, *near])) & 255, draw(st.sampled_from([0, 4, *near])) & 255)
    return Packet(draw(st.sampled_from(others)), mine, protocol, 4321, port, icmp)


def neutron_allows(rule: dict[str, Any], direction: str, packet: Packet, remote: Net) -> bool:
    """The API's definition; `remote` is the other side's address."""
    if rule["direction"] != direction or {"IPv4": 4, "IPv6": 6}.get(rule["ethertype"]) != packet.version:
        return False
    protocol, first, last = rule["protocol"], rule["port_range_min"], rule["port_range_max"]
    number: int | None
    if protocol in (None, "any", "0", "ip", 0, -1):
        number = None
    elif str(protocol).lower() in PROTOCOL_NUMBERS:
        number = PROTOCOL_NUMBERS[str(protocol).lower()]
    else:
        try:
            number = int(protocol)
        except ValueError:
            return False
    if number == 1 and packet.version == 6:
        number = 58
    if number is not None and number != packet.protocol:
        return False
    if first is not None or last is not None:
        if number in (6, 17, 33, 132, 136):
            if first is None or last is None or not 1 <= first <= packet.destination_port <= last <= 65535:
                return False
        elif number in (1, 58):
            if packet.icmp is None or packet.icmp[0] != first or last not in (None, packet.icmp[1]):
                return False
        else:
            return False
    try:
        if rule.get("remote_ip_prefix") and not parse_net(rule["remote_ip_prefix"]).contains(remote):
            return False
    except ValueError:
        return False
    group, addresses = rule.get("remote_group_id"), rule.get("remote_address_group_id")
    if group and remote.address not in MEMBERS.get(group, ()):
        return False
    return not addresses or any(parse_net(text).contains(remote) for text in ADDRESS_GROUPS.get(addresses, ()))


def endpoint(group: str) -> Endpoint:
    addresses = tuple(host_net(text) for text in MEMBERS[group])
    labels = {sg_label(group): "", "projectcalico.org/namespace": "openstack"}
    return Endpoint(
        key=EndpointKey("openstack", "h", "openstack", "d", group), interface="tap", addresses=addresses, labels=labels
    )


def check(rule: dict[str, Any], packet: Packet, direction: Any) -> tuple[bool, bool, bool]:
    """What the policy allows, what the rule allows, and whether anything was refused."""
    if direction == "egress":
        packet = packet._replace(source=packet.destination, destination=packet.source)
    documents = group_documents(Site(), GROUP, [rule], ADDRESS_GROUPS)
    wanted = documents.present[0]
    stored = compose(None, wanted, "2026-11-21T02:00:00Z", "u")
    assert stored is not None
    answer = read(wanted.key, stored)
    assert isinstance(answer, Accepted), f"Felix would drop the whole policy: {answer} {json.loads(stored)}"
    assert isinstance(answer.value, Policy)
    mine, other = endpoint(GROUP), endpoint(REMOTE)
    state = State(endpoints={who.key: who for who in (mine, other)}, policies={answer.value.key: answer.value})
    remote = packet.source if direction == "ingress" else packet.destination
    return (
        verdict(state, mine, direction, packet).allowed,
        neutron_allows(rule, direction, packet, remote),
        bool(documents.refusals),
    )


@settings(max_examples=800, deadline=None)
@given(st.data(), wild_rules(), st.sampled_from(["ingress", "egress"]))
def test_no_combination_of_rule_fields_gives_a_policy_that_allows_more(
    data: st.DataObject, rule: dict[str, Any], direction: str
) -> None:
    policy_allows, rule_allows, _ = check(rule, data.draw(packets(rule)), direction)

    assert rule_allows or not policy_allows


@settings(max_examples=600, deadline=None)
@given(st.data(), sensible_rules())
def test_a_rule_that_can_be_expressed_allows_exactly_what_neutron_means(
    data: st.DataObject, rule: dict[str, Any]
) -> None:
    policy_allows, rule_allows, refused = check(rule, data.draw(packets(rule)), rule["direction"])

    assert not refused or (rule["ethertype"] == "IPv4" and rule["protocol"] in ("58", "ipv6-icmp"))
    assert policy_allows == (rule_allows and not refused)
