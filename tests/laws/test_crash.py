"""Law *crash*: Felix may be killed after any operation on the kernel. The next life brings the host to where an
uninterrupted one would have, and at no moment on the way does a packet pass that neither the old nor the new state lets
pass, or a flow reach another endpoint than its own.

What no life after a crash can know, and the law therefore does not ask: whose flows those of an address or of a
floating IP were, if the crash came after the firewall had forgotten it, and nothing else tells of it: its tap is not
there, or its endpoint had no MAC, and so no neighbour entry. Nor, of an address that several endpoints have, whether it
was about to move: its flows may end then, although in the end it did not.
"""

import json
import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.felix.ruleset import meaning
from calico_openstack.felix.ruleset.difference import as_read
from calico_openstack.felix.ruleset.meaning import Flow
from calico_openstack.felix.ruleset.named_sets import ARP, BOOT, INET
from calico_openstack.felix.wanted.state import Wanted, WantedEndpoint
from calico_openstack.model.names import tap_name
from calico_openstack.model.net import Net, host_net
from calico_openstack.netlink.conntrack import Tracked
from calico_openstack.testing import clouds
from calico_openstack.testing.fake_kernel import FakeKernel
from calico_openstack.testing.mortal_felix import Batch, MortalFelix, wanted_after
from calico_openstack.testing.witness import UPLINK, Witness, holder, local_ends, probes_of, tracked
from calico_openstack.testing.written import WEB, Document, allow, group, port

HOST = clouds.HOSTS[0]
TAPS = (*map(tap_name, clouds.PORTS), "tapshared")
FLOATING = ("198.51.100.7", "198.51.100.8")
OTHERS = [host_net("192.0.2.1"), host_net("2001:db8:f::1")]
MOST_FLOWS = 8
Batches = list[Batch]


@st.composite
def guests(draw: st.DrawFn) -> tuple[str, bytes]:
    """An endpoint of this host, often with a floating IP or a bandwidth limit."""
    path, value = draw(clouds.endpoints(HOST))
    document = json.loads(value)
    spec: dict[str, Any] = document["spec"]
    inside = [net.removesuffix("/32") for net in spec["ipNetworks"] if net.endswith("/32")]
    if inside and draw(st.booleans()):
        nat = {"internalIP": inside[0], "externalIP": draw(st.sampled_from(FLOATING))}
        spec["ipNATs"] = [nat]
    if draw(st.integers(0, 2)) == 0:
        spec["qosControls"] = {draw(st.sampled_from(("ingressBandwidth", "egressBandwidth"))): 10_000_000}
    if draw(st.integers(0, 4)) == 0:
        spec.pop("allowSpoofedSourcePrefixes", None)
    return path, json.dumps(document).encode()


OPEN = json.dumps(
    {
        "metadata": {"name": "dev"},
        "spec": {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]},
    }
).encode()
"""Most clouds have a profile that allows everything, or no packet would ever pass and nothing could go wrong."""

documents = st.one_of(guests(), guests(), clouds.policies(), clouds.security_groups(), clouds.profiles())


@st.composite
def histories(draw: st.DrawFn) -> Batches:
    """A first batch that fills the host, and some that change it."""
    paths: list[str] = []
    batches: Batches = []
    for number in range(draw(st.integers(2, 3))):
        first = number == 0
        puts = draw(st.lists(documents, min_size=3 if first else 0, max_size=7 if first else 3))
        told: list[tuple[str, bytes | None]] = list(puts)
        if first:
            told.insert(0, ("/calico/resources/v3/projectcalico.org/profiles/dev", OPEN))
        elif paths and draw(st.booleans()):
            told.append((draw(st.sampled_from(paths)), None))
        paths += [path for path, value in puts if path not in paths]
        if first:
            batches.append(Batch(tuple(told), (), tuple(draw(st.sets(st.sampled_from(TAPS), min_size=3)))))
        else:
            gone = draw(st.lists(st.sampled_from(TAPS), max_size=1))
            come = [*gone, *draw(st.lists(st.sampled_from(TAPS), max_size=1))] if draw(st.booleans()) else []
            batches.append(Batch(tuple(told), tuple(gone), tuple(come)))
    return batches


