"""Taps whose guests move and quarrel, against a model that knows only who wants what now and who claimed last."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.felix.kernel.routes import RouteKey
from calico_openstack.felix.taps import Difference, Taps
from calico_openstack.felix.wanted.host import HostRules
from calico_openstack.felix.wanted.migration import Phase
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint
from calico_openstack.felix.wanted.watch import Watch
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import Net, host_net
from calico_openstack.netlink.rtnl_links import Link
from calico_openstack.netlink.rtnl_routes import Route

NETS = tuple(host_net(text) for text in ("10.0.0.1", "10.0.0.2", "2001:db8::1"))
PAIRS = NETS[1:]
TAPS = ("tap1", "tap2", "tap3")
MAC = "fa:16:3e:00:00:01"


def key(interface: str) -> EndpointKey:
    return EndpointKey("openstack", "h", "openstack", "vm", interface)


@dataclass
class Host:
    """The taps, and a kernel that does what it is told: what is to be made first, then what is to go."""

    links: dict[str, Link] = field(default_factory=dict)
    wants: dict[str, tuple[Net, ...]] = field(default_factory=dict)
    phases: dict[str, Phase] = field(default_factory=dict)
    claimed: dict[Net, int] = field(default_factory=dict)
    kernel: dict[RouteKey, Route] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.taps = Taps(HostRules(), self.links.get, lambda key: self.phase(key.endpoint))

    def phase(self, interface: str) -> Phase:
        return self.phases.get(interface, Phase.BASE)

    def told(self, difference: Difference) -> None:
        before = {route.destination for route in self.kernel.values()}
        for made, route in difference.routes.items():
            if route is not None:
                self.kernel[made] = route
        assert before <= {route.destination for route in self.kernel.values()}
        for gone, route in difference.routes.items():
            if route is None:
                self.kernel.pop(gone, None)
        self.claimed = {net: ifindex for net, ifindex in self.claimed.items() if ifindex in self.claimants(net)}

    def claimants(self, net: Net) -> dict[int, str]:
        return {
            self.links[interface].ifindex: interface
            for interface, nets in self.wants.items()
            if net in nets and interface in self.links and self.phase(interface) is not Phase.TARGET
        }

    def winner(self, net: Net) -> int | None:
        return self.claimed.get(net, max(self.claimants(net), default=None))

    def expected(self) -> dict[Net, tuple[int, int]]:
        """Interface and metric by prefix."""
        found = {}
        for net in NETS:
            ifindex = self.winner(net)
            if ifindex is not None:
                elevated = self.phase(self.claimants(net)[ifindex]).elevated
                found[net] = (ifindex, 512 if elevated else 1024)
        return found

    def watches(self) -> dict[str, Watch]:
        found = {}
        for interface, nets in self.wants.items():
            if interface not in self.links:
                continue
            arriving = nets if self.phase(interface) is Phase.TARGET else None
            ifindex = self.links[interface].ifindex
            shared = (net for net in nets if net in PAIRS or len(self.claimants(net)) > 1)
            claimable = (net for net in shared if arriving is None and self.claimed.get(net) != ifindex)
            watch = Watch(MAC, arriving, tuple(sorted(claimable)))
            if watch:
                found[interface] = watch
        return found


steps = st.one_of(
    st.tuples(st.just("wants"), st.sampled_from(TAPS), st.lists(st.sampled_from(NETS), unique=True).map(tuple)),
    st.tuples(st.just("gone"), st.sampled_from(TAPS)),
    st.tuples(st.just("link"), st.sampled_from(TAPS), st.one_of(st.none(), st.integers(2, 30))),
    st.tuples(st.just("phase"), st.sampled_from(TAPS), st.sampled_from(Phase)),
    st.tuples(st.just("claims"), st.sampled_from(TAPS), st.sets(st.sampled_from(NETS))),
    st.tuples(st.just("claims"), st.sampled_from(TAPS), st.sets(st.sampled_from(NETS))),
)


def act(host: Host, step: tuple[object, ...]) -> set[str]:
    """Do the step; the interfaces that are to be listened to anew."""
    match step:
        case ("wants", str(interface), tuple(nets)):
            host.wants[interface] = nets
            pairs = tuple(net for net in nets if net in PAIRS)
            endpoint = WantedEndpoint(
                key=key(interface), interface=interface, mac=MAC, addresses=nets, allowed_pairs=pairs
            )
            difference = host.taps.update(Changes(endpoints={endpoint.key: endpoint}))
        case ("gone", str(interface)):
            host.wants.pop(interface, None)
            difference = host.taps.update(Changes(endpoints_removed={key(interface)}))
        case ("link", str(interface), ifindex):
            host.links.pop(interface, None)
            if isinstance(ifindex, int) and ifindex not in [link.ifindex for link in host.links.values()]:
                host.links[interface] = Link(interface, ifindex, up=True, running=True)
            difference = host.taps.update(Changes(), [interface])
        case ("phase", str(interface), Phase() as phase):
            host.phases[interface] = phase
            difference = host.taps.update(Changes(), [interface])
        case ("claims", str(interface), set(nets)):
            for net in nets:
                ifindex = host.links[interface].ifindex if interface in host.links else 0
                if ifindex in host.claimants(net):
                    host.claimed[net] = ifindex
            difference = host.taps.claimed(interface, nets)
        case _:
            raise AssertionError(step)
    host.told(difference)
    return difference.watched


def routed(routes: Iterable[Route]) -> dict[Net, tuple[int, int]]:
    return {route.destination: (route.ifindex, route.metric) for route in routes}


@given(st.lists(steps, max_size=25))
def test_each_address_has_the_one_route_that_the_present_and_the_last_claim_ask_for(
    history: list[tuple[object, ...]],
) -> None:
    host = Host()
    listening: dict[str, Watch] = {}
    for step in history:
        for interface in act(host, step):
            watch = host.taps.watch(interface)
            listening.pop(interface, None)
            if watch is not None:
                listening[interface] = watch

        assert routed(host.kernel.values()) == host.expected()
        assert len(host.kernel) == len(host.expected())
        assert host.kernel == host.taps.routes
        # Only the interfaces that were named are looked at again, and that is enough.
        assert listening == host.watches()
