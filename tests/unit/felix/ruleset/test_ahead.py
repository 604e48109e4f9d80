"""Policies that are programmed before anybody here needs them (AssumeNeededOnEveryNode)."""

import msgspec

from calico_openstack.felix.ruleset.named_sets import INET, INGRESS
from calico_openstack.felix.ruleset.objects import AddElements, NftChanges
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
from calico_openstack.model.net import host_net
from calico_openstack.model.policy import PolicyKey

WEB = PolicyKey("GlobalNetworkPolicy", "", "web")
GROUP = SetId("s:group")
FROM_GROUP = WantedRule(action="allow", protocol=6, source=WantedMatch(sets=(GROUP,)))
AHEAD = WantedPolicy(key=WEB, ingress=(FROM_GROUP,), ahead=True)
GUEST = WantedEndpoint(
    key=EndpointKey("openstack", "h", "openstack", "vm", "a"),
    interface="tapa",
    mac="fa:16:3e:00:00:01",
    addresses=(host_net("10.0.0.1"),),
    tiers=(WantedTier(name="default", ingress=(WEB,)),),
)


def begun(policy: WantedPolicy = AHEAD) -> tuple[RulesetRenderer, NftChanges]:
    renderer = RulesetRenderer(RulesetSettings())
    members = frozenset({host_net("10.0.0.7")})
    return renderer, renderer.apply(Changes(sets={GROUP: members}, policies={WEB: policy}))


def policy_chains(renderer: RulesetRenderer) -> set[str]:
    return {name for name in renderer.full()[INET].chains if name.startswith(("ingress-", "egress-"))}


def sets_with(renderer: RulesetRenderer, address: str) -> set[str]:
    packed = host_net(address).packed
    return {name for name, named in renderer.full()[INET].sets.items() if packed in named.elements}


def test_chains_and_sets_are_there_for_the_directions_that_the_policy_governs() -> None:
    renderer, _ = begun()

    (chain,) = policy_chains(renderer)
    assert chain.startswith("ingress-")
    assert sets_with(renderer, "10.0.0.7")
    assert b"tapa".ljust(16, b"\0") not in renderer.full()[INET].sets[INGRESS.name].elements


def test_without_the_hint_a_policy_that_nobody_needs_costs_nothing() -> None:
    renderer, _ = begun(msgspec.structs.replace(AHEAD, ahead=False))

    assert not policy_chains(renderer)
    assert not sets_with(renderer, "10.0.0.7")


def test_its_first_endpoint_finds_everything_there() -> None:
    renderer, _ = begun()
    before = sets_with(renderer, "10.0.0.7")
    (chain,) = policy_chains(renderer)

    changes = renderer.apply(Changes(endpoints={GUEST.key: GUEST}))

    touched = {op.spec.name for op in changes.operations if isinstance(op, AddElements)}
    assert not touched & before
    assert chain in policy_chains(renderer)
    verdict = renderer.full()[INET].sets[INGRESS.name].elements[b"tapa".ljust(16, b"\0")]
    assert chain in repr(verdict)


def test_it_goes_with_the_hint_and_with_the_policy() -> None:
    for changes in (
        Changes(policies={WEB: msgspec.structs.replace(AHEAD, ahead=False)}),
        Changes(policies_removed={WEB}, sets_removed={GROUP}),
    ):
        renderer, _ = begun()
        renderer.apply(changes)
        assert not policy_chains(renderer)
        assert not sets_with(renderer, "10.0.0.7")


def test_it_stays_when_its_last_endpoint_goes() -> None:
    renderer, _ = begun()
    chains = policy_chains(renderer)
    renderer.apply(Changes(endpoints={GUEST.key: GUEST}))

    renderer.apply(Changes(endpoints_removed={GUEST.key}))

    assert policy_chains(renderer) == chains
    assert sets_with(renderer, "10.0.0.7")


def test_it_may_be_left_out() -> None:
    renderer = RulesetRenderer(RulesetSettings(), ahead=False)
    renderer.apply(Changes(sets={GROUP: frozenset({host_net("10.0.0.7")})}, policies={WEB: AHEAD}))

    assert not policy_chains(renderer)
