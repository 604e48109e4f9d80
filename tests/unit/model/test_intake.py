"""What is stored becomes a checked value, or is absent for a reason that names the key and the trouble."""

import json
import math
from typing import Any

import pytest

from calico_openstack.model.cluster import ClusterInformation, FelixConfiguration
from calico_openstack.model.endpoint import Endpoint, EndpointKey, HostEndpoint, LiveMigration, NamedPort, Nat
from calico_openstack.model.intake import Absent, Accepted, read
from calico_openstack.model.keys import EndpointStatusKey, HostStatusKey, ResourceKey, SubnetKey
from calico_openstack.model.net import host_net, parse_net
from calico_openstack.model.policy import Icmp, NetworkSet, Policy, PortRange, Profile, Rule, Tier
from calico_openstack.model.selector import parse
from calico_openstack.model.subnet import HostRoute, Subnet
from calico_openstack.policy.closed_tiers import why_closed

SERVER = "8f3d2c1a-4b5e-4f60-9a7b-0c1d2e3f4a5b"
PORT = "1b2c3d4e-5f60-4718-8293-a4b5c6d7e8f9"
GROUP = "0a1b2c3d-4e5f-4061-8273-94a5b6c7d8e9"
KEY = EndpointKey("openstack", "compute-01", "openstack", SERVER, PORT)
NAME = "compute--01-openstack-8f3d2c1a--4b5e--4f60--9a7b--0c1d2e3f4a5b-1b2c3d4e--5f60--4718--8293--a4b5c6d7e8f9"
HAS_GROUP = f"has(sg.projectcalico.org/openstack-{GROUP})"


def stored(kind: str, name: str, spec: dict[str, Any], namespace: str = "", **metadata: Any) -> Accepted | Absent:
    path = ResourceKey(kind, name, namespace).path
    document = {
        "kind": kind,
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }
    return read(path, json.dumps(document).encode())


def accepted(found: Accepted | Absent) -> Any:
    assert isinstance(found, Accepted), found
    return found.value


def refused(found: Accepted | Absent) -> Absent:
    assert isinstance(found, Absent), found
    return found


ENDPOINT_SPEC: dict[str, Any] = {
    "orchestrator": "openstack",
    "workload": SERVER,
    "node": "compute-01",
    "endpoint": PORT,
    "interfaceName": "tap1b2c3d4e-5f",
    "mac": "FA:16:3e:aa:bb:cc",
    "ipv4Gateway": "10.65.0.1",
    "ipv6Gateway": "2001:db8:a41::1",
    "ipNetworks": ["10.65.0.12/32", "2001:db8:a41::c/128", "10.65.0.200/32"],
    "allowedIps": ["10.65.0.200/32"],
    "ipNATs": [{"internalIP": "10.65.0.12", "externalIP": "172.24.4.33"}],
    "qosControls": {"egressBandwidth": 10000000, "ingressPacketRate": 5000, "ingressPacketBurst": 5},
}


def endpoint(**changed: Any) -> Accepted | Absent:
    spec = {**ENDPOINT_SPEC, **changed}
    return stored(
        "WorkloadEndpoint",
        NAME,
        {field: value for field, value in spec.items() if value is not ...},
        "openstack",
        labels={"projectcalico.org/namespace": "openstack", "pcns.secret": "x", "pcsa.name": "y", "env": "dev"},
        annotations={
            "openstack.projectcalico.org/network-id": "net-1",
            "openstack.projectcalico.org/fqdn": "web.example.org.",
        },
    )


