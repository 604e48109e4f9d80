"""Host endpoints in the ruleset: as text, what they cost, and what passes whatever policies say."""

import dataclasses
import os
from pathlib import Path

import pytest

from calico_openstack.felix.ruleset import named_sets, objects, walk
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.ruleset.statements import ESTABLISHED, SetMark
from calico_openstack.felix.ruleset.text import print_changes, print_ruleset
from calico_openstack.felix.wanted.state import (
    Changes,
    WantedHostEndpoint,
    WantedMatch,
    WantedPolicy,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.failsafe import parse_failsafes
from calico_openstack.model.net import host_net
from calico_openstack.model.policy import PolicyKey, PortRange

GOLDEN = Path(__file__).parent / "golden"
WEB = PolicyKey("GlobalNetworkPolicy", "", "web")
STAGES = ("tiers", "forward", "untracked", "pre_dnat")
OUTSIDE = {4: ("192.0.2.9", "198.51.100.9"), 6: ("2001:db8::9", "2001:db9::9")}
HERE = {4: "192.0.2.1", 6: "2001:db8::1"}


def policy() -> WantedPolicy:
    rule = WantedRule(action="allow", protocol=6, destination=WantedMatch(ports=(PortRange(80, 80),)))
    return WantedPolicy(key=WEB, ingress=(rule,), egress=(rule,))


def hosts(*interfaces: str, stages: tuple[str, ...] = STAGES) -> Changes:
    tiers = (WantedTier(name="default", ingress=(WEB,), egress=(WEB,)),)
    early = (WantedTier(name="default", ingress=(WEB,), egress=(WEB,), default_pass=True),)
    of_stage = {stage: early if stage in ("untracked", "pre_dnat") else tiers for stage in stages}
    return Changes(
        policies={WEB: policy()},
        host_endpoints={name: WantedHostEndpoint(name=name, interface=name, **of_stage) for name in interfaces},
        host_interfaces={name: name for name in interfaces},
    )


def golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("BLESS"):
        path.write_text(text)
    assert text == path.read_text()


def ruleset(changes: Changes, settings: RulesetSettings | None = None) -> objects.Ruleset:
    renderer = RulesetRenderer(settings or RulesetSettings())
    renderer.apply(changes)
    return renderer.full()


def test_a_ruleset_and_the_transaction_for_one_interface_more() -> None:
    failsafes = parse_failsafes("tcp:22,udp:192.0.2.0/24:68,tcp:[2001:db8::/32]:179")
    renderer = RulesetRenderer(RulesetSettings(failsafe_in=failsafes))
    renderer.apply(hosts("eth0", "*"))
    golden("host-endpoints.nft", print_ruleset(renderer.full()))

    golden("host-endpoints-change.nft", print_changes(renderer.apply(hosts("eth1"))))


def test_one_interface_more_is_elements_alone() -> None:
    renderer = RulesetRenderer(RulesetSettings())
    renderer.apply(hosts("eth0"))

    text = print_changes(renderer.apply(hosts("eth1")))

    assert {tuple(line.split()[:2]) for line in text.splitlines()} == {("add", "element")}


def test_a_packet_costs_the_same_for_many_interfaces_and_failsafe_ports() -> None:
    def rules(interfaces: int, ports: int) -> dict[str, int]:
        failsafes = parse_failsafes(
            ",".join(f"tcp:{port},tcp:10.0.0.0/8:{port + 1000}" for port in range(1, ports + 1))
        )
        chosen = RulesetSettings(failsafe_in=failsafes, failsafe_out=failsafes)
        (content, _) = ruleset(hosts(*(f"eth{n}" for n in range(interfaces))), chosen).values()
        return {name: len(chain.rules) for name, chain in content.chains.items()}

    assert rules(1, 1) == rules(50, 200)


def test_without_host_endpoints_there_is_nothing_of_them() -> None:
    renderer = RulesetRenderer(RulesetSettings())
    renderer.apply(Changes())
    empty = print_ruleset(renderer.full())
    renderer.apply(hosts("eth0", "*"))
    assert "failsafe-ingress" in print_ruleset(renderer.full())

    renderer.apply(
        Changes(
            host_endpoints_removed={"eth0", "*"},
            host_interfaces_removed={"eth0", "*"},
            policies_removed={WEB},
        )
    )

    assert print_ruleset(renderer.full()) == empty


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_costs_nothing_while_no_policy_speaks_in_it(stage: str) -> None:
    """But for the last, which is there for what no policy allows."""
    (content, _) = ruleset(hosts("eth0", stages=(stage,))).values()
    maps = {name for name in content.sets if name.startswith("host-") and name != "host-icmpv6"}

    normal = {"host-discovery", "host-ingress", "host-egress", "host-translated"}
    more = {
        "tiers": set(),
        "forward": {"host-forward-ingress", "host-forward-egress"},
        "untracked": {"host-untracked-ingress", "host-untracked-egress"},
        "pre_dnat": {"host-pre-dnat"},
    }
    assert maps == normal | more[stage]
    assert ("raw-output" in content.chains) == (stage in ("untracked", "pre_dnat"))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("stages", [(), ("untracked",), ("pre_dnat",)])
def test_failsafe_ports_are_open_to_their_networks_only(version: int, stages: tuple[str, ...]) -> None:
    near, far = OUTSIDE[version]
    network = {4: "192.0.2.0/24", 6: "[2001:db8::/32]"}[version]
    overlapping = {4: "192.0.2.0/25", 6: "[2001:db8::/64]"}[version]
    chosen = RulesetSettings(failsafe_in=parse_failsafes(f"tcp:22,tcp:{network}:23,tcp:{overlapping}:23,udp:24"))
    rules = ruleset(hosts("eth0", stages=stages), chosen)

    def passes(peer: str, port: int, protocol: int = 6) -> bool:
        packet = walk.packet(host_net(peer), host_net(HERE[version]), protocol, ports=(1024, port), in_interface="eth0")
        return walk.delivered(rules, packet).result == "accept"

    assert (passes(near, 22), passes(far, 22), passes(near, 22, 17)) == (True, True, False)
    assert (passes(near, 23), passes(far, 23), passes(near, 24), passes(far, 24, 17)) == (True, False, False, True)


@pytest.mark.parametrize("direction", ["in", "out"])
def test_where_no_flows_are_known_answers_of_failsafe_ports_pass_by_their_source_port(direction: str) -> None:
    """A connection from here to etcd, and one from outside to SSH: an untracked policy denies all."""
    closed = WantedPolicy(key=WEB, ingress=(WantedRule(action="deny"),), egress=(WantedRule(action="deny"),))
    changes = dataclasses.replace(hosts("eth0", stages=("untracked",)), policies={WEB: closed})
    here, there = host_net(HERE[4]), host_net(OUTSIDE[4][0])
    rules = ruleset(changes)

    def passes(source: int) -> bool:
        if direction == "in":
            answer = walk.packet(there, here, 6, ports=(source, 40000), in_interface="eth0", state=ESTABLISHED)
            return walk.walk(rules, answer, "prerouting").result == "accept"
        answer = walk.packet(here, there, 6, ports=(source, 40000), out_interface="eth0", state=ESTABLISHED)
        return walk.walk(rules, answer, "output").result == "accept"

    assert passes(2379)
    assert passes(22) == (direction == "out")
    assert not passes(8080)


def test_a_pre_dnat_policy_opens_no_other_interface() -> None:
    """It has spoken for the interface where packets arrive; the one where they leave has its own policies."""
    deny = PolicyKey("GlobalNetworkPolicy", "", "deny")
    changes = hosts("eth0", stages=("pre_dnat",))
    changes.policies[deny] = WantedPolicy(key=deny, egress=(WantedRule(action="deny"),))
    closed = (WantedTier(name="default", egress=(deny,)),)
    changes.host_endpoints["eth1"] = WantedHostEndpoint(name="eth1", interface="eth1", forward=closed)
    changes.host_interfaces["eth1"] = "eth1"
    packet = walk.packet(
        host_net(OUTSIDE[4][0]), host_net(OUTSIDE[4][1]), 6, ports=(1024, 80), in_interface="eth0", out_interface="eth1"
    )

    assert walk.forwarded(ruleset(changes), packet).result == "drop"
    assert walk.forwarded(ruleset(changes), dataclasses.replace(packet, out_interface="eth2")).result == "accept"


@pytest.mark.parametrize("stages", [("tiers",), STAGES])
def test_a_mark_that_somebody_else_has_set_means_nothing(stages: tuple[str, ...]) -> None:
    """Other software may mark before us, also what guests send; our bits count from where we have set them."""
    settings = RulesetSettings()
    rendered = ruleset(hosts("eth0", stages=stages), settings)
    first = rendered[named_sets.INET].chains["raw-prerouting"].rules[0]
    packet = walk.packet(
        host_net(OUTSIDE[4][0]), host_net(OUTSIDE[4][1]), 6, ports=(1, 2), in_interface="eth1", out_interface="eth0"
    )

    assert first.statements == (SetMark(settings.mark * 3, clear=True),)
    if "forward" not in stages:
        marked = dataclasses.replace(packet, mark=settings.mark << 1)
        assert walk.forwarded(rendered, marked).result == "accept"
