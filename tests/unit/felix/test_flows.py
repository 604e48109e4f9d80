"""Ending flows: what is listed, judged in slices, and kept when the kernel refuses."""

import errno
import struct
from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from calico_openstack.felix.flow_judge import FlowJudge
from calico_openstack.felix.flows import SLICE, Flows
from calico_openstack.felix.kernel.barred import PERIOD, UDP_PERIOD, Barred, answers
from calico_openstack.felix.kernel.conntrack import Conntrack
from calico_openstack.felix.ruleset.objects import Operation
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.narrowing import Narrowed
from calico_openstack.felix.wanted.state import Wanted, WantedEndpoint, WantedMatch, WantedProfile, WantedRule
from calico_openstack.model.endpoint import EndpointKey, Nat
from calico_openstack.model.net import Net, parse_net
from calico_openstack.model.policy import PortRange
from calico_openstack.netlink import wire
from calico_openstack.netlink.conntrack import Ends, Tracked, read_flow
from calico_openstack.netlink.wire import Message

GUEST, PEER, HOST = parse_net("10.0.0.1"), parse_net("192.0.2.7"), parse_net("10.0.0.254")
SETTINGS = RulesetSettings()


def tracked(source: Net, destination: Net, port: int, protocol: int = 6, zone: int = 0) -> Tracked:
    return Tracked(
        Ends(source, destination, protocol, (40000, port)),
        Ends(destination, source, protocol, (port, 40000)),
        zone=zone,
    )


def message(flow: Tracked) -> Message:
    def ends(kind: int, one: Ends) -> bytes:
        assert one.ports is not None
        addresses = wire.attr(1, one.source.packed) + wire.attr(2, one.destination.packed)
        proto = wire.u8(1, one.protocol) + wire.be16(2, one.ports[0]) + wire.be16(3, one.ports[1])
        return wire.nest(kind, wire.nest(1, addresses), wire.nest(2, proto))

    zone = wire.be16(18, flow.zone) if flow.zone else b""
    return Message(0x100, 0, 0, struct.pack("=BBH", 2, 0, 0) + ends(1, flow.original) + ends(2, flow.reply) + zone)


def wanted(*ports: int) -> Wanted:
    """The guest may be asked at these ports, and may ask nobody."""
    rules = tuple(WantedRule(action="allow", destination=WantedMatch(ports=(PortRange(port, port),))) for port in ports)
    key = EndpointKey("openstack", "h", "openstack", "vm", "a")
    one = WantedEndpoint(key=key, interface="tapa", addresses=(GUEST,), profiles=("p",))
    return Wanted(profiles={"p": WantedProfile(name="p", ingress=rules)}, endpoints={key: one})


def all_of(state: Wanted) -> Narrowed:
    return Narrowed(dict.fromkeys(state.endpoints))


class Kernel(Conntrack):
    """Flows in a list, and refusals."""

    released: frozenset[Net] = frozenset()

    def __init__(self, *flows: Tracked) -> None:
        super().__init__()
        self.flows = [message(flow) for flow in flows]
        self.refuses = False
        self.listed = 0

    def _ask(self) -> None:
        if self.refuses:
            raise OSError(errno.ENOBUFS, "no")

    def release(self, addresses: Iterable[Net]) -> None:
        self._ask()
        self.released |= set(addresses)
        self.ended += 1

    def parts(self, addresses: Collection[Net]) -> Iterator[list[Message]]:
        self.listed += 1
        for flow in list(self.flows):
            self._ask()
            yield [flow]
        self._ask()

    def end(self, flows: Sequence[Message]) -> None:
        self._ask()
        self.flows = [flow for flow in self.flows if flow not in flows]
        self.ended += len(flows)


class Bars(Barred):
    """Without a kernel."""

    refuses = False

    def adopt(self, now: float) -> None:
        pass

    def _commit(self, operations: Iterable[Operation]) -> None:
        if self.refuses:
            self._forget()
            raise OSError(errno.EPERM, "no")
        self.transactions += 1


def judge(state: Wanted) -> FlowJudge:
    return FlowJudge(state, all_of(state), SETTINGS, {HOST})


