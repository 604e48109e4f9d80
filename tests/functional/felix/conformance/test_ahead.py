"""Policies with the hint AssumeNeededOnEveryNode: in the kernel before anybody here needs them."""

import re
import subprocess

import pytest

from calico_openstack.testing.compute_host import eventually
from calico_openstack.testing.trio import ALLOW, Trio, policy
from calico_openstack.testing.written import Document, document

pytestmark = pytest.mark.root

MEMBER = "203.0.113.77"
HINT = {"performanceHints": ["AssumeNeededOnEveryNode"]}
MEMBERS = document("GlobalNetworkSet", "far", "", {"nets": [f"{MEMBER}/32"]}, labels={"role": "far"})


def rule_for_nobody(**more: object) -> Document:
    spec = {"source": {"selector": "role == 'far'"}}
    return policy("nobody", "w == 'nobody'", [{**ALLOW, **spec}], **more)


def listed() -> str:
    return subprocess.run(["nft", "list", "table", "inet", "calico"], capture_output=True, text=True, check=True).stdout


def set_with(address: str) -> str:
    (found,) = [block for block in re.split(r"\n\t(?=set|map|chain)", listed()) if address in block]
    return found.split()[1]


@pytest.mark.conformance("P22")
def test_a_policy_that_matches_nobody_is_programmed_if_it_says_so_and_only_then(trio: Trio) -> None:
    trio.put(MEMBERS, rule_for_nobody())
    trio.expect({f"{a}>{b}" for a in ("w0", "w1", "w2") for b in ("w0", "w1", "w2") if a != b})
    assert MEMBER not in listed()

    trio.put(rule_for_nobody(**HINT))
    eventually(lambda: MEMBER in listed(), "the set is filled")
    name = set_with(MEMBER)
    assert re.search(rf"@{re.escape(name)} (return|.* return)", listed()), "a chain asks the set"

    trio.put(rule_for_nobody())
    eventually(lambda: MEMBER not in listed(), "without the hint it goes")