kinds = st.sampled_from(
    (
        Flow(OTHERS[0], OTHERS[0], 6, (40000, 22)),
        Flow(OTHERS[0], OTHERS[0], 6, (40000, 80)),
        Flow(OTHERS[0], OTHERS[0], 17, (40000, 8080)),
        Flow(OTHERS[0], OTHERS[0], 1, icmp=(8, 0)),
        Flow(OTHERS[0], OTHERS[0], 58, icmp=(128, 0)),
    )
)


class Course:
    """One history, told as often as needed; each telling is watched."""

    def __init__(self, batches: Batches, sampled: list[Flow]) -> None:
        self.batches = batches
        self.witness = Witness(lambda name: name.startswith("tap"))
        self.states = [Wanted()]
        stored: dict[str, bytes] = {}
        for batch in batches:
            for path, value in batch.documents:
                stored.pop(path, None) if value is None else stored.update({path: value})
            self.states.append(wanted_after(HOST, stored))
        self.probes = [probes_of(pair, sampled, OTHERS, "02:00:00:00:00:99") for pair in self._pairs()]

    def _pairs(self) -> list[tuple[Wanted, Wanted]]:
        return list(zip(self.states, self.states[1:], strict=False))

    def tell(self, kill_at: int | None = None) -> FakeKernel:
        kernel = FakeKernel(kill_at=kill_at)
        kernel.plug(UPLINK, "veth")
        felix = MortalFelix(HOST, kernel)
        for number, batch in enumerate(self.batches):
            self._live_through(felix, batch, number)
        assert felix.deaths == (kill_at is not None)
        return kernel

    def _live_through(self, felix: MortalFelix, batch: Batch, number: int) -> None:
        kernel, (old, new) = felix.kernel, self._pairs()[number]
        probes = self.probes[number]
        self._seed(kernel, old, number)
        before = dict(kernel.flows.tracked)
        ends = {id_: (flow.original.source, flow.reply.source) for id_, flow in before.items()}
        holders = {net: holder(kernel, net) for pair in ends.values() for net in pair}
        without_tap = {net for one in old.endpoints.values() for net in reachable(one) if not holder(kernel, net)}
        unmarked = {net for one in old.endpoints.values() if one.mac is None for net in reachable(one)}
        left = {net for net in unmarked if net not in kept(old, new)}
        owners = [{one.interface: key for key, one in state.endpoints.items()} for state in (old, new)]
        indexes = {net: kernel.index_of(name) for net, name in holders.items()}
        claimed = [claims_of(state) for state in (old, new)]

        deaths, begun = felix.deaths, kernel.ruleset
        silent = False

        def untold(net: Net) -> bool:
            """Killed after the firewall had forgotten whose the address was, and nothing else tells it."""
            same_tap = indexes[net] is not None and kernel.index_of(holders[net]) == indexes[net]
            return felix.deaths > deaths and silent and (not same_tap or net in unmarked)

        def contested(net: Net) -> bool:
            """One of several has it or had it. Its flows may have been ended for a move that the crash kept from
            happening, or because traces of another owner were found; that is the safe side."""
            return any(claims[net] > 1 for claims in claimed)

        def look() -> None:
            nonlocal silent
            silent = silent or (felix.deaths == deaths and kernel.ruleset is not begun)
            for probe, arrival in self.witness.passing(kernel, probes):
                assert self.witness.allowed(number, old, probe, arrival) or self.witness.allowed(
                    number + 1, new, probe, arrival
                ), (probe, arrival)
            for net in {net for id_ in kernel.flows.tracked for net in ends.get(id_, ())}:
                known = holders[net] and not untold(net)
                assert not known or holder(kernel, net) in (holders[net], ""), ("handed over", net)

        kernel.after = look
        felix.live_through(batch)
        kernel.after = lambda: None
        look()
        for probe, arrival in self.witness.passing(kernel, probes):
            assert self.witness.allowed(number + 1, new, probe, arrival), (probe, arrival)
        for id_, flow in before.items():
            # With another endpoint behind the same tap it has another owner.
            stayed = all(
                holder(kernel, net) == holders[net] and owners[0].get(holders[net]) == owners[1].get(holders[net])
                for net in ends[id_]
            )
            # Of an address without a tap it does not matter.
            stayed = stayed and not any(net in without_tap for net in ends[id_])
            replugged = any(indexes[net] != kernel.index_of(holders[net]) for net in ends[id_])
            forgotten = any(map(untold, ends[id_]))
            if id_ in kernel.flows.tracked:
                gone = forgotten and any(net in left for net in ends[id_])
                assert gone or may_live(new, flow, forgotten), ("not ended", flow)
            elif stayed and not replugged and not (felix.deaths > deaths and any(map(contested, places(flow)))):
                assert not may_live(new, flow, False), ("ended", flow)

    def _seed(self, kernel: FakeKernel, state: Wanted, number: int) -> None:
        """Some of the flows that are possible now exist."""
        kernel.flows.tracked.clear()
        found = [tracked(probe, arrival) for probe, arrival in self.witness.passing(kernel, self.probes[number])]
        # What has no tap now passes as a stranger's.
        found = [flow for flow in found if may_live(state, flow, False)]
        for flow in found[:: max(1, len(found) // MOST_FLOWS)]:
            kernel.flows.track(flow)


def may_live(state: Wanted, flow: Tracked, forgotten: bool) -> bool:
    """Does the state allow an established flow? `forgotten`: whether a floating IP is still one does not count."""
    first = Flow(
        flow.original.source, flow.reply.source, flow.original.protocol, flow.original.ports, flow.original.icmp
    )
    if flow.original.destination != flow.reply.source and not forgotten:
        nats = {(nat.external, nat.internal) for endpoint in state.endpoints.values() for nat in endpoint.nats}
        if (flow.original.destination, flow.reply.source) not in nats:
            return False
    return all(
        meaning.allows(state, endpoint, "egress" if sends else "ingress", first)
        for endpoint, sends in local_ends(state, flow)
    )


def summary(kernel: FakeKernel, state: Wanted) -> dict[str, object]:
    """What must be the same in the end; an ifb's index is not. Of an address that several endpoints have (a virtual
    one) only that one of them has the route: who claimed it last, or came last, is history that a crash may change.
    """
    names = {index: link.name for index, link in kernel.links.items()}
    claims = claims_of(state)
    owners = {endpoint.interface: endpoint for endpoint in state.endpoints.values()}
    routes = kernel.routes.values()
    return {
        "links": {name: (kernel.links[index].up, kernel.links[index].mtu) for index, name in names.items()},
        "routes": {route for route in routes if claims[route.destination] < 2},
        "shared": {
            (route.destination, route.destination in reachable(owners[names[route.ifindex]]))
            for route in routes
            if claims[route.destination] > 1
        },
        "neighbours": kernel.neighbours,
        "qdiscs": {(names[index], parent): body[8:] for (index, parent), body in kernel.qdiscs.items()},
        "filters": {(names[index], priority) for index, priority in kernel.filters},
        "sysctls": kernel.sysctls,
        "ruleset": as_read({table: kernel.ruleset[table] for table in (INET, ARP, BOOT) if table in kernel.ruleset}),
    }


def places(flow: Tracked) -> set[Net]:
    """All addresses of a flow, translated or not."""
    return {net for ends in (flow.original, flow.reply) for net in (ends.source, ends.destination)}


def claims_of(state: Wanted) -> Counter[Net]:
    """How many endpoints have each address."""
    return Counter(net for endpoint in state.endpoints.values() for net in dict.fromkeys(reachable(endpoint)))


def kept(old: Wanted, new: Wanted) -> set[Net]:
    """What endpoints have that had it before."""
    pairs = [(one, new.endpoints.get(key)) for key, one in old.endpoints.items()]
    return {net for one, after in pairs if after is not None for net in {*reachable(one)} & {*reachable(after)}}


def reachable(endpoint: WantedEndpoint) -> list[Net]:
    return [*endpoint.addresses, *(nat.external for nat in endpoint.nats)]


def guest(number: int, *addresses: str, **spec: Any) -> Document:
    nets = [f"{address}/{32 if '.' in address else 128}" for address in addresses]
    return port(clouds.PORTS[number], *nets, groups=(WEB,), host=HOST, mac=f"fa:16:3e:00:00:0{number}", **spec)


def without(document: Document) -> tuple[str, None]:
    return document[0], None


A, B, C = (guest(number, clouds.V4[number], clouds.V6[number]) for number in range(3))
SHIFTED = clouds.V4[4]
LIFE = [
    Batch((A, B, group(WEB, allow("TCP", [22, 80])), C), (), TAPS[:4]),
    # A policy is tightened; an address comes, moves to another guest, and goes to a third with its tap.
    Batch((group(WEB, allow("TCP", [22])),)),
    Batch((guest(0, clouds.V4[0], clouds.V6[0], SHIFTED),)),
    Batch((A, guest(1, clouds.V4[1], clouds.V6[1], SHIFTED))),
    Batch((B, guest(3, clouds.V4[3], SHIFTED))),
    Batch((group(WEB, allow("TCP", [22, 80])),)),
    # A floating IP comes, moves, goes; a limit likewise.
    Batch((guest(0, clouds.V4[0], ipNATs=[{"internalIP": clouds.V4[0], "externalIP": FLOATING[0]}]),)),
    Batch((A, guest(1, clouds.V4[1], ipNATs=[{"internalIP": clouds.V4[1], "externalIP": FLOATING[0]}]))),
    Batch((guest(1, clouds.V4[1], qosControls={"ingressBandwidth": 10_000_000, "egressBandwidth": 10_000_000}),)),
    Batch((B,)),
    # A guest is rebuilt, another is removed, and its address given to a third.
    Batch((), (TAPS[0],), (TAPS[0],)),
    Batch((without(C),)),
    Batch((guest(0, clouds.V4[0], clouds.V4[2]),)),
    Batch((without(A), without(B)), (TAPS[1],)),
]


STRIDE = 1 if int(os.environ.get("LAWS_EXAMPLES", "25")) >= 100 else 4
"""Every operation, but in `make check`, which is to be short, only every fourth."""


def anonymous(batch: Batch) -> Batch:
    """The same with endpoints that have no MAC."""

    def without_mac(value: bytes) -> bytes:
        document = json.loads(value)
        document["spec"].pop("mac", None)
        return json.dumps(document).encode()

    told = ((path, value if value is None else without_mac(value)) for path, value in batch.documents)
    return batch._replace(documents=tuple(told))


@pytest.mark.parametrize("life", [LIFE, [anonymous(batch) for batch in LIFE]], ids=["known MACs", "any MAC"])
def test_one_life_with_a_death_after_every_single_operation(life: Batches) -> None:
    course = Course(life, [Flow(OTHERS[0], OTHERS[0], 6, (40000, number)) for number in (22, 80)])
    unharmed = course.tell()
    expected = summary(unharmed, course.states[-1])
    assert unharmed.operations > 80

    for number in range(1, unharmed.operations + 1, STRIDE):
        assert summary(course.tell(kill_at=number), course.states[-1]) == expected, number


@given(
    histories(), st.lists(kinds, min_size=1, max_size=2, unique=True), st.lists(st.floats(0, 1), min_size=3, max_size=3)
)
def test_a_crash_after_any_operation_changes_neither_the_end_nor_what_may_pass(
    batches: Batches, sampled: list[Flow], moments: list[float]
) -> None:
    course = Course(batches, sampled)
    unharmed = course.tell()
    expected = summary(unharmed, course.states[-1])

    for moment in moments:
        harmed = course.tell(kill_at=1 + int(moment * (unharmed.operations - 1)))

        assert summary(harmed, course.states[-1]) == expected