def test_a_flow_is_read_as_it_was_written() -> None:
    flow = tracked(PEER, GUEST, 80, zone=7)
    assert read_flow(message(flow)) == flow


def test_only_what_is_not_allowed_ends() -> None:
    state = wanted(80)

    assert not judge(state).must_end(tracked(PEER, GUEST, 80))
    assert judge(state).must_end(tracked(PEER, GUEST, 443))
    assert judge(state).must_end(tracked(GUEST, PEER, 443))


def test_flows_of_others_of_other_zones_and_of_the_host_are_left_alone() -> None:
    state = wanted()

    for flow in (
        tracked(PEER, parse_net("10.0.0.2"), 443),
        tracked(PEER, GUEST, 443, zone=7),
        tracked(HOST, GUEST, 22),
        tracked(GUEST, HOST, 53, protocol=17),
        Tracked(
            Ends(GUEST, parse_net("255.255.255.255"), 17, (68, 67)),
            Ends(parse_net("255.255.255.255"), GUEST, 17, (67, 68)),
        ),
    ):
        assert not judge(state).must_end(flow)
    assert judge(state).must_end(tracked(GUEST, HOST, 22))


def test_the_translated_port_and_address_are_what_policy_sees() -> None:
    floating = parse_net("172.24.4.33")
    flow = Tracked(Ends(PEER, floating, 6, (40000, 8080)), Ends(GUEST, PEER, 6, (80, 40000)))

    assert not judge(wanted(80)).must_end(flow)
    assert judge(wanted(8080)).must_end(flow)


def test_a_flow_announced_by_another_lives_as_long_as_that() -> None:
    flow = tracked(PEER, GUEST, 30000)._replace(master=Ends(PEER, GUEST, 6, (40000, 21)))

    assert not judge(wanted(21)).must_end(flow)
    assert judge(wanted(80)).must_end(flow)


def test_flows_are_judged_some_per_step() -> None:
    state = wanted(80)
    kernel = Kernel(*(tracked(PEER, GUEST, port) for port in range(1, 201)))
    hurry = iter(range(1000))
    flows = Flows(state, set, kernel, Bars(), stopwatch=lambda: next(hurry) * SLICE * 0.6)
    flows.changed(all_of(state))

    flows.judge(SETTINGS, 0.0)
    assert 0 < flows.ended < 199
    assert flows.wake_at() == 0.0
    while flows.wake_at() == 0.0:
        flows.judge(SETTINGS, 0.0)

    assert (flows.ended, kernel.listed) == (199, 1)


def test_what_the_kernel_refuses_is_tried_again() -> None:
    state = wanted()
    kernel = Kernel(tracked(PEER, GUEST, 443))
    bars = Bars()
    flows = Flows(state, set, kernel, bars)
    kernel.refuses = True
    flows.release({GUEST}, 0.0)
    flows.changed(all_of(state))
    flows.judge(SETTINGS, 0.0)
    assert flows.wake_at() == 1.0
    kernel.refuses = False

    flows.release(set(), 0.5)
    flows.judge(SETTINGS, 0.5)
    assert flows.ended == 0
    flows.release(set(), 1.0)
    flows.judge(SETTINGS, 1.0)

    assert flows.ended == 2
    # What ended is barred for a while, and then forgotten.
    assert (flows.wake_at(), bars.transactions) == (1.0 + PERIOD, 2)
    flows.judge(SETTINGS, 1.0 + PERIOD)
    assert (flows.wake_at(), bars.transactions) == (None, 3)


def test_flows_found_guilty_are_ended_later_if_the_kernel_refuses_now() -> None:
    state = wanted()
    kernel = Kernel(tracked(PEER, GUEST, 443))
    first = iter((True,))
    flows = Flows(state, lambda: _refusing(kernel, next(first, False)), kernel, Bars())
    flows.changed(all_of(state))
    flows.judge(SETTINGS, 0.0)
    assert kernel.flows
    kernel.refuses = False

    flows.judge(SETTINGS, 1.0)

    assert kernel.flows == []


def _refusing(kernel: Kernel, refuses: bool) -> set[Net]:
    """From here on: the listing has gone well."""
    kernel.refuses = refuses
    return set()


