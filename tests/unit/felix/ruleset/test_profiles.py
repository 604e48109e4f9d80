"""Profiles that pass: the profiles behind them are asked, as after a tier."""

from calico_openstack.felix.ruleset import objects, walk
from calico_openstack.felix.ruleset.difference import as_read
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint, WantedMatch, WantedProfile, WantedRule
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import host_net
from calico_openstack.model.policy import PortRange

GUEST, OTHER = host_net("10.65.0.1"), host_net("10.65.0.2")
KEY = EndpointKey("openstack", "here", "openstack", "vm", "port")


def rule(action: str, *ports: int) -> WantedRule:
    match = WantedMatch(ports=tuple(PortRange(port, port) for port in ports))
    return WantedRule(action=action, protocol=6 if ports else None, destination=match)  # type: ignore[arg-type]


def profile(name: str, *rules: WantedRule) -> Changes:
    return Changes(profiles={name: WantedProfile(name=name, ingress=rules)})


class Host:
    """One guest with three profiles."""

    def __init__(self, *first: Changes) -> None:
        self.renderer = RulesetRenderer(RulesetSettings())
        self.kernel: objects.Ruleset = {}
        for one in first:
            self.take(one)
        guest = WantedEndpoint(key=KEY, interface="tap1", mac=None, addresses=(GUEST,), profiles=("a", "b", "c"))
        self.take(Changes(endpoints={KEY: guest}))

    def take(self, batch: Changes) -> None:
        objects.apply(self.kernel, self.renderer.apply(batch))
        assert as_read(self.kernel) == as_read(self.renderer.full())

    def open_ports(self) -> set[int]:
        packets = {
            port: walk.packet(OTHER, GUEST, 6, ports=(1024, port), in_interface="eth0", out_interface="tap1")
            for port in (22, 80, 443, 8080)
        }
        return {port for port, one in packets.items() if walk.forwarded(self.kernel, one).result == "accept"}


def test_what_a_profile_passes_is_decided_by_those_behind_it() -> None:
    host = Host(
        profile("a", rule("allow", 22), rule("pass", 80), rule("deny", 443)),
        profile("b", rule("deny", 22), rule("pass", 8080), rule("allow", 80), rule("allow", 443), rule("deny", 8080)),
        profile("c", rule("allow", 8080)),
    )

    assert host.open_ports() == {22, 80, 8080}


def test_what_the_last_profile_passes_is_denied() -> None:
    host = Host(profile("c", rule("pass", 80), rule("allow", 22), rule("allow", 80)))

    assert host.open_ports() == {22}


def test_profiles_begin_and_cease_to_pass_and_leave_nothing_behind() -> None:
    host = Host(profile("a", rule("deny", 80)), profile("b", rule("allow", 80)))
    before = as_read(host.kernel)
    assert host.open_ports() == set()

    host.take(profile("a", rule("pass", 80)))
    assert host.open_ports() == {80}
    host.take(profile("b", rule("pass", 80)))
    assert host.open_ports() == set()
    host.take(profile("c", rule("allow", 80)))
    assert host.open_ports() == {80}
    host.take(Changes(profiles_removed={"c"}))
    host.take(profile("b", rule("allow", 80)))
    host.take(profile("a", rule("deny", 80)))

    assert host.open_ports() == set()
    assert as_read(host.kernel) == before