def test_an_endpoint_as_upstreams_driver_writes_it_is_understood() -> None:
    value: Endpoint = accepted(endpoint())

    assert value.key == KEY
    assert (value.interface, value.mac) == ("tap1b2c3d4e-5f", "fa:16:3e:aa:bb:cc")
    assert [str(net) for net in value.addresses] == ["10.65.0.12/32", "2001:db8:a41::c/128", "10.65.0.200/32"]
    assert value.allowed_pairs == (host_net("10.65.0.200"),)
    assert value.nats == (Nat(host_net("10.65.0.12"), host_net("172.24.4.33")),)
    assert (value.gateway4, value.gateway6) == (host_net("10.65.0.1"), host_net("2001:db8:a41::1"))
    assert value.labels == {"projectcalico.org/namespace": "openstack", "env": "dev"}
    assert value.qos is not None
    assert (value.qos.egress_bandwidth, value.qos.ingress_packet_rate) == (10000000, 5000)
    assert (value.network_id, value.fqdn) == ("net-1", "web.example.org.")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"ipNetworks": []}, "ipNetworks is empty"),
        ({"ipNetworks": ...}, "ipNetworks is empty"),
        ({"ipNetworks": ["10.0.0.0/24/32"]}, "10.0.0.0/24/32"),
        ({"ipNetworks": ["10.65.0.12/32", "nonsense"]}, "nonsense"),
        ({"ipNetworks": "10.65.0.12"}, "ipNetworks"),
        ({"mac": "fa:16:3e:aa:bb"}, "fa:16:3e:aa:bb"),
        ({"ipv4Gateway": "2001:db8::1"}, "ipv4Gateway"),
        ({"ipv6Gateway": "x"}, "x"),
        ({"interfaceName": ""}, "interfaceName"),
        ({"interfaceName": "../../etc"}, "interfaceName"),
        ({"interfaceName": ".."}, "interfaceName"),
        ({"interfaceName": "eth0:1"}, "interfaceName"),
        ({"interfaceName": "tap with space"}, "interfaceName"),
        ({"interfaceName": "tap1b2c3d4e-5f60"}, "interfaceName"),
        ({"allowSpoofedSourcePrefixes": ["bad"]}, "allowSpoofedSourcePrefixes"),
        ({"ports": [{"name": "web", "protocol": "TCP", "port": 70000}]}, "web"),
    ],
)
def test_an_endpoint_with_anything_wrong_is_absent_and_the_reason_names_it(changed: dict[str, Any], named: str) -> None:
    found = refused(endpoint(**changed))

    assert named in found.reason
    assert NAME in found.reason
    assert found.stand_in is None


def test_a_null_where_a_text_belongs_is_an_empty_text() -> None:
    # The parent of a project that has none; upstream's driver copies it, and Go reads it so.
    parent, fqdn = "projectcalico.org/openstack-project-parent-id", "openstack.projectcalico.org/fqdn"

    value: Endpoint = accepted(
        stored(
            "WorkloadEndpoint",
            NAME,
            {**ENDPOINT_SPEC, "mac": None},
            "openstack",
            labels={"env": "dev", parent: None},
            annotations={fqdn: None},
        )
    )
    profile: Profile = accepted(stored("Profile", "dev", {"labelsToApply": {"team": None}}))

    assert value.labels == {"env": "dev", parent: ""}
    assert (value.mac, value.fqdn) == (None, None)
    assert profile.labels_to_apply == {"team": ""}


def test_bad_floating_ips_and_nameless_ports_alone_are_left_out() -> None:
    nats = [
        {"internalIP": "bad", "externalIP": "172.24.4.1"},
        {"internalIP": "10.65.0.12", "externalIP": "2001:db8::1"},
        {"internalIP": "10.65.0.12", "externalIP": "172.24.4.33"},
    ]
    ports = [{"name": "", "protocol": "TCP", "port": 1}, {"name": "web", "protocol": "tcp", "port": 80}]

    value: Endpoint = accepted(endpoint(ipNATs=nats, ports=ports))

    assert value.nats == (Nat(host_net("10.65.0.12"), host_net("172.24.4.33")),)
    assert value.ports == (NamedPort("web", 6, 80),)


