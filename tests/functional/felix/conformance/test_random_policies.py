"""Many policies at once, equal and different selectors, told in any order: flows pass where the reference says.

The reference is `policy.verdict` over all documents: it groups nothing and remembers nothing.
"""

import os
import random
from typing import Any

import pytest

from calico_openstack.testing.connections import TCP, UDP
from calico_openstack.testing.trio import ALLOW, PORTS, Trio, policy
from calico_openstack.testing.written import Document, document

pytestmark = pytest.mark.root

SELECTORS = (
    "all()", "all()", "w == 'w0'", "w == 'w1'", "w in {'w1', 'w2'}", "has(role)", "!has(role)", "role == 'db'",
    "role != 'db'", "role contains 'e' || env == 'dev'", "env == 'dev' && has(role)", "kind == 'set'",
)  # fmt: skip
NETS = (
    "10.65.0.0/31",
    "10.65.0.2/31",
    "10.65.0.1/32",
    "0.0.0.0/0",
    "2001:db8:a41::/127",
    "2001:db8:a41::2/127",
    "::/0",
)
NUMBERS: tuple[Any, ...] = (80, 81, 8080, "80:81", "81:9000")
TIERS = ("default", "default", "first", "second")
TIER_DOCUMENTS = [document("Tier", name, "", {"order": 5, "defaultAction": "Pass"}) for name in TIERS[2:]]
SEEDS = int(os.environ.get("LAWS_EXAMPLES", "16"))


class Cloud:
    """Documents by chance. Most of them say something about the three guests."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def likely(self, percent: int) -> bool:
        return self.chance.randrange(100) < percent

    def some(self, values: tuple[Any, ...], most: int = 2) -> list[Any]:
        return self.chance.sample(values, self.chance.randint(1, most))

    def side(self, ports: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.likely(50):
            found["selector"] = self.chance.choice(SELECTORS)
        if self.likely(15):
            found["notSelector"] = self.chance.choice(SELECTORS[2:])
        version = self.chance.randrange(2)
        nets = NETS[4:] if version else NETS[:4]
        if self.likely(20):
            found["nets"] = self.some(nets)
        if self.likely(10):
            found["notNets"] = self.some(nets)
        if ports and self.likely(50):
            found["ports"] = [*self.some(NUMBERS), *(["web"] if self.likely(40) else [])]
        if ports and self.likely(20):
            found["notPorts"] = self.some((*NUMBERS, "web"))
        return found

    def rule(self) -> dict[str, Any]:
        made: dict[str, Any] = {"action": self.chance.choice(("Allow", "Allow", "Deny", "Deny", "Pass", "Log"))}
        shape = self.chance.choice(("TCP", "UDP", "any", "not"))
        if shape == "not":
            made["notProtocol"] = self.chance.choice(("TCP", 17))
        elif shape != "any":
            made["protocol"] = shape
        if self.likely(15):
            made["ipVersion"] = self.chance.choice((4, 6))
        # Sources have ports of their own choice: only destinations are asked about them.
        source, destination = self.side(False), self.side(shape in ("TCP", "UDP"))
        mixed = {
            "4" if "." in net else "6" for side in (source, destination) for k in side if "ets" in k for net in side[k]
        }
        if len(mixed) > 1:
            source = {}
        if mixed:
            made["ipVersion"] = int(min(mixed))
        return {
            **made,
            **({"source": source} if source else {}),
            **({"destination": destination} if destination else {}),
        }

    def rules(self) -> list[dict[str, Any]] | None:
        return None if self.likely(25) else [self.rule() for _ in range(self.chance.randrange(4))]

    def policy(self, number: int) -> Document:
        tier = self.chance.choice(TIERS)
        return policy(
            f"p{number}" if tier == "default" else f"{tier}.p{number}",
            self.chance.choice(SELECTORS[:-1]),
            self.rules(),
            self.rules() or [],
            kind=self.chance.choice(("NetworkPolicy", "GlobalNetworkPolicy", "GlobalNetworkPolicy")),
            tier=tier,
            **({} if self.likely(20) else {"order": self.chance.choice((1, 2, 2.5))}),
        )

    def documents(self, trio: Trio) -> list[Document]:
        ports = [{"name": "web", "protocol": protocol, "port": 80} for protocol in ("TCP", "UDP")]
        labels = [
            {name: self.chance.choice(values) for name, values in (("role", ("db", "web")), ("env", ("dev", "prod")))}
            for _ in trio.workloads
        ]
        return [
            *TIER_DOCUMENTS,
            document("GlobalNetworkSet", "s", "", {"nets": self.some(NETS, 3)}, labels={"kind": "set"}),
            *(
                one.document(
                    {name: value for name, value in own.items() if self.likely(60)},
                    ports=[{**port, "port": self.chance.choice(PORTS)} for port in ports],
                )
                for one, own in zip(trio.workloads, labels, strict=True)
            ),
            *(self.policy(number) for number in range(self.chance.randint(2, 12))),
            policy("last", "all()" if self.likely(50) else "w != 'w1'", [ALLOW], [ALLOW], order=1000),
        ]


@pytest.mark.conformance("P8")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_policies_by_chance_do_what_the_reference_says(trio: Trio, seed: int) -> None:
    cloud = Cloud(seed)
    stored = cloud.documents(trio)
    cloud.chance.shuffle(stored)
    # In three batches: what is in force in the end must not depend on what was in force before. On the way, policies
    # may be there before their tier.
    for start in range(3):
        trio.put(*stored[start::3], refused=start < 2)

    share = trio.expect_verdicts(ports=PORTS, protocols=(TCP, UDP))

    print(f"{share:.0%} of the flows pass")


@pytest.mark.conformance("P8")
def test_many_policies_with_the_same_selector_do_what_each_alone_would(trio: Trio) -> None:
    cloud = Cloud(8)
    trio.put(*TIER_DOCUMENTS)
    for turn in range(4):
        policies = [cloud.policy(number) for number in range(40)]
        trio.put(*policies)
        trio.expect_verdicts(ports=PORTS)

        cloud.chance.shuffle(policies)
        for start in range(0, 30, 10):
            trio.delete(*policies[start : start + 10 - turn])
        trio.expect_verdicts(ports=PORTS)
