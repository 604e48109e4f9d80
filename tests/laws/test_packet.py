"""Law *packet*: a packet walked through the rendered ruleset gets the verdict that the wanted state means.

And its two companions for rendering in steps: the rendered whole depends on the state and not on the way to
it, and each transaction turns the rendered old state exactly into the rendered new one (so a packet meets
only whole states).
"""

import copy
import dataclasses
import itertools
import os

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from calico_openstack.felix.ruleset import meaning, objects, statements, walk
from calico_openstack.felix.ruleset.difference import as_read, difference
from calico_openstack.felix.ruleset.limits import code_point
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import Wanted
from calico_openstack.model.net import Net
from calico_openstack.testing.wanted_states import (
    HOSTS,
    LINES,
    NETS,
    changes,
    flows,
    histories,
    mac_of,
    open_states,
    overlapping,
    rendered,
    states,
)

EXAMPLES = int(os.environ.get("LAWS_EXAMPLES", "40"))
RELAXED = settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate] if os.environ.get("LAWS_QUICK") else tuple(Phase),
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@RELAXED
@given(open_states(), st.sampled_from([6, 17]), st.booleans(), st.sampled_from([0, 1, 4, 5]))
def test_limits_hold_their_own_endpoint_and_nobody_else(
    wanted: Wanted, protocol: int, tokens: bool, connections: int
) -> None:
    ruleset = rendered(wanted)
    by_address = {net: endpoint for endpoint in wanted.endpoints.values() for net in endpoint.addresses}
    for index, source, destination in LINES:
        sender, receiver = by_address[source], by_address.get(destination)
        start = walk.packet(
            source,
            destination,
            protocol,
            ports=(1024, 80),
            source_mac=mac_of(index % 3 + 1),
            in_interface=sender.interface,
            out_interface=receiver.interface if receiver else "eth0",
        )
        for state in (statements.NEW, statements.ESTABLISHED):
            packet = dataclasses.replace(start, state=state, tokens=tokens, connections=connections)
            others = connections if state == statements.NEW else 0
            held = meaning.spent(sender, "egress", protocol, tokens, others) or (
                receiver is not None and meaning.spent(receiver, "ingress", protocol, tokens, others)
            )

            assert (walk.forwarded(ruleset, packet).result == "drop") == held


@RELAXED
@given(open_states())
def test_what_leaves_the_cloud_is_marked_and_translated_and_nothing_else(wanted: Wanted) -> None:
    ruleset = rendered(wanted)
    by_address = {net: endpoint for endpoint in wanted.endpoints.values() for net in endpoint.addresses}
    for index, source, destination in LINES:
        sender, receiver = by_address[source], by_address.get(destination)
        done = walk.forwarded(
            ruleset,
            walk.packet(
                source,
                destination,
                17,
                ports=(1024, 80),
                source_mac=mac_of(index % 3 + 1),
                in_interface=sender.interface,
                out_interface=receiver.interface if receiver else "eth0",
            ),
        )
        outside = meaning.leaves_cloud(wanted, destination, to_tap=receiver is not None)
        mark = code_point(sender.qos.dscp) if sender.qos and outside else None
        shift = 2 if source.version == 4 else 6

        assert int.from_bytes(done.packet.network[:2], "big") >> shift & 63 == (mark or 0)
        assert done.masqueraded == meaning.is_translated(wanted, source, destination)


@RELAXED
@given(states(hosts=st.just([])), st.lists(flows, min_size=5, max_size=5))
def test_a_packet_gets_the_verdict_that_the_wanted_state_means(wanted: Wanted, kinds: list) -> None:
    ruleset = rendered(wanted)
    by_address = {net: endpoint for endpoint in wanted.endpoints.values() for net in endpoint.addresses}
    pairs = [(a, b) for a, b in itertools.permutations(HOSTS, 2) if a.version == b.version]

    for (source, destination), (protocol, ports, icmp) in itertools.product(pairs, kinds):
        number, sender, receiver = HOSTS.index(source) % 3 + 1, by_address.get(source), by_address.get(destination)
        flow = meaning.Flow(source, destination, protocol, ports, icmp)
        expected = (sender is None or meaning.allows(wanted, sender, "egress", flow)) and (
            receiver is None or meaning.allows(wanted, receiver, "ingress", flow)
        )
        done = walk.forwarded(
            ruleset,
            walk.packet(
                source,
                destination,
                protocol,
                ports=ports,
                icmp=icmp,
                source_mac=mac_of(number),
                in_interface=sender.interface if sender else "eth0",
                out_interface=receiver.interface if receiver else "eth0",
            ),
        )

        assert (done.result == "accept") == expected, (flow, done.rules)


@RELAXED
@given(histories())
def test_each_transaction_turns_the_old_ruleset_into_the_new_one(sequence: list[Wanted]) -> None:
    renderer = RulesetRenderer(RulesetSettings())
    kernel: objects.Ruleset = {}
    before = Wanted()
    for wanted in sequence:
        objects.apply(kernel, renderer.apply(changes(before, wanted)))
        before = wanted

        assert as_read(kernel) == as_read(rendered(wanted))
        assert as_read(renderer.full()) == as_read(kernel)
        assert overlapping(kernel) == []


@RELAXED
@given(states(), states())
def test_the_difference_brings_the_kernel_to_what_is_wanted_and_is_empty_then(old: Wanted, new: Wanted) -> None:
    kernel = copy.deepcopy(rendered(old))
    wanted = rendered(new)

    objects.apply(kernel, difference(wanted, as_read(kernel)))

    assert as_read(kernel) == as_read(wanted)
    assert not difference(wanted, as_read(kernel))


def test_the_generated_addresses_are_the_ones_that_the_rules_speak_of() -> None:
    assert all(isinstance(net, Net) and any(other.contains(net) for other in NETS[6:]) for net in HOSTS)
