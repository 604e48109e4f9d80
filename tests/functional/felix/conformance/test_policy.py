"""Who may talk to whom under policies of every form: real TCP and UDP flows between three guests, both families."""

from itertools import permutations

import pytest

from calico_openstack.testing.trio import ALLOW, DENY, Trio, policy
from calico_openstack.testing.written import document

pytestmark = pytest.mark.root

ALL = {f"w{one}>w{two}" for one, two in permutations(range(3), 2)}
FROM_W1 = {**ALLOW, "source": {"selector": "w == 'w1'"}}
TO_W1 = {**ALLOW, "destination": {"selector": "w == 'w1'"}}


def to(name: str) -> set[str]:
    return {pair for pair in ALL if pair.endswith(f">{name}")}


def by(name: str) -> set[str]:
    return {pair for pair in ALL if pair.startswith(f"{name}>")}


@pytest.mark.conformance("P1")
def test_a_profile_that_allows_all_gives_a_full_mesh_and_without_it_nothing_passes(trio: Trio) -> None:
    trio.expect(ALL)

    trio.put(*(one.document(profiles=[]) for one in trio.workloads))
    trio.expect([])


@pytest.mark.conformance("P2")
def test_an_ingress_policy_lets_in_whom_it_names_and_leaves_egress_alone(trio: Trio) -> None:
    trio.put(policy("in", "w == 'w0'", ingress=[FROM_W1]))

    trio.expect(ALL - {"w2>w0"})


@pytest.mark.conformance("P3")
def test_an_egress_policy_lets_out_to_whom_it_names_and_leaves_ingress_alone(trio: Trio) -> None:
    trio.put(policy("out", "w == 'w0'", egress=[TO_W1]))

    trio.expect(ALL - {"w0>w2"})


@pytest.mark.conformance("P4")
def test_a_policy_of_both_types_with_ingress_rules_only_shuts_egress(trio: Trio) -> None:
    trio.put(policy("in", "w == 'w0'", ingress=[FROM_W1], types=["Ingress", "Egress"]))

    trio.expect(ALL - {"w2>w0"} - by("w0"))


@pytest.mark.conformance("P5")
def test_egress_rules_count_only_if_the_type_is_named(trio: Trio) -> None:
    trio.put(policy("both", "w == 'w0'", [ALLOW], [DENY], types=["Ingress"]))
    trio.expect(ALL)

    trio.put(policy("both", "w == 'w0'", [ALLOW], [DENY], types=["Ingress", "Egress"]))
    trio.expect(ALL - by("w0"))


@pytest.mark.conformance("P6")
def test_an_ingress_policy_without_rules_shuts_ingress_only(trio: Trio) -> None:
    trio.put(policy("shut", "w == 'w0'", ingress=[]))

    trio.expect(ALL - to("w0"))


TIERS = [document("Tier", name, "", {"order": order}) for name, order in (("first", 1), ("second", 2))]


@pytest.mark.conformance("P7")
def test_tiers_are_asked_in_order_and_staged_policies_never(trio: Trio) -> None:
    denied = policy("first.deny", "w == 'w0'", [DENY], tier="first")
    allowed = policy("second.allow", "w == 'w0'", [ALLOW], tier="second")
    trio.put(*TIERS, denied, allowed)
    trio.expect(ALL - to("w0"))

    # Pass leaves the tier; what nobody passes ends with the tier.
    trio.put(policy("first.deny", "w == 'w0'", [{"action": "Pass", "source": {"selector": "w == 'w1'"}}], tier="first"))
    trio.expect(ALL - {"w2>w0"})

    # A tier whose default is Pass hands on what none of its rules decides.
    trio.put(document("Tier", "first", "", {"order": 1, "defaultAction": "Pass"}))
    trio.expect(ALL)
    trio.put(policy("second.allow", "w == 'w0'", [FROM_W1], tier="second"))
    trio.expect(ALL - {"w2>w0"})

    # Another order of the tiers is another result.
    trio.put(policy("first.deny", "w == 'w0'", [DENY], tier="first"))
    trio.expect(ALL - to("w0"))
    trio.put(document("Tier", "first", "", {"order": 3, "defaultAction": "Pass"}))
    trio.expect(ALL - {"w2>w0"})


def test_a_tier_that_is_not_there_shuts_what_its_policies_govern_and_nothing_else(trio: Trio) -> None:
    denied = policy(
        "first.deny", "w == 'w0'", [{"action": "Deny", "source": {"selector": "w == 'w1'"}}, ALLOW], tier="first"
    )
    allowed = policy("second.allow", "w == 'w0'", [ALLOW], tier="second")
    trio.put(*TIERS, denied, allowed)
    trio.expect(ALL - {"w1>w0"})

    trio.delete(TIERS[0], refused=True)
    trio.expect(ALL - to("w0"))
    assert [reason for reason in trio.store.complaints.values() if "tier first does not exist" in reason]

    trio.put(TIERS[0])
    trio.expect(ALL - {"w1>w0"})


@pytest.mark.conformance("P7")
def test_staged_policies_change_nothing(trio: Trio) -> None:
    trio.put(
        *TIERS,
        policy("first.staged", "all()", [DENY], [DENY], kind="StagedGlobalNetworkPolicy", tier="first"),
        policy("first.also", "all()", [DENY], kind="StagedNetworkPolicy", tier="first"),
    )
    trio.expect(ALL)

    trio.put(policy("second.in", "w == 'w0'", ingress=[FROM_W1], tier="second"))
    trio.expect(ALL - {"w2>w0"})
