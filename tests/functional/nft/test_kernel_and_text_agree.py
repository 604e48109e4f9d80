"""Our netlink, our text read by nft, and the read-back: three views of one ruleset."""

import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from calico_openstack.felix.kernel.nft import NftTables
from calico_openstack.felix.ruleset import objects
from calico_openstack.felix.ruleset.difference import as_read, difference
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import LogRate, RulesetSettings, Service
from calico_openstack.felix.ruleset.text import print_changes, print_ruleset
from calico_openstack.felix.wanted.state import Wanted
from calico_openstack.model.net import host_net
from calico_openstack.testing.wanted_states import changes, histories, rendered, states

pytestmark = pytest.mark.root
FEW = settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def listed(nft: Callable[..., str]) -> dict[str, object]:
    """What `nft list` says, without handles and without the order in which objects and elements were created."""
    found: dict[str, object] = {}
    rules: dict[str, list[object]] = {}
    for entry in json.loads(nft("-j", "list", "ruleset"))["nftables"]:
        ((kind, content),) = entry.items()
        content.pop("handle", None)
        place = f"{content.get('family')} {content.get('table')}"
        if kind == "rule":
            rules.setdefault(f"{place} {content['chain']}", []).append(content)
        elif kind in ("set", "map"):
            content["elem"] = sorted(map(json.dumps, content.get("elem", [])))
        if kind in ("set", "map", "chain"):
            found[f"{kind} {place} {content['name']}"] = content
    return {**found, **rules}


SETTINGS = [
    RulesetSettings(metadata=Service(host_net("127.0.0.1"), 8775), deny="reject", log_rate=LogRate(3, "hour", 7)),
    RulesetSettings(nat_address=host_net("192.0.2.1"), nat_ports=(1024, 65535), nat_interface="eth+"),
    RulesetSettings(
        nat_address=host_net("2001:db8::9"), nat_ports=(9, 9), nat_interface="eth0", nat_excludes_hosts=True
    ),
]


@pytest.mark.parametrize("chosen", SETTINGS)
def test_the_kernel_gets_the_same_rules_by_netlink_and_by_text(
    nft: Callable[..., str], chosen: RulesetSettings
) -> None:
    @FEW
    @given(histories(2))
    def check(sequence: list[Wanted]) -> None:
        renderer = RulesetRenderer(chosen)
        nft("flush", "ruleset")
        texts, before = [], Wanted()
        with NftTables() as kernel:
            for wanted in sequence:
                transaction = renderer.apply(changes(before, wanted))
                kernel.apply(transaction)
                texts.append(print_changes(transaction))
                before = wanted
        by_netlink = listed(nft)

        nft("flush", "ruleset")
        for text in texts:
            nft("-f", "-", stdin=text)
        by_changes = listed(nft)
        nft("flush", "ruleset")
        nft("-f", "-", stdin=print_ruleset(renderer.full()))
        by_whole = listed(nft)

        assert len(by_netlink) > 35
        assert by_changes == by_netlink
        assert by_whole == by_netlink

    check()


def test_after_every_transaction_the_kernel_holds_exactly_what_is_wanted(nft: Callable[..., str]) -> None:
    @FEW
    @given(histories(5))
    def check(sequence: list[Wanted]) -> None:
        renderer, before = RulesetRenderer(RulesetSettings()), Wanted()
        nft("flush", "ruleset")
        with NftTables() as kernel:
            for wanted in sequence:
                kernel.apply(renderer.apply(changes(before, wanted)))
                before = wanted
                actual = kernel.read()

                assert actual == as_read(renderer.full())
                assert not difference(renderer.full(), actual)
            assert kernel.transactions <= len(sequence)

    check()


def test_whatever_is_in_our_tables_becomes_what_is_wanted_in_one_transaction(nft: Callable[..., str]) -> None:
    @FEW
    @given(states(), states())
    def check(old: Wanted, new: Wanted) -> None:
        nft("flush", "ruleset")
        with NftTables() as kernel:
            kernel.synchronise(rendered(old))
            sent = kernel.transactions

            kernel.synchronise(rendered(new))

            assert kernel.read() == as_read(rendered(new))
            assert kernel.transactions <= sent + 1
            assert kernel.synchronise(rendered(new)) == objects.NftChanges()
            assert kernel.transactions <= sent + 1

    check()
