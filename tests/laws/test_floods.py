"""Law *floods*: however much a guest asks of the host, what is forwarded gets the same verdict, and what reaches the
host is never more than otherwise."""

import dataclasses
import itertools
import os

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from calico_openstack.felix.ruleset import statements, walk
from calico_openstack.felix.wanted.state import Wanted
from calico_openstack.model.net import host_net
from calico_openstack.testing.wanted_states import HOSTS, flows, mac_of, rendered, states

EXAMPLES = int(os.environ.get("LAWS_EXAMPLES", "40"))
RELAXED = settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate] if os.environ.get("LAWS_QUICK") else tuple(Phase),
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)

LINK_LOCAL = [host_net("fe80::a00:1"), host_net("fe80::ff:fe00:1")]
SERVICES = [
    (17, (68, 67), None),
    (17, (546, 547), None),
    (17, (4000, 53), None),
    (6, (4000, 53), None),
    (58, None, (133, 0)),
    (58, None, (135, 0)),
    (58, None, (143, 0)),
]


@RELAXED
@given(states(hosts=st.just([])), st.lists(flows, min_size=3, max_size=3), st.sampled_from([2, 8]))
def test_a_flood_costs_the_guest_that_floods_what_it_asks_of_the_host_and_nothing_else(
    wanted: Wanted, kinds: list, state: int
) -> None:
    ruleset = rendered(wanted)
    by_address = {net: endpoint for endpoint in wanted.endpoints.values() for net in endpoint.addresses}
    pairs = [(a, b) for a, b in itertools.permutations([*HOSTS, *LINK_LOCAL], 2) if a.version == b.version]
    for (source, destination), (protocol, ports, icmp) in itertools.product(pairs, [*kinds, *SERVICES]):
        if (protocol == 58) != (source.version == 6) and protocol in (1, 58):
            continue
        sender, receiver = by_address.get(source), by_address.get(destination)
        number = HOSTS.index(source) % 3 + 1 if source in HOSTS else 1
        calm = walk.packet(
            source,
            destination,
            protocol,
            ports=ports,
            icmp=icmp,
            source_mac=mac_of(number),
            in_interface=sender.interface if sender else f"tap{number}",
            out_interface=receiver.interface if receiver else "eth0",
            state=state,
        )
        flood = dataclasses.replace(calm, flood=True)

        if source not in LINK_LOCAL:
            assert walk.forwarded(ruleset, flood).result == walk.forwarded(ruleset, calm).result
        if walk.delivered(ruleset, flood).result == "accept":
            assert walk.delivered(ruleset, calm).result == "accept"


@RELAXED
@given(states(hosts=st.just([])))
def test_what_comes_from_elsewhere_is_not_counted(wanted: Wanted) -> None:
    ruleset = rendered(wanted)
    for source, destination in itertools.permutations(HOSTS, 2):
        if source.version == destination.version:
            packet = walk.packet(source, destination, 17, ports=(4000, 53), in_interface="eth0", state=statements.NEW)
            flood = dataclasses.replace(packet, flood=True)
            assert walk.delivered(ruleset, flood).result == walk.delivered(ruleset, packet).result == "accept"