def policy(**spec: Any) -> Accepted | Absent:
    return stored("NetworkPolicy", f"ossg.default.{GROUP}", spec, "openstack")


def test_a_security_group_as_upstreams_driver_writes_it_is_understood() -> None:
    value: Policy = accepted(
        policy(
            selector=HAS_GROUP,
            ingress=[
                {"action": "Allow", "ipVersion": 4, "protocol": 6, "destination": {"ports": [22]}},
                {"action": "Allow", "ipVersion": 4, "source": {"selector": HAS_GROUP}},
                {"action": "Allow", "ipVersion": 4, "protocol": "ICMP", "icmp": {"type": 8}},
                {
                    "action": "Allow",
                    "ipVersion": 4,
                    "protocol": 17,
                    "source": {"nets": ["192.0.2.7/24"]},
                    "destination": {"ports": ["5000:5100"]},
                },
            ],
            egress=[{"action": "Allow", "ipVersion": 6, "source": {}, "destination": {}}],
        )
    )

    ours = "projectcalico.org/namespace == 'openstack'"
    assert value.selector == parse(f"{HAS_GROUP} && {ours}")
    assert (value.tier, value.order) == ("default", float("inf"))
    assert value.ingress is not None
    ssh, members, ping, media = value.ingress
    assert (ssh.version, ssh.protocol, ssh.destination.ports) == (4, 6, (PortRange(22, 22),))
    assert members.source.selector == parse(f"{ours} && {HAS_GROUP}")
    assert (ping.protocol, ping.icmp) == (1, Icmp(8))
    assert media.source.nets == (parse_net("192.0.2.0/24"),)
    assert media.destination.ports == (PortRange(5000, 5100),)
    assert value.egress == (Rule(action="allow", version=6),)


@pytest.mark.parametrize(
    ("types", "ingress", "egress"),
    [(None, True, True), ([], True, True), (["Ingress"], True, False), (["Egress"], False, True)],
)
def test_types_say_which_directions_a_policy_governs(types: list[str] | None, ingress: bool, egress: bool) -> None:
    value: Policy = accepted(policy(types=types, ingress=[{"action": "Allow"}]))

    assert (value.ingress is not None, value.egress is not None) == (ingress, egress)


BAD_RULES: list[dict[str, Any]] = [
    {"action": "Allow", "protocol": "1", "destination": {"ports": ["8:None"]}},
    {"action": "Allow", "protocol": 0},
    {"action": "Allow", "protocol": 300},
    {"action": "Allow", "protocol": "dccp"},
    {"action": "Allow", "protocol": 33, "destination": {"ports": [80]}},
    {"action": "Allow", "destination": {"ports": [80]}},
    {"action": "Allow", "protocol": "TCP", "destination": {"ports": [0]}},
    {"action": "Allow", "protocol": "TCP", "destination": {"ports": ["90:80"]}},
    {"action": "Allow", "protocol": "ICMP", "icmp": {"type": 255}},
    {"action": "Allow", "protocol": "ICMP", "icmp": {"code": 1}},
    {"action": "Allow", "icmp": {"type": 8}},
    {"action": "Allow", "ipVersion": 5},
    {"action": "Allow", "source": {"nets": ["10.0.0.0/8", "rubbish"]}},
    {"action": "Allow", "source": {"notNets": ["rubbish"]}},
    {"action": "Allow", "source": {"selector": "((("}},
    {"action": "Allow", "protocol": "TCP", "destination": {"notPorts": [-5]}},
    {"action": "Allow", "protocol": "TCP", "destination": {"ports": ["80:"]}},
    {"action": "Allow", "protocol": "TCP", "destination": {"ports": [65536]}},
    {"action": "Allow", "source": {"nets": ["10.0.0.0/0.0.0.0"]}},
    {"action": "Allow", "source": {"nets": ["fe80::1%eth0"]}},
    {"action": "Allow", "source": {"serviceAccounts": {}}},
    {"action": "Allow", "source": {"serviceAccounts": {"names": ["x"]}}},
    {"action": "Allow", "source": {"services": {"name": "x"}}},
    {"action": "Allow", "http": {"methods": ["GET"]}},
    {"action": "Allow", "onlyOnTuesdays": True},
    {"action": "Allow", "source": {"colour": "blue"}},
]


