"""Printed rulesets against files. `BLESS=1 pytest ...` writes them anew; read every difference. nft reads them, too
(tests/functional/nft/test_goldens.py)."""

import os
from pathlib import Path

import pytest

from calico_openstack.felix.ruleset.boot import boot_text
from calico_openstack.felix.ruleset.objects import AddElements, AddSet, DropElements
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings, Service
from calico_openstack.felix.ruleset.text import print_changes, print_ruleset
from calico_openstack.felix.wanted.state import (
    Changes,
    MemberChange,
    PortMember,
    SetId,
    WantedEndpoint,
    WantedMatch,
    WantedPolicy,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.endpoint import EndpointKey, Nat
from calico_openstack.model.net import host_net, parse_net
from calico_openstack.model.policy import Icmp, PolicyKey, PortRange

GOLDEN = Path(__file__).parent / "golden"
REPOSITORY = Path(__file__).parents[4]
WEB = PolicyKey("NetworkPolicy", "openstack", "ossg.default.web")
GATE = PolicyKey("GlobalNetworkPolicy", "", "gate")
MEMBERS, NAMED = SetId("s:members"), SetId("n:named")


def guest(number: int, *policies: PolicyKey) -> WantedEndpoint:
    return WantedEndpoint(
        key=EndpointKey("openstack", "here", "openstack", f"vm{number}", f"port{number}"),
        interface=f"tap{number}",
        mac=f"fa:16:3e:00:00:0{number}",
        addresses=(host_net(f"10.65.0.{number}"), host_net(f"2001:db8::{number}")),
        allowed_pairs=(parse_net("10.65.9.0/24"),) if number == 2 else (),
        nats=(Nat(host_net("10.65.0.2"), host_net("198.51.100.2")),) if number == 2 else (),
        tiers=(
            WantedTier(name="gate", ingress=(GATE,), default_pass=True),
            WantedTier(name="default", ingress=policies, egress=policies),
        ),
    )


def cloud() -> Changes:
    ports = WantedMatch(ports=(PortRange(80, 80), PortRange(8000, 8080)))
    return Changes(
        sets={
            MEMBERS: frozenset({host_net("10.65.0.1"), parse_net("10.66.0.0/16"), host_net("2001:db8::1")}),
            NAMED: frozenset({PortMember(host_net("10.65.0.2"), 6, 9000)}),
        },
        policies={
            WEB: WantedPolicy(
                key=WEB,
                ingress=(
                    WantedRule(action="allow", protocol=6, destination=ports),
                    WantedRule(action="allow", source=WantedMatch(sets=(MEMBERS,))),
                    WantedRule(action="allow", protocol=1, icmp=Icmp(8)),
                    WantedRule(action="allow", protocol=17, source=WantedMatch(nets=(parse_net("10.0.0.0/8"),))),
                ),
                egress=(WantedRule(action="allow"),),
            ),
            GATE: WantedPolicy(
                key=GATE,
                ingress=(
                    WantedRule(action="log", source=WantedMatch(not_sets=(MEMBERS,))),
                    WantedRule(action="deny", protocol=6, destination=WantedMatch(port_sets=(NAMED,))),
                    WantedRule(action="pass", version=6, not_protocol=17),
                ),
            ),
        },
        endpoints={one.key: one for one in (guest(1, WEB), guest(2, WEB))},
    )


def golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("BLESS"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.fixture
def renderer() -> RulesetRenderer:
    made = RulesetRenderer(RulesetSettings(metadata=Service(host_net("127.0.0.1"), 8775)))
    made.apply(cloud())
    return made


def test_a_whole_ruleset(renderer: RulesetRenderer) -> None:
    golden("two-guests.nft", print_ruleset(renderer.full()))


def test_a_guest_comes_another_goes_and_a_group_changes_in_one_transaction(renderer: RulesetRenderer) -> None:
    changes = Changes(
        members={MEMBERS: MemberChange(frozenset({host_net("10.65.0.3")}), frozenset({parse_net("10.66.0.0/16")}))},
        endpoints={guest(3, WEB).key: guest(3, WEB)},
        endpoints_removed={guest(1).key},
    )

    golden("change.nft", print_changes(renderer.apply(changes)))


def test_adding_a_guest_with_known_policies_adds_elements_alone(renderer: RulesetRenderer) -> None:
    text = print_changes(renderer.apply(Changes(endpoints={guest(3).key: guest(3, WEB)})))

    assert {line.split()[:2] == ["add", "element"] for line in text.splitlines()} == {True}


def test_a_new_port_in_a_group_is_another_set_and_never_the_old_one_with_other_elements(
    renderer: RulesetRenderer,
) -> None:
    """Else a packet in the old chain would find the elements of the new one."""
    policy = cloud().policies[WEB]
    more = WantedRule(action="allow", protocol=6, destination=WantedMatch(ports=(PortRange(443, 443),)))
    wider = WantedPolicy(key=WEB, ingress=(*(policy.ingress or ()), more), egress=policy.egress)

    changes = renderer.apply(Changes(policies={WEB: wider}))

    added = {operation.spec.name for operation in changes.operations if isinstance(operation, AddSet)}
    filled = {operation.spec.name for operation in changes.operations if isinstance(operation, AddElements)}
    assert added == filled != set()
    assert not any(isinstance(operation, DropElements) for operation in changes.operations)


def test_applying_the_same_changes_again_is_no_transaction(renderer: RulesetRenderer) -> None:
    assert not renderer.apply(cloud())


def test_the_last_guest_takes_its_chains_and_sets_along(renderer: RulesetRenderer) -> None:
    empty = RulesetRenderer(RulesetSettings(metadata=Service(host_net("127.0.0.1"), 8775)))
    renderer.apply(Changes(endpoints_removed={guest(1).key, guest(2).key}))

    assert print_ruleset(renderer.full()) == print_ruleset(empty.full())


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_thousand_rules_cost_a_packet_what_ten_cost(direction: str) -> None:
    def chain_length(count: int) -> int:
        rules = []
        for n in range(count):
            peer = WantedMatch(nets=(parse_net(f"10.{n % 250}.{n // 250}.0/24"),)) if n % 2 else WantedMatch()
            far, near = (peer, WantedMatch()) if direction == "ingress" else (WantedMatch(), peer)
            near = WantedMatch(nets=near.nets, ports=(PortRange(1000 + 2 * n, 1000 + 2 * n + n % 3),))
            rules.append(WantedRule(action="allow", protocol=6 + 11 * (n % 2), source=far, destination=near))
        policy = WantedPolicy(key=WEB, **{direction: tuple(rules)})
        renderer = RulesetRenderer(RulesetSettings())
        renderer.apply(Changes(policies={WEB: policy}, endpoints={guest(1).key: guest(1, WEB)}))
        (content, _) = renderer.full().values()
        return max(len(chain.rules) for name, chain in content.chains.items() if name.startswith(f"{direction}-"))

    assert chain_length(1000) == chain_length(10)


def test_the_packaged_boot_file_is_the_boot_ruleset() -> None:
    assert (REPOSITORY / "packaging" / "nft" / "calico-boot.nft").read_text() == boot_text()


def test_an_endpoint_whose_interface_is_no_tap_is_refused_with_a_reason(renderer: RulesetRenderer) -> None:
    stray = guest(4, WEB)
    stray = WantedEndpoint(key=stray.key, interface="eth0", mac=stray.mac, addresses=stray.addresses)

    assert not renderer.apply(Changes(endpoints={stray.key: stray}))
    assert renderer.refused == {stray.key: "interface 'eth0' begins with none of tap"}