def test_flows_end_even_if_they_cannot_be_barred() -> None:
    state = wanted()
    kernel, bars = Kernel(tracked(PEER, GUEST, 443)), Bars()
    bars.refuses = True
    flows = Flows(state, set, kernel, bars)
    flows.changed(all_of(state))

    flows.judge(SETTINGS, 0.0)

    assert (flows.ended, flows.wake_at()) == (1, None)


def test_answers_are_barred_as_they_look_with_and_without_translation() -> None:
    floating = parse_net("172.24.4.33")
    flow = Tracked(Ends(PEER, floating, 6, (40000, 8080)), Ends(GUEST, floating, 6, (80, 50000)))

    assert {(key[:4], key[4:6], key[8:12], key[12:14]) for _, _, key in answers(flow)} == {
        (GUEST.packed, b"\x00\x50", PEER.packed, b"\x9c\x40"),
        (GUEST.packed, b"\x00\x50", floating.packed, b"\xc3\x50"),
    }


class Slow(Kernel):
    """One part per step."""

    def __init__(self, *flows: Tracked) -> None:
        super().__init__(*flows)
        self.clock = 0.0

    def parts(self, addresses: Collection[Net]) -> Iterator[list[Message]]:
        for part in super().parts(addresses):
            self.clock += SLICE
            yield part


MANY = [parse_net(f"10.1.0.{number}") for number in range(1, 41)]


def test_many_released_addresses_lose_their_flows_some_per_step_and_those_that_somebody_gets_at_once() -> None:
    kernel = Slow(*(tracked(PEER, address, 80) for address in MANY), tracked(PEER, GUEST, 80))
    flows = Flows(wanted(80), set, kernel, Bars(), stopwatch=lambda: kernel.clock)

    flows.release(set(MANY), 0.0, lambda net: net == MANY[7])
    assert kernel.released == {MANY[7]}
    assert len(kernel.flows) == 40
    assert flows.wake_at() == 0.0
    # Somebody gets one of the others meanwhile.
    flows.release(set(), 0.0, lambda net: net == MANY[9])
    assert kernel.released == {MANY[7], MANY[9]}
    for _ in range(100):
        flows.release(set(), 0.0, lambda net: False)

    # The fake does not end what it is told to release by address.
    assert [read_flow(flow) for flow in kernel.flows] == [
        tracked(PEER, address, 80) for address in (MANY[7], MANY[9], GUEST)
    ]
    assert (flows.wake_at(), kernel.listed) == (None, 1)


def test_a_listing_that_fails_half_way_is_begun_again() -> None:
    state = wanted()
    kernel = Slow(*(tracked(PEER, GUEST, port) for port in range(1, 6)))
    flows = Flows(state, set, kernel, Bars(), stopwatch=lambda: kernel.clock)
    flows.changed(all_of(state))
    flows.judge(SETTINGS, 0.0)
    flows.judge(SETTINGS, 0.0)
    assert 0 < len(kernel.flows) < 5
    kernel.refuses = True
    flows.judge(SETTINGS, 0.0)
    kernel.refuses = False

    for _ in range(10):
        flows.judge(SETTINGS, 1.0)

    assert (kernel.flows, kernel.listed) == ([], 2)


def test_other_settings_end_what_they_do_not_allow_any_more() -> None:
    anything = (WantedRule(action="allow"),)
    state = wanted()
    state.profiles["p"] = WantedProfile(name="p", ingress=anything, egress=anything)

    def ends(flow: Tracked, **settings: object) -> bool:
        return FlowJudge(state, all_of(state), RulesetSettings(**settings), {HOST}).must_end(flow)  # type: ignore[arg-type]

    to_host = tracked(GUEST, HOST, 22)
    assert not ends(to_host, endpoint_to_host="accept")
    assert not ends(to_host, endpoint_to_host="return")
    assert ends(to_host, endpoint_to_host="drop")
    vxlan = tracked(GUEST, PEER, 4789, protocol=17)
    assert not ends(vxlan, allow_vxlan=True)
    assert ends(vxlan)
    assert not ends(tracked(PEER, GUEST, 4789, protocol=17))
    tunnel = Tracked(Ends(GUEST, PEER, 4), Ends(PEER, GUEST, 4))
    assert not ends(tunnel, allow_ipip=True)
    assert ends(tunnel)
    assert not ends(tracked(PEER, GUEST, 80))
    assert ends(tracked(PEER, GUEST, 80), tap_prefixes=("cali",))


