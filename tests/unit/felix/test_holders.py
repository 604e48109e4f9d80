"""Who has an address, kept up with changes, is what a look at all endpoints says."""

import random

import pytest

from calico_openstack.felix.wanted.state import Changes, Holders, Wanted, WantedEndpoint
from calico_openstack.model.endpoint import EndpointKey, Nat
from calico_openstack.model.net import host_net, parse_net

NETS = [parse_net(text) for text in ("10.0.0.1", "10.0.0.2", "10.0.0.0/30", "10.0.0.0/24", "2001:db8::1")]
NATS = [Nat(host_net("10.0.0.1"), host_net(f"172.24.4.{number}")) for number in range(3)]
KEYS = [EndpointKey("openstack", "here", "openstack", "vm", f"port{number}") for number in range(5)]
ASKED = [parse_net(text) for text in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.9", "2001:db8::1", "2001:db8::2")]


def some_changes(chance: random.Random) -> Changes:
    changes = Changes(endpoints_removed=set(chance.sample(KEYS, chance.randrange(3))))
    for key in chance.sample(KEYS, chance.randrange(3)):
        changes.endpoints[key] = WantedEndpoint(
            key=key,
            interface=f"tap{key.endpoint}",
            addresses=tuple(chance.sample(NETS, chance.randrange(4))),
            nats=tuple(chance.sample(NATS, chance.randrange(3))),
        )
    return changes


@pytest.mark.parametrize("seed", range(30))
def test_kept_up_is_as_made_anew(seed: int) -> None:
    chance = random.Random(seed)
    wanted = Wanted()
    assert wanted.holders.of(ASKED[0]) == []
    for _ in range(20):
        wanted.apply(some_changes(chance))
        anew = Holders(wanted.endpoints.values())
        assert wanted.holders.nats == anew.nats
        for address in ASKED:
            assert {one.key: one for one in wanted.holders.of(address)} == {one.key: one for one in anew.of(address)}


def test_nobody_asks_nothing_is_kept() -> None:
    wanted = Wanted()
    wanted.apply(some_changes(random.Random(1)))
    assert wanted._holders is None