@pytest.mark.parametrize("bad", BAD_RULES, ids=lambda rule: json.dumps(rule))
def test_an_allow_only_policy_with_a_bad_rule_is_replaced_by_one_that_allows_nothing(bad: dict[str, Any]) -> None:
    found = refused(policy(selector="has(x)", ingress=[{"action": "Allow"}, bad]))

    assert "ingress[1]" in found.reason
    assert isinstance(found.stand_in, Policy)
    assert (found.stand_in.ingress, found.stand_in.egress) == ((), ())
    assert found.stand_in.broken
    assert found.stand_in.selector.matches({"x": "", "projectcalico.org/namespace": "openstack"})


@pytest.mark.parametrize("action", ["Deny", "Pass", "Log", "Perhaps"])
def test_a_broken_policy_that_may_deny_is_replaced_by_one_that_denies(action: str) -> None:
    found = refused(policy(types=["Ingress"], ingress=[{"action": action, "protocol": 0}, {"action": "Allow"}]))

    assert isinstance(found.stand_in, Policy)
    assert found.stand_in.ingress == (Rule(action="deny"),)
    assert found.stand_in.egress is None


def test_a_policy_whose_scope_cannot_be_read_has_no_stand_in() -> None:
    for spec in ({"selector": "((("}, {"namespaceSelector": 1}, {"ingress": {}, "selector": 7}):
        assert refused(policy(**spec)).stand_in is None


@pytest.mark.parametrize("tier", [7, ["security"], False])
def test_a_policy_whose_tier_is_no_text_denies_in_a_tier_that_nobody_can_store(tier: object) -> None:
    found = refused(policy(selector="has(x)", tier=tier, order=3, ingress=[{"action": "Allow"}]))

    assert isinstance(found.stand_in, Policy)
    assert why_closed(found.stand_in.tier, None)
    assert (found.stand_in.ingress, found.stand_in.egress) == ((Rule(action="deny"),), (Rule(action="deny"),))
    assert "tier" in found.reason


@pytest.mark.parametrize("order", ["first", {}, True])
def test_a_tier_whose_order_is_no_number_has_no_place(order: object) -> None:
    found = refused(stored("Tier", "default", {"order": order, "defaultAction": "Pass"}))

    assert isinstance(found.stand_in, Tier)
    assert "order" in (found.stand_in.broken or "")
    assert not found.stand_in.default_pass


@pytest.mark.parametrize("order", ["first", "10", {}, True])
def test_a_policy_whose_order_is_no_number_denies_before_all_others_of_its_tier(order: object) -> None:
    found = refused(policy(selector="has(x)", tier="security", order=order, ingress=[{"action": "Allow"}]))

    assert isinstance(found.stand_in, Policy)
    assert (found.stand_in.tier, found.stand_in.order) == ("security", -math.inf)
    assert (found.stand_in.ingress, found.stand_in.egress) == ((Rule(action="deny"),), (Rule(action="deny"),))
    assert "order" in found.reason


@pytest.mark.parametrize("flag", [{"doNotTrack": "yes"}, {"preDNAT": 1}, {"preDNAT": "no", "doNotTrack": True}])
def test_a_policy_of_an_unreadable_kind_denies_as_one_of_the_normal_kind_and_on_forward(flag: dict[str, Any]) -> None:
    found = refused(stored("GlobalNetworkPolicy", "p", {"selector": "all()", "order": 3, **flag}))

    assert isinstance(found.stand_in, Policy)
    assert (found.stand_in.do_not_track, found.stand_in.pre_dnat) == (False, False)
    assert found.stand_in.apply_on_forward
    assert (found.stand_in.order, found.stand_in.ingress) == (3, (Rule(action="deny"),))