def test_without_the_setting_no_guest_goes_on_speaking_as_its_floating_ip_but_to_itself() -> None:
    anything = (WantedRule(action="allow"),)
    state = wanted()
    state.profiles["p"] = WantedProfile(name="p", ingress=anything, egress=anything)
    (key,) = state.endpoints
    floating = parse_net("172.24.4.33")
    state.endpoints[key] = msgspec.structs.replace(state.endpoints[key], nats=(Nat(GUEST, floating),))

    def ends(flow: Tracked, floating_source: bool) -> bool:
        return FlowJudge(state, all_of(state), RulesetSettings(floating_source=floating_source), {HOST}).must_end(flow)

    outbound = Tracked(Ends(GUEST, PEER, 6, (40000, 80)), Ends(PEER, floating, 6, (80, 40000)))
    itself = Tracked(Ends(GUEST, floating, 6, (40000, 80)), Ends(GUEST, floating, 6, (80, 40000)))
    assert not ends(outbound, True)
    assert ends(outbound, False)
    assert not ends(itself, False)
    assert not ends(tracked(GUEST, PEER, 80), False)


def test_what_becomes_narrower_during_a_long_listing_is_listed_after_it() -> None:
    state = wanted()
    many = tuple(parse_net(f"10.0.1.{number}") for number in range(1, 41))
    (key,) = state.endpoints
    state.endpoints[key] = msgspec.structs.replace(state.endpoints[key], addresses=many)
    kernel = Slow(*(tracked(PEER, address, 80) for address in many))
    flows = Flows(state, set, kernel, Bars(), stopwatch=lambda: kernel.clock)
    flows.changed(all_of(state))
    flows.judge(SETTINGS, 0.0)
    flows.changed(all_of(state))
    while flows.wake_at() == 0.0:
        flows.judge(SETTINGS, 0.0)

    assert (kernel.flows, kernel.listed) == ([], 2)


def test_while_the_firewall_cannot_be_brought_up_to_date_nothing_is_judged_and_nobody_is_kept_busy() -> None:
    state = wanted()
    kernel = Slow(*(tracked(PEER, GUEST, port) for port in range(1, 6)))
    flows = Flows(state, set, kernel, Bars(), stopwatch=lambda: kernel.clock)
    flows.changed(all_of(state))
    flows.release(set(), 0.0)
    flows.judge(SETTINGS, 0.0)
    assert flows.wake_at() == 0.0

    flows.release(set(), 0.0)

    assert flows.wake_at() != 0.0


def test_answers_of_udp_are_barred_for_as_long_as_the_kernel_remembers_a_flow_and_others_not() -> None:
    state = wanted()
    kernel, bars = Kernel(tracked(PEER, GUEST, 53, protocol=17), tracked(PEER, GUEST, 53, protocol=132)), Bars()
    flows = Flows(state, set, kernel, bars)
    flows.changed(all_of(state))

    flows.judge(SETTINGS, 0.0)

    assert (flows.ended, flows.wake_at()) == (2, UDP_PERIOD)
    flows.judge(SETTINGS, UDP_PERIOD)
    assert flows.wake_at() is None


def test_flows_of_an_address_released_in_the_same_step_are_not_listed_again() -> None:
    state, kernel = wanted(80), Kernel()
    flows = Flows(state, lambda: {HOST}, kernel, Bars())
    asked: list[Collection[Net]] = []
    kernel.parts = lambda addresses: asked.append(addresses) or iter(())  # type: ignore[method-assign,func-returns-value]

    flows.release({GUEST}, 0.0)
    flows.changed(all_of(state))
    flows.judge(SETTINGS, 0.0)
    assert asked == [set()]

    flows.release(set(), 1.0)
    flows.changed(all_of(state))
    flows.judge(SETTINGS, 1.0)
    assert asked == [set(), {GUEST}]
