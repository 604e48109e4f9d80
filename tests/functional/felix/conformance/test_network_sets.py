"""Rules by label that match sets of networks, as the sets come, change, overlap and go: real flows, both families.

The rule under test: w2 may be reached by whoever has the label `role: client`. w0 and w1 have none of their own.
"""

import random

import pytest

from calico_openstack.testing.trio import ALLOW, Trio, policy
from calico_openstack.testing.written import Document, document

pytestmark = pytest.mark.root

RULE = policy("clients", "w == 'w2'", [{**ALLOW, "source": {"selector": "role == 'client'"}}])
W0, W1 = ("10.65.0.1/32", "2001:db8:a41::1/128"), ("10.65.0.2/32", "2001:db8:a41::2/128")
BOTH = ("10.65.0.0/30", "2001:db8:a41::/126")
OTHERS = {"w0>w1", "w1>w0", "w2>w0", "w2>w1"}


def network_set(name: str, *nets: str, kind: str = "GlobalNetworkSet", role: str = "client") -> Document:
    return document(
        kind, name, "" if kind.startswith("Global") else "openstack", {"nets": list(nets)}, labels={"role": role}
    )


@pytest.fixture
def ruled(trio: Trio) -> Trio:
    trio.put(RULE)
    return trio


def reached_by(trio: Trio, *names: str) -> None:
    trio.expect(OTHERS | {f"{name}>w2" for name in names})


@pytest.mark.conformance("P13")
def test_a_selector_that_matches_nobody_lets_nobody_in(ruled: Trio) -> None:
    reached_by(ruled)

    ruled.put(network_set("others", *BOTH, role="server"))
    reached_by(ruled)


@pytest.mark.conformance("P14")
@pytest.mark.parametrize("kind", ["GlobalNetworkSet", "NetworkSet"])
def test_whom_a_set_covers_gets_in(ruled: Trio, kind: str) -> None:
    # A namespaced policy's selectors see its own namespace.
    ruled.delete(RULE)
    ruled.put(
        policy("clients", "w == 'w2'", [{**ALLOW, "source": {"selector": "role == 'client'"}}], kind="NetworkPolicy")
        if kind == "NetworkSet"
        else RULE,
        network_set("one", *W0, kind=kind),
    )
    reached_by(ruled, "w0")

    ruled.put(network_set("two", *W1, kind=kind))
    reached_by(ruled, "w0", "w1")


@pytest.mark.conformance("P14")
def test_a_set_of_one_family_says_nothing_about_the_other(ruled: Trio) -> None:
    ruled.put(network_set("one", W0[0], W1[1]))

    ruled.expect_where(
        lambda sender, receiver, _, __, version: receiver != "w2" or (sender, version) in (("w0", 4), ("w1", 6))
    )


@pytest.mark.conformance("P15")
def test_changed_members_count_at_once_and_back(ruled: Trio) -> None:
    for _ in range(3):
        ruled.put(network_set("one", *W0))
        reached_by(ruled, "w0")
        ruled.put(network_set("one", *W1))
        reached_by(ruled, "w1")
        ruled.put(network_set("one", "192.0.2.0/24", *W0, *W1))
        reached_by(ruled, "w0", "w1")
        ruled.put(network_set("one"))
        reached_by(ruled)


@pytest.mark.conformance("P16")
def test_everything_as_a_network_matches_everybody_until_it_is_taken_back(ruled: Trio) -> None:
    ruled.put(network_set("one", *W0))
    for _ in range(3):
        ruled.put(network_set("one", "0.0.0.0/0", "::/0"))
        reached_by(ruled, "w0", "w1")
        ruled.put(network_set("one", *W0, "0.0.0.0/0", "::/0"))
        reached_by(ruled, "w0", "w1")
        ruled.put(network_set("one", *W0))
        reached_by(ruled, "w0")

    ruled.put(network_set("one", "0.0.0.0/0"))
    ruled.expect_where(lambda _, receiver, __, ___, version: receiver != "w2" or version == 4)
    ruled.put(network_set("one", "::/0"))
    ruled.expect_where(lambda _, receiver, __, ___, version: receiver != "w2" or version == 6)


@pytest.mark.conformance("P17")
def test_overlapping_and_repeated_members_are_a_union_that_leaves_nothing_behind(ruled: Trio) -> None:
    ruled.put(network_set("one", *W0, *W0, *BOTH), network_set("two", *W0, "10.65.0.0/24"))
    reached_by(ruled, "w0", "w1")

    # What covered the others goes; what it covered is still there.
    ruled.put(network_set("one", *W0, *W0))
    ruled.expect_where(
        lambda sender, receiver, _, __, version: (
            receiver != "w2" or (sender, version) in (("w0", 4), ("w0", 6), ("w1", 4))
        )
    )
    ruled.put(network_set("two", *W0))
    reached_by(ruled, "w0")
    ruled.delete(network_set("one"))
    reached_by(ruled, "w0")
    ruled.delete(network_set("two"))
    reached_by(ruled)

    # A network inside another one, which goes first.
    ruled.put(network_set("one", "10.65.0.0/31", "2001:db8:a41::/127"), network_set("two", *BOTH))
    reached_by(ruled, "w0", "w1")
    ruled.delete(network_set("two"))
    reached_by(ruled, "w0")


@pytest.mark.conformance("P18")
def test_labels_of_guests_and_of_sets_count_side_by_side(ruled: Trio) -> None:
    ruled.put(ruled.workloads[1].document({"role": "client"}), network_set("one", *W0))
    reached_by(ruled, "w0", "w1")

    ruled.delete(network_set("one"))
    reached_by(ruled, "w1")

    # Also if the set had the guest's own address.
    ruled.put(network_set("one", *W1))
    reached_by(ruled, "w1")
    ruled.delete(network_set("one"))
    reached_by(ruled, "w1")


@pytest.mark.conformance("P19", "P16", "P17")
def test_after_much_coming_and_going_the_last_state_counts(ruled: Trio) -> None:
    chance = random.Random(19)
    nets = (*W0, *W1, *BOTH, "10.65.0.0/24", "10.65.0.0/31", "0.0.0.0/0", "::/0", "2001:db8::/32", "192.0.2.0/24")
    for turn in range(60):
        name = chance.choice(("one", "two", "three"))
        kind = chance.choice(("GlobalNetworkSet", "NetworkSet"))
        if chance.randrange(4) == 0:
            ruled.delete(network_set(name, kind=kind))
        else:
            ruled.put(network_set(name, *chance.choices(nets, k=chance.randrange(5)), kind=kind))
        if turn % 6 == 0:
            ruled.expect_verdicts()

    ruled.expect_verdicts()