@pytest.mark.parametrize("wrong", [{"ingress": {}}, {"egress": "none"}, {"types": "Ingress"}, {"performanceHints": 1}])
def test_a_policy_of_which_only_the_scope_can_be_read_is_replaced_by_one_that_denies(wrong: dict[str, Any]) -> None:
    found = refused(policy(selector="has(x)", tier="security", order=3, **wrong))

    assert isinstance(found.stand_in, Policy)
    assert found.stand_in.selector == parse("has(x) && projectcalico.org/namespace == 'openstack'")
    assert (found.stand_in.tier, found.stand_in.order) == ("security", 3)
    assert (found.stand_in.ingress, found.stand_in.egress) == ((Rule(action="deny"),), (Rule(action="deny"),))
    assert next(iter(wrong)) in (found.stand_in.broken or "")


@pytest.mark.parametrize("flag", [{"applyOnForward": True}, {"applyOnForward": "perhaps"}, {"doNotTrack": True}])
def test_what_stands_in_for_a_policy_about_forwarded_packets_is_about_them_too(flag: dict[str, Any]) -> None:
    found = refused(stored("GlobalNetworkPolicy", "p", {"selector": "all()", "ingress": {}, **flag}))

    assert isinstance(found.stand_in, Policy)
    assert found.stand_in.apply_on_forward


def test_a_host_endpoint_says_where_it_is_and_repeats_nothing() -> None:
    eth0 = {"node": "compute-01", "expectedIPs": ["192.0.2.1", "192.0.2.1"]}

    assert accepted(stored("HostEndpoint", "he", eth0)).addresses == (host_net("192.0.2.1"),)
    for wrong, named in (
        ({"node": ""}, "node"),
        ({"expectedIPs": []}, "interfaceName or expectedIPs"),
        ({"expectedIPs": ["192.0.2.0/24"]}, "192.0.2.0/24"),
        ({"expectedIPs": ["gateway"]}, "expectedIPs: "),
        ({"interfaceName": "eth0/1"}, "eth0/1"),
        ({"interfaceName": "a-name-of-seventeen"}, "a-name-of-seventeen"),
    ):
        assert named in refused(stored("HostEndpoint", "he", eth0 | wrong)).reason, wrong


def test_a_host_endpoint_with_a_bad_address_or_port_goes_on_closing_its_interface() -> None:
    eth0 = {"node": "compute-01", "interfaceName": "eth0", "expectedIPs": ["gateway", "192.0.2.1"], "profiles": ["p"]}
    found = refused(stored("HostEndpoint", "he", {**eth0, "ports": [{"name": "web", "protocol": "TCP", "port": 0}]}))

    assert "gateway" in found.reason
    assert "web" in found.reason
    assert isinstance(found.stand_in, HostEndpoint)
    assert (found.stand_in.interface, found.stand_in.addresses) == ("eth0", (host_net("192.0.2.1"),))
    assert (found.stand_in.profiles, found.stand_in.ports) == (("p",), ())


@pytest.mark.parametrize("wrong", [5, None, {}, ["10.0.0.0/8"]])
def test_what_is_no_text_in_a_network_set_does_not_cost_the_others(wrong: object) -> None:
    found = refused(stored("GlobalNetworkSet", "office", {"nets": ["192.0.2.0/24", wrong]}))

    assert isinstance(found.stand_in, NetworkSet)
    assert found.stand_in.nets == (parse_net("192.0.2.0/24"),)


def test_rules_of_a_direction_that_is_not_governed_do_not_decide_how_a_policy_fails() -> None:
    found = refused(
        policy(types=["Ingress"], ingress=[{"action": "Allow", "protocol": 0}], egress=[{"action": "Deny"}])
    )

    assert isinstance(found.stand_in, Policy)
    assert (found.stand_in.ingress, found.stand_in.egress) == ((), None)


