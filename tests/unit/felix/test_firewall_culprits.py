"""A policy or a set that the kernel refuses costs those who need it, and nobody else."""

from collections.abc import Callable

import msgspec
import pytest

from calico_openstack.felix.firewall import Firewall
from calico_openstack.felix.ruleset.named_sets import INET
from calico_openstack.felix.ruleset.objects import AddElements, AddSet, NamedSet, Operation, SetRules
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import (
    Changes,
    SetId,
    Wanted,
    WantedEndpoint,
    WantedMatch,
    WantedPolicy,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import parse_net
from calico_openstack.model.policy import PolicyKey
from calico_openstack.testing.fake_kernel import FakeKernel, FakeTables

GOOD, BAD = PolicyKey("NetworkPolicy", "openstack", "good"), PolicyKey("NetworkPolicy", "openstack", "bad")
GROUP = SetId("s:group")
MEMBERS = frozenset({parse_net("10.1.0.1"), parse_net("10.1.0.2")})


def endpoint(name: str, *policies: PolicyKey) -> WantedEndpoint:
    key = EndpointKey("openstack", "h", "openstack", "vm", name)
    tier = WantedTier(name="default", ingress=policies)
    address = parse_net(f"10.0.0.{len(name)}")
    return WantedEndpoint(key=key, interface=f"tap{name}", mac="fa:16:3e:00:00:01", addresses=(address,), tiers=(tier,))


ONE, TWO, THREE = endpoint("o", GOOD), endpoint("tw", BAD), endpoint("thr", GOOD, BAD)
POLICIES = {
    GOOD: WantedPolicy(key=GOOD, ingress=(WantedRule(action="allow", protocol=6),)),
    BAD: WantedPolicy(key=BAD, ingress=(WantedRule(action="allow", source=WantedMatch(sets=(GROUP,))),)),
}


def state(*endpoints: WantedEndpoint) -> Changes:
    return Changes(sets={GROUP: MEMBERS}, policies=POLICIES, endpoints={one.key: one for one in endpoints})


class Stage:
    def __init__(self, kernel: FakeKernel | None = None) -> None:
        self.kernel = kernel or FakeKernel()
        self.wanted = Wanted()
        self.firewall = Firewall(RulesetSettings(), self.wanted, FakeTables(self.kernel))

    def step(self, changes: Changes, now: float) -> bool:
        self.wanted.apply(changes)
        return self.firewall.step(changes, now)

    def knows(self, one: WantedEndpoint) -> bool:
        return one.interface in repr(self.kernel.ruleset)


def rendered() -> dict[str, NamedSet]:
    stage = Stage()
    stage.step(state(TWO), 0)
    return stage.kernel.ruleset[INET].sets


GROUP_SETS = {name for name, named in rendered().items() if parse_net("10.1.0.2").packed in named.elements}


def makes(operation: Operation) -> bool:
    return isinstance(operation, AddSet) and operation.spec.name in GROUP_SETS


def fills(operation: Operation) -> bool:
    return isinstance(operation, AddElements) and operation.spec.name in GROUP_SETS


def asks(operation: Operation) -> bool:
    return isinstance(operation, SetRules) and any(name in repr(operation.rules) for name in GROUP_SETS)


@pytest.mark.parametrize("refuses", [makes, fills, asks])
def test_who_needs_what_is_refused_passes_nothing_and_the_others_go_on(refuses: Callable[[Operation], bool]) -> None:
    stage = Stage()
    stage.step(state(ONE), 0)
    stage.kernel.refuses = refuses

    assert stage.step(state(TWO, THREE), 1)
    later = endpoint("later", GOOD)
    assert stage.step(Changes(endpoints={later.key: later}), 1.5)

    assert [stage.knows(one) for one in (ONE, TWO, THREE, later)] == [True, False, False, True]
    assert set(stage.firewall.refused) == {TWO.key, THREE.key}
    assert "refused by order" in stage.firewall.refused[TWO.key]
    assert len(stage.firewall.ledgers()["nft endpoint"]) == 2


def test_also_at_the_start_the_object_at_fault_is_left_out_and_not_everything() -> None:
    stage = Stage()
    stage.kernel.refuses = fills

    assert stage.step(state(ONE, TWO, THREE), 0)

    assert [stage.knows(one) for one in (ONE, TWO, THREE)] == [True, False, False]


def test_however_many_need_it() -> None:
    stage = Stage()
    stage.kernel.refuses = fills
    many = [endpoint(f"many{number}", BAD) for number in range(40)]

    assert stage.step(state(ONE, *many), 0)

    assert stage.knows(ONE)
    assert set(stage.firewall.refused) == {one.key for one in many}


def test_they_are_tried_again_together_with_a_growing_pause() -> None:
    stage = Stage()
    stage.kernel.refuses = fills
    stage.step(state(ONE, TWO, THREE), 10)
    assert stage.firewall.wake_at() == 11

    assert stage.step(Changes(), 11)
    assert set(stage.firewall.refused) == {TWO.key, THREE.key}
    assert stage.firewall.wake_at() == 13
    stage.kernel.refuses = lambda operation: False
    assert stage.step(Changes(), 13)

    assert set(stage.firewall.refused) == set()
    assert stage.firewall.wake_at() is None
    assert all(stage.knows(one) for one in (ONE, TWO, THREE))


def test_a_policy_that_is_mended_is_tried_at_once() -> None:
    stage = Stage()
    stage.kernel.refuses = fills
    stage.step(state(ONE, TWO), 10)

    mended = WantedPolicy(key=BAD, ingress=(WantedRule(action="allow", protocol=17),))
    stage.step(Changes(policies={BAD: mended}), 10.1)
    assert stage.firewall.wake_at() == 0
    stage.step(Changes(), 10.2)

    assert stage.knows(TWO)
    assert set(stage.firewall.refused) == set()


def test_a_change_of_a_policy_in_force_that_is_refused_closes_its_endpoints_and_not_the_host() -> None:
    stage = Stage()
    stage.step(state(ONE, TWO), 0)
    stage.kernel.refuses = lambda operation: isinstance(operation, AddElements) and b"\x84" in dict(operation.elements)
    worse = WantedPolicy(key=BAD, ingress=(WantedRule(action="allow", protocol=0x84),))

    assert stage.step(Changes(policies={BAD: worse}), 1)

    assert [stage.knows(one) for one in (ONE, TWO)] == [True, False]


def test_what_all_packets_pass_through_is_nobody_s_fault() -> None:
    stage = Stage()
    stage.kernel.refuses = lambda operation: isinstance(operation, SetRules) and operation.chain == "forward"

    assert not stage.step(state(ONE), 0)

    assert "refused by order" in (stage.firewall.trouble or "")
    assert set(stage.firewall.refused) == set()


@pytest.mark.parametrize("refuses", [makes, fills, asks])
def test_what_is_programmed_ahead_of_need_and_refused_costs_nobody_anything(
    refuses: Callable[[Operation], bool],
) -> None:
    stage = Stage()
    stage.kernel.refuses = refuses
    changes = state(ONE)
    changes.policies = {GOOD: POLICIES[GOOD], BAD: msgspec.structs.replace(POLICIES[BAD], ahead=True)}

    assert stage.step(changes, 0)
    assert stage.knows(ONE)
    # Who needs it is held back, as ever.
    assert stage.step(Changes(endpoints={TWO.key: TWO}), 1)
    assert set(stage.firewall.refused) == {TWO.key}
    stage.kernel.refuses = lambda operation: False
    assert stage.step(Changes(), 10)
    assert stage.knows(TWO)
