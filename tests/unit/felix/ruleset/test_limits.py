"""Limits, marks, translation and logging: as text, by golden file, and one by one."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from calico_openstack.felix.ruleset import statements, walk
from calico_openstack.felix.ruleset.limits import code_point
from calico_openstack.felix.ruleset.log_rule import LONGEST, Origin, log_prefix, policy_origin, profile_origin
from calico_openstack.felix.ruleset.objects import NftChanges, SetRules
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import LogRate, RulesetSettings
from calico_openstack.felix.ruleset.text import print_changes, print_ruleset
from calico_openstack.felix.wanted.state import (
    Changes,
    WantedEndpoint,
    WantedPolicy,
    WantedPool,
    WantedProfile,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.endpoint import EndpointKey, Nat, QosControls
from calico_openstack.model.net import host_net, parse_net
from calico_openstack.model.policy import PolicyKey

GOLDEN = Path(__file__).parent / "golden"
OPEN = PolicyKey("NetworkPolicy", "openstack", "open")
EVERYTHING = QosControls(
    ingress_packet_rate=1000,
    egress_packet_rate=2000,
    egress_packet_burst=50,
    ingress_max_connections=10,
    egress_max_connections=20,
    dscp="EF",
)
SETTINGS = RulesetSettings(
    log_prefix="%t|%k|%p",
    log_rate=LogRate(10, "minute", 20),
    nat_address=host_net("192.0.2.1"),
    nat_ports=(32768, 60999),
    nat_interface="eth+",
    nat_excludes_hosts=True,
    floating_source=True,
)


def guest(number: int, qos: QosControls | None = None, **more: Any) -> WantedEndpoint:
    fields: dict[str, Any] = {
        "interface": f"tap{number}",
        "mac": f"fa:16:3e:00:00:0{number}",
        "addresses": (host_net(f"10.65.0.{number}"), host_net(f"2001:db8::{number}")),
        "tiers": (WantedTier(name="default", ingress=(OPEN,), egress=(OPEN,)),),
        **more,
    }
    key = EndpointKey("openstack", "here", "openstack", f"vm{number}", f"port{number}")
    return WantedEndpoint(key=key, qos=qos, **fields)


def put(*endpoints: WantedEndpoint) -> Changes:
    return Changes(endpoints={one.key: one for one in endpoints})


def cloud(*endpoints: WantedEndpoint) -> Changes:
    both = (WantedRule(action="log"), WantedRule(action="allow"))
    changes = put(*endpoints)
    changes.policies = {OPEN: WantedPolicy(key=OPEN, ingress=both, egress=both)}
    return changes


def with_pools(changes: Changes) -> Changes:
    changes.pools = {
        "guests": WantedPool(cidr=parse_net("10.65.0.0/16"), nat_outgoing=True),
        "guests6": WantedPool(cidr=parse_net("2001:db8::/48"), nat_outgoing=True),
        "elsewhere": WantedPool(cidr=parse_net("10.0.0.0/8")),
    }
    changes.hosts = {"here": (host_net("192.0.2.7"), host_net("2001:db8:7::7"))}
    return changes


def rendered(changes: Changes, settings: RulesetSettings | None = None) -> RulesetRenderer:
    renderer = RulesetRenderer(settings or RulesetSettings())
    renderer.apply(changes)
    return renderer


def golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("BLESS"):
        path.write_text(text)
    assert text == path.read_text()


def test_a_guest_with_all_limits_in_a_cloud_with_pools() -> None:
    floating = guest(2, nats=(Nat(host_net("10.65.0.2"), host_net("198.51.100.2")),))

    golden("limits.nft", print_ruleset(rendered(with_pools(cloud(guest(1, EVERYTHING), floating)), SETTINGS).full()))


def test_without_limits_and_pools_nothing_is_asked_that_was_not_before() -> None:
    renderer = rendered(cloud(guest(1), guest(2)))
    plain = print_ruleset(renderer.full())

    renderer.apply(with_pools(put(guest(2, EVERYTHING))))
    assert print_ruleset(renderer.full()) != plain

    pools = {"guests", "guests6", "elsewhere"}
    changes = put(guest(2))
    changes.pools_removed, changes.hosts_removed = pools, {"here"}
    renderer.apply(changes)
    assert print_ruleset(renderer.full()) == plain


def test_a_second_limited_guest_adds_its_own_chains_and_elements_alone() -> None:
    renderer = rendered(cloud(guest(1, EVERYTHING), guest(2)))

    done = renderer.apply(put(guest(2, EVERYTHING)))

    assert {line.split()[1] for line in print_changes(done).splitlines()} == {"chain", "rule", "element"}
    assert len(chains_written(done)) == 4


def test_a_changed_limit_writes_that_chain_and_nothing_else() -> None:
    renderer = rendered(cloud(guest(1, EVERYTHING), guest(2, EVERYTHING)))
    faster = QosControls(
        ingress_packet_rate=1000,
        egress_packet_rate=3000,
        egress_packet_burst=50,
        ingress_max_connections=10,
        egress_max_connections=20,
        dscp="EF",
    )

    done = renderer.apply(put(guest(1, faster)))

    assert len(done) == 1
    assert [name.rpartition("-")[0] for name in chains_written(done)] == ["egress-rate"]


def test_other_policies_or_addresses_leave_the_buckets_and_counts_alone() -> None:
    renderer = rendered(cloud(guest(1, EVERYTHING)))
    closed = WantedPolicy(key=OPEN, ingress=(), egress=())

    done = renderer.apply(Changes(policies={OPEN: closed}, endpoints=put(guest(1, EVERYTHING, mac=None)).endpoints))

    assert not [name for name in chains_written(done) if "rate" in name or "connections" in name]


def test_a_mark_is_one_chain_for_all_who_have_it() -> None:
    mark = QosControls(dscp=46)
    renderer = rendered(cloud(guest(1, mark), guest(2, mark)))
    chains = next(iter(renderer.full().values())).chains
    assert "dscp-46" in chains

    renderer.apply(put(guest(1)))
    assert "dscp-46" in chains

    renderer.apply(put(guest(2)))
    assert "dscp-46" not in chains
    assert "marking" not in chains


def test_what_upstreams_api_refuses_is_brought_into_bounds_or_is_no_limit() -> None:
    odd = QosControls(
        ingress_packet_rate=-5, egress_packet_rate=10, egress_packet_burst=-1, egress_max_connections=1 << 40
    )
    text = print_ruleset(rendered(cloud(guest(1, odd))).full())

    assert "limit rate over 10/second burst 5 packets drop" in text
    assert "ct count over 4294967295 " in text
    assert "ingress-rate" not in text


@pytest.mark.parametrize(
    ("given", "expected"),
    [(0, 0), (63, 63), (64, None), (-1, None), ("EF", 46), ("af23", 22), ("CS6", 48), ("12", 12), ("x", None)],
)
def test_a_code_point_is_a_number_or_a_name(given: int | str, expected: int | None) -> None:
    assert code_point(given) == expected
    assert code_point(None) is None


@pytest.mark.conformance("P21")
def test_a_log_line_says_where_the_rule_comes_from() -> None:
    origin = policy_origin("security", PolicyKey("NetworkPolicy", "openstack", "web"))

    assert log_prefix("%t %k %n %p 100%", origin) == "security np web openstack/web 100%: "
    assert log_prefix("%k %p", policy_origin("t", PolicyKey("GlobalNetworkPolicy", "", "gate"))) == "gnp gate: "
    assert log_prefix("[%t%k %n]", profile_origin("dev")) == "[pro dev]: "


@pytest.mark.conformance("P21")
def test_a_log_prefix_is_one_short_plain_line() -> None:
    odd = Origin("default", "NetworkPolicy", "openstack", 'a"b\n$c\\ä' + "x" * 300)
    prefix = log_prefix("%n", odd)

    assert prefix.startswith("a'b__c__xxx")
    assert prefix.endswith("x: ")
    assert len(prefix.encode()) == LONGEST


def test_each_log_rule_speaks_for_its_own_policy_or_profile() -> None:
    other = PolicyKey("GlobalNetworkPolicy", "", "gate")
    log = (WantedRule(action="log"),)
    changes = cloud(
        guest(
            1,
            tiers=(WantedTier(name="default", ingress=(OPEN, other), default_pass=True),),
            profiles=("dev",),
        )
    )
    changes.policies = {key: WantedPolicy(key=key, ingress=log) for key in (OPEN, other)}
    changes.profiles = {"dev": WantedProfile(name="dev", ingress=log)}

    chains = next(iter(rendered(changes, RulesetSettings(log_prefix="%p")).full().values())).chains.values()
    said = {
        s.prefix for chain in chains for rule in chain.rules for s in rule.statements if isinstance(s, statements.Log)
    }

    assert said == {"openstack/open: ", "gate: ", "dev: "}


def test_a_floating_ip_is_a_source_only_by_setting_and_only_where_outside_is_known() -> None:
    floating = guest(2, nats=(Nat(host_net("10.65.0.2"), host_net("198.51.100.2")),))
    snat = "snat ip to ip saddr map @outbound4"

    assert snat in print_ruleset(rendered(with_pools(cloud(floating)), SETTINGS).full())
    assert snat not in print_ruleset(rendered(cloud(floating), SETTINGS).full())
    assert snat not in print_ruleset(rendered(with_pools(cloud(floating))).full())


def to_host(protocol: int, ports: tuple[int, int], state: int = statements.NEW) -> walk.Packet:
    """From guest 1 to the host, when its bucket is empty."""
    packet = walk.packet(
        host_net("10.65.0.1"),
        host_net("192.0.2.1"),
        protocol,
        ports=ports,
        source_mac="fa:16:3e:00:00:01",
        in_interface="tap1",
        state=state,
    )
    return dataclasses.replace(packet, tokens=False)


def test_a_guest_that_has_spent_its_packets_still_gets_its_address_and_nothing_else_of_the_host() -> None:
    ruleset = rendered(cloud(guest(1, QosControls(egress_packet_rate=10)))).full()

    assert walk.delivered(ruleset, to_host(17, (68, 67))).result == "accept"
    assert walk.delivered(ruleset, to_host(17, (1024, 53))).result == "drop"
    assert walk.delivered(ruleset, to_host(6, (1024, 80), statements.ESTABLISHED)).result == "drop"
    with_token = dataclasses.replace(to_host(6, (1024, 80), statements.ESTABLISHED), tokens=True)
    assert walk.delivered(ruleset, with_token).result == "accept"


def test_connections_to_the_host_count_as_egress() -> None:
    qos = QosControls(egress_max_connections=2)
    ruleset = rendered(cloud(guest(1, qos)), RulesetSettings(endpoint_to_host="accept")).full()
    third = dataclasses.replace(to_host(6, (1024, 22)), connections=2)

    assert walk.delivered(ruleset, third).result == "drop"
    assert walk.delivered(ruleset, dataclasses.replace(third, connections=1)).result == "accept"


def chains_written(changes: NftChanges) -> list[str]:
    return [operation.chain for operation in changes.operations if isinstance(operation, SetRules)]