def test_an_icmp_rule_belongs_to_its_family() -> None:
    rules = [
        {"action": "Allow", "protocol": "icmpv6"},
        {"action": "Allow", "protocol": "ICMP"},
        {"action": "Deny", "protocol": 58},
    ]

    value: Policy = accepted(policy(ingress=rules))

    assert [rule.version for rule in value.ingress or ()] == [6, 4, None]


def test_namespace_selectors_turn_into_labels_of_the_endpoint() -> None:
    sides = [
        {"namespaceSelector": "all()"},
        {"namespaceSelector": "global()"},
        {"namespaceSelector": "env == 'x'", "selector": "has(a)"},
    ]

    value: Policy = accepted(policy(ingress=[{"action": "Allow", "source": side} for side in sides]))

    assert [rule.source.selector for rule in value.ingress or ()] == [
        parse("has(projectcalico.org/namespace)"),
        parse("!has(projectcalico.org/namespace)"),
        parse("pcns.env == 'x' && has(a)"),
    ]


def test_a_negative_selector_restricts_to_the_namespace_and_networks_do_not() -> None:
    sides = [{"notSelector": "has(a)"}, {"nets": ["10.0.0.0/8"]}]

    value: Policy = accepted(policy(ingress=[{"action": "Allow", "source": side} for side in sides]))

    negative, networks = (rule.source for rule in value.ingress or ())
    assert (negative.selector, negative.not_selector) == (
        parse("projectcalico.org/namespace == 'openstack'"),
        parse("has(a)"),
    )
    assert networks.selector is None


def test_a_broken_profile_stands_in_with_its_labels_and_allows_nothing() -> None:
    found = refused(
        stored("Profile", "dev", {"labelsToApply": {"env": "dev"}, "ingress": [{"action": "Allow", "protocol": 0}]})
    )

    assert isinstance(found.stand_in, Profile)
    assert (found.stand_in.labels_to_apply, found.stand_in.ingress) == ({"env": "dev"}, ())


def test_a_broken_profile_that_may_deny_denies_so_that_the_next_profile_cannot_allow() -> None:
    found = refused(
        stored("Profile", "dev", {"ingress": [{"action": "Deny", "protocol": 0}], "egress": [{"action": "Allow"}]})
    )

    assert isinstance(found.stand_in, Profile)
    assert (found.stand_in.ingress, found.stand_in.egress) == ((Rule(action="deny"),), ())


def test_a_network_set_keeps_what_is_readable_and_complains_about_the_rest() -> None:
    found = refused(stored("GlobalNetworkSet", "a", {"nets": ["10.0.0.1", "rubbish"]}, labels={"x": "y"}))

    assert "rubbish" in found.reason
    assert isinstance(found.stand_in, NetworkSet)
    assert (found.stand_in.nets, found.stand_in.labels) == ((host_net("10.0.0.1"),), {"x": "y"})


def test_a_tier_keeps_its_order_whatever_its_default_action_says() -> None:
    tier: Tier = accepted(stored("Tier", "security", {"order": 10, "defaultAction": 7}))

    assert (tier.order, tier.default_pass) == (10, False)


def test_labels_of_a_namespaced_set_do_not_leak_into_others_with_the_same_labels() -> None:
    accepted(stored("NetworkSet", "a", {}, "openstack", labels={"team": "red"}))
    other: NetworkSet = accepted(stored("GlobalNetworkSet", "b", {}, labels={"team": "red"}))

    assert other.labels == {"team": "red"}


