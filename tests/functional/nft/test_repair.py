"""Somebody else changed our tables: the next reading sees it, and one transaction puts it right."""

import subprocess
from collections.abc import Callable, Iterator

import pytest

from calico_openstack.felix.kernel.nft import NftRefused, NftTables
from calico_openstack.felix.ruleset.difference import as_read, difference
from calico_openstack.felix.ruleset.named_sets import INET
from calico_openstack.felix.ruleset.objects import AddElements, NftChanges, SetRules
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import (
    Changes,
    SetId,
    WantedEndpoint,
    WantedMatch,
    WantedPolicy,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import host_net, parse_net
from calico_openstack.model.policy import PolicyKey, PortRange

pytestmark = pytest.mark.root

GROUP = PolicyKey("NetworkPolicy", "openstack", "ossg.default.one")
MEMBERS = SetId("s:members")


@pytest.fixture
def renderer() -> RulesetRenderer:
    rules = (
        WantedRule(action="allow", source=WantedMatch(sets=(MEMBERS,))),
        WantedRule(action="allow", protocol=6, destination=WantedMatch(ports=(PortRange(22, 22),))),
    )
    endpoint = WantedEndpoint(
        key=EndpointKey("openstack", "here", "openstack", "vm", "port"),
        interface="tapone",
        mac="fa:16:3e:00:00:01",
        addresses=(host_net("10.65.0.1"), host_net("2001:db8::1")),
        tiers=(WantedTier(name="default", ingress=(GROUP,), egress=(GROUP,)),),
    )
    made = RulesetRenderer(RulesetSettings())
    made.apply(
        Changes(
            sets={MEMBERS: frozenset({host_net("10.65.0.2"), parse_net("10.66.0.0/16"), parse_net("0.0.0.0/0")})},
            policies={GROUP: WantedPolicy(key=GROUP, ingress=rules, egress=rules)},
            endpoints={endpoint.key: endpoint},
        )
    )
    return made


@pytest.fixture
def kernel(namespace: None, renderer: RulesetRenderer) -> Iterator[NftTables]:
    with NftTables() as tables:
        tables.synchronise(renderer.full())
        yield tables


@pytest.mark.parametrize(
    "damage",
    [
        'delete element inet calico source4 { "tapone" . fa:16:3e:00:00:01 . 10.65.0.1 }',
        'add element inet calico source4 { "tapone" . fa:16:3e:00:00:01 . 10.65.0.9 }',
        'delete element inet calico egress { "tapone" }',
        "delete element inet calico egress { * }\nadd element inet calico egress { * : accept }",
        "add element inet calico set4-s-members { 10.65.0.7 }",
        "flush set inet calico set4-s-members",
        "flush chain inet calico forward",
        "insert rule inet calico forward accept",
        "add rule inet calico to-host accept",
        'add rule inet calico to-host accept comment "2d803a1002122418"',
        "add chain inet calico mine",
        "add set inet calico mine { type ipv4_addr; }",
        "flush table inet calico",
        "delete table inet calico",
        "delete table arp calico",
        "delete table inet calico\nadd table inet calico\nadd set inet calico taps { type ipv4_addr; }",
        "delete chain inet calico input\nadd chain inet calico input { type filter hook input priority 5; }",
        "flush ruleset",
    ],
)
def test_damage_is_seen_and_repaired_in_one_transaction(
    damage: str, nft: Callable[..., str], kernel: NftTables, renderer: RulesetRenderer
) -> None:
    if damage.startswith("delete chain"):
        nft("-f", "-", stdin="flush chain inet calico input\n" + damage)
    else:
        nft("-f", "-", stdin=damage)
    assert kernel.read() != as_read(renderer.full())
    sent = kernel.transactions

    kernel.synchronise(renderer.full())

    assert kernel.read() == as_read(renderer.full())
    assert kernel.transactions == sent + 1


def test_another_table_is_never_touched(nft: Callable[..., str], kernel: NftTables, renderer: RulesetRenderer) -> None:
    nft("-f", "-", stdin="table inet filter {\n chain mine { type filter hook forward priority 5; }\n}")
    before = nft("list", "table", "inet", "filter")
    nft("-f", "-", stdin="delete table inet calico")

    kernel.synchronise(renderer.full())

    assert nft("list", "table", "inet", "filter") == before


def test_a_refused_transaction_changes_nothing_and_names_its_operation(
    kernel: NftTables, renderer: RulesetRenderer
) -> None:
    good = SetRules(INET, "forward", ())
    spec = renderer.full()[INET].sets["taps"].spec._replace(name="no-such-set")

    with pytest.raises(NftRefused, match="no-such-set"):
        kernel.apply(NftChanges((good, AddElements(INET, spec, ((b"x" * 16, None),)))))

    assert kernel.read() == as_read(renderer.full())


def test_a_right_kernel_gets_no_transaction_from_a_fresh_process(renderer: RulesetRenderer, kernel: NftTables) -> None:
    with NftTables() as fresh:
        assert not difference(renderer.full(), fresh.read())
        fresh.synchronise(renderer.full())

        assert fresh.transactions == 0


def test_the_installed_nft_lists_what_we_made(kernel: NftTables, nft: Callable[..., str]) -> None:
    text = nft("list", "ruleset")

    assert '"tapone" . fa:16:3e:00:00:01 . 10.65.0.1' in text
    assert "iifname . ether saddr . ip saddr @source4 accept" in text
    assert subprocess.run(["nft", "-c", "-f", "-"], input=text, text=True, check=False).returncode == 0
