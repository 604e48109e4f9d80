"""What a batch is split into, so that no packet meets something that is not filled yet."""

from calico_openstack.felix.ruleset.named_sets import INET
from calico_openstack.felix.ruleset.objects import (
    AddChain,
    AddElements,
    AddSet,
    AddTable,
    DropElements,
    DropSet,
    Hook,
    NftChanges,
    Operation,
    Rule,
    SetRules,
    SetSpec,
    apply,
    in_order,
)
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.ruleset.stages import stages
from calico_openstack.felix.ruleset.statements import DROP
from calico_openstack.felix.wanted.state import (
    Changes,
    WantedEndpoint,
    WantedMatch,
    WantedPolicy,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import host_net
from calico_openstack.model.policy import PolicyKey, PortRange

GROUP = PolicyKey("NetworkPolicy", "openstack", "ossg.default.one")
RULES = (Rule((DROP,)),)


def allows(*ports: PortRange) -> Changes:
    rules = tuple(WantedRule(action="allow", protocol=17, destination=WantedMatch(ports=(port,))) for port in ports)
    return Changes(policies={GROUP: WantedPolicy(key=GROUP, ingress=rules)})


def guest() -> WantedEndpoint:
    return WantedEndpoint(
        key=EndpointKey("openstack", "here", "openstack", "vm", "port"),
        interface="tap1",
        mac="fa:16:3e:00:00:01",
        addresses=(host_net("10.65.0.1"),),
        tiers=(WantedTier(name="default", ingress=(GROUP,), egress=(GROUP,)),),
    )


def staged(*operations: Operation) -> list[tuple[Operation, ...]]:
    return [stage.operations for stage in stages(in_order(operations))]


def spec(name: str) -> SetSpec:
    return SetSpec(name, ())


def test_a_port_that_moves_between_sets_is_never_in_a_set_that_is_asked_and_not_filled() -> None:
    renderer = RulesetRenderer(RulesetSettings())
    kernel: dict[object, object] = {}
    first = allows(PortRange(5001, 5001), PortRange(4000, 4100))
    first.endpoints = {guest().key: guest()}
    (made,) = stages(renderer.apply(first))
    apply(kernel, made)  # type: ignore[arg-type]

    prepared, changed_over = stages(renderer.apply(allows(PortRange(4500, 5500), PortRange(22, 22))))

    kinds = {type(operation) for operation in prepared.operations}
    assert kinds == {AddSet, AddElements}
    assert not any(isinstance(operation, AddElements) for operation in changed_over.operations)
    apply(kernel, prepared)  # type: ignore[arg-type]
    apply(kernel, changed_over)  # type: ignore[arg-type]
    assert kernel == renderer.full()


def test_what_only_comes_is_one_transaction() -> None:
    operations = (AddSet(INET, spec("a")), AddChain(INET, "c", None), SetRules(INET, "c", RULES, fresh=True))

    assert staged(*operations) == [operations]


def test_a_new_table_is_one_transaction() -> None:
    operations = (AddTable(INET), AddSet(INET, spec("a")), SetRules(INET, "old", RULES))

    assert staged(*operations) == [operations]


def test_nothing_is_no_transaction() -> None:
    assert list(stages(NftChanges())) == []


def test_a_chain_that_a_map_will_name_is_made_before_the_map_changes() -> None:
    chain = (AddChain(INET, "c", None), SetRules(INET, "c", RULES, fresh=True))
    switch = (DropElements(INET, spec("map"), (b"tap1",)), AddElements(INET, spec("map"), ((b"tap1", None),)))

    assert staged(*chain, *switch) == [chain, switch]


def test_a_chain_with_a_hook_waits_for_the_change_over() -> None:
    hook = Hook("filter", "forward", 0)
    operations = (AddSet(INET, spec("a")), AddChain(INET, "base", hook), SetRules(INET, "old", RULES))

    assert staged(*operations, DropSet(INET, "b")) == [operations[:1], (*operations[1:], DropSet(INET, "b"))]