def test_tiers_and_network_sets() -> None:
    tier: Tier = accepted(stored("Tier", "platform", {"order": 100, "defaultAction": "Pass"}))
    own: NetworkSet = accepted(
        stored("NetworkSet", "a", {"nets": ["10.0.0.1", "10.0.0.9/8"]}, "openstack", labels={"x": "y"})
    )
    everywhere: NetworkSet = accepted(stored("GlobalNetworkSet", "a", {}))

    assert (tier.order, tier.default_pass) == (100, True)
    assert [str(net) for net in own.nets] == ["10.0.0.1/32", "10.0.0.0/8"]
    assert own.labels == {"x": "y", "projectcalico.org/namespace": "openstack"}
    assert (everywhere.nets, everywhere.profiles) == ((), ())


def test_subnets() -> None:
    path = SubnetKey("europe", "s1").path
    text = {
        "network_id": "n1",
        "cidr": "10.65.0.0/24",
        "host_routes": [{"destination": "203.0.113.0/24", "nexthop": "10.65.0.1"}],
        "gateway_ip": None,
        "dns_servers": ["192.0.2.53"],
        "ipv6_ra_mode": "slaac",
    }

    value: Subnet = accepted(read(path, json.dumps(text).encode()))

    assert value.host_routes == (HostRoute(parse_net("203.0.113.0/24"), host_net("10.65.0.1")),)
    assert (value.gateway, value.dns_servers, value.ra_mode) == (None, (host_net("192.0.2.53"),), None)
    for field, wrong in (
        ("gateway_ip", "2001:db8::1"),
        ("cidr", "x"),
        ("dns_servers", ["2001:db8::1"]),
        ("host_routes", [{}]),
    ):
        assert isinstance(read(path, json.dumps({**text, field: wrong}).encode()), Absent)


def test_cluster_information_is_ready_only_if_it_says_so() -> None:
    ready: ClusterInformation = accepted(
        stored("ClusterInformation", "default", {"datastoreReady": True, "clusterType": "k8s,OpenStack"})
    )
    silent: ClusterInformation = accepted(stored("ClusterInformation", "default", {"datastoreReady": "true"}))

    assert (ready.ready, ready.is_openstack, silent.ready) == (True, True, False)


def test_felix_configuration_keeps_fields_and_overrides() -> None:
    value: FelixConfiguration = accepted(
        stored(
            "FelixConfiguration",
            "rack-1",
            {"nodeSelector": "rack == 'r1'", "reportingInterval": "30s"},
            annotations={"config.projectcalico.org/LogPrefix": "x", "other": "y"},
        )
    )

    assert value.node_selector == parse("rack == 'r1'")
    assert (value.fields, value.overrides) == ({"reportingInterval": "30s"}, {"LogPrefix": "x"})


def test_live_migrations_name_both_sides() -> None:
    def side(host: str) -> dict[str, Any]:
        ids = {"orchestratorID": "openstack", "workloadID": f"openstack/{SERVER}", "endpointID": PORT}
        return {"workloadEndpoint": {"hostname": host, **ids}}

    value: LiveMigration = accepted(
        stored("LiveMigration", NAME, {"source": side("compute-01"), "target": side("b")}, "openstack", uid="u")
    )

    assert (value.source, value.target) == (KEY, KEY._replace(host="b"))


def test_status_keys_hold_reports() -> None:
    host = read(
        HostStatusKey(None, "h").path,
        b'{"time": "2026-08-22T10:16:00Z", "uptime": 30.25, "first_update": false, "x": 1}',
    )
    up = read(EndpointStatusKey(None, KEY).path, b'{"status": "up"}')

    assert accepted(host).uptime == 30.25
    assert accepted(up).status == "up"
    assert "up, down, error" in refused(read(EndpointStatusKey(None, KEY).path, b'{"status": "sideways"}')).reason


def test_a_path_that_nobody_knows_is_absent_without_a_key() -> None:
    assert refused(read("/calico/v1/Ready", b"true")).key is None
    assert refused(stored("IPReservation", "x", {})).reason.endswith("IPReservation is not used here")
