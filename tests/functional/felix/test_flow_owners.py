"""Flows and those to whom they belong: addresses that move, floating IPs and settings that change. A real kernel.

The flows are made by hand (`conntrack -I`), so that each test says exactly what was there.
"""

import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec
import pytest

from calico_openstack.felix.dataplane import Dataplane, DataplaneSettings
from calico_openstack.felix.kernel.access import KernelAccess
from calico_openstack.felix.kernel.conntrack import Conntrack
from calico_openstack.felix.kernel.nft import NftRefused, NftTables
from calico_openstack.felix.ruleset.objects import NftChanges
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint, WantedProfile, WantedRule
from calico_openstack.model.endpoint import EndpointKey, Nat
from calico_openstack.model.net import Net, parse_net
from calico_openstack.testing.compute_host import Guest, eventually, ip

pytestmark = pytest.mark.root

ADDRESS, ADDRESS6, OTHER, PEER, FLOATING = "10.0.0.1", "2001:db8::1", "10.0.0.9", "192.0.2.7", "172.24.4.33"
OPEN = WantedProfile(name="open", ingress=(WantedRule(action="allow"),), egress=(WantedRule(action="allow"),))


def endpoint(tap: str, *addresses: str, nats: tuple[Nat, ...] = ()) -> WantedEndpoint:
    return WantedEndpoint(
        key=EndpointKey("openstack", "h", "openstack", "vm", tap),
        interface=tap,
        mac="fa:16:3e:00:00:01" if tap == "tap1" else "fa:16:3e:00:00:02",
        addresses=tuple(parse_net(text) for text in addresses),
        profiles=("open",),
        nats=nats,
    )


def says(*endpoints: WantedEndpoint, gone: Iterable[WantedEndpoint] = ()) -> Changes:
    return Changes(
        profiles={"open": OPEN},
        endpoints={one.key: one for one in endpoints},
        endpoints_removed={one.key for one in gone},
    )


def track(source: str, destination: str, port: int, to: str = "", speaks_as: str = "") -> None:
    """A flow of UDP, opened by `source`; `to`: where it is translated to, `speaks_as`: the source that it shows."""
    back = ["--reply-src", to or destination, "--reply-dst", speaks_as or source]
    back += ["--reply-port-src", str(port), "--reply-port-dst", "4000"]
    ends = ["-s", source, "-d", destination, "-p", "udp", "--sport", "4000", "--dport", str(port)]
    command = ["conntrack", "-I", *ends, *back, "-t", "600"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def tracked() -> set[tuple[str, str, str]]:
    """(source, destination, destination port) of the first packet of each flow."""
    found = set()
    for family in ("ipv4", "ipv6"):
        listed = subprocess.run(["conntrack", "-L", "-f", family], capture_output=True, text=True, check=True).stdout
        for line in listed.splitlines():
            words = dict(reversed([word.split("=") for word in line.split() if "=" in word]))
            if "dport" in words:
                found.add((words["src"], words["dst"], words["dport"]))
    return found


class Watched(Conntrack):
    """Notes the routes at the time of each release; `between` happens right after."""

    def __init__(self) -> None:
        super().__init__()
        self.routes: list[str] = []
        self.between: Callable[[], None] = lambda: None

    def release(self, addresses: Iterable[Net]) -> None:
        super().release(addresses)
        self.routes.append(ip("route", "show", ADDRESS))
        between, self.between = self.between, lambda: None
        between()


class Refusing(NftTables):
    refuses = False

    def apply(self, changes: NftChanges) -> None:
        if self.refuses:
            raise NftRefused(OSError("not now"))
        super().apply(changes)


@dataclass
class Stage:
    now: float = 1000.0
    conntrack: Watched = field(default_factory=Watched)
    tables: Refusing = field(default_factory=Refusing)
    settings: DataplaneSettings = field(default_factory=DataplaneSettings)

    def __post_init__(self) -> None:
        self.dataplane = self.begun()

    def begun(self) -> Dataplane:
        kernel = KernelAccess.open()
        kernel.tables.close()
        kernel.conntrack, kernel.tables = self.conntrack, self.tables
        return Dataplane(self.settings, lambda: self.now, kernel)

    def restart(self) -> None:
        self.dataplane.close()
        self.conntrack, self.tables = Watched(), Refusing()
        self.dataplane = self.begun()

    def step(self, changes: Changes | None = None) -> int:
        """One change, and the steps that it leads to by itself; how many flows ended."""
        ended = self.conntrack.ended
        report = self.dataplane.step(changes or Changes(), self.now)
        for _ in range(200):
            if report.wake_at is None or report.wake_at > self.now:
                break
            report = self.dataplane.step(Changes(), self.now)
        return self.conntrack.ended - ended


@pytest.fixture
def stage(guest: Callable[..., Guest]) -> Iterator[Stage]:
    for number in (1, 2):
        one = guest(f"tap{number}", f"fa:16:3e:00:00:0{number}")
        eventually(lambda tap=one.tap: "state UP" in ip("link", "show", tap), "carries")
    made = Stage()
    yield made
    made.dataplane.close()


ONE, TWO = endpoint("tap1", ADDRESS, ADDRESS6), endpoint("tap2", ADDRESS, ADDRESS6)
ALIEN = (OTHER, PEER, "80")


def begin(stage: Stage) -> None:
    """Endpoint one with flows that it opened and such that were opened towards it, and a flow of somebody else."""
    stage.step(says(ONE))
    track(ADDRESS, PEER, 80)
    track(PEER, ADDRESS, 81)
    track(ADDRESS6, "2001:db8:7::7", 80)
    track("2001:db8:7::7", ADDRESS6, 81)
    track(OTHER, PEER, 80)
    assert len(tracked()) == 5


@pytest.mark.conformance("R15")
def test_flows_of_an_address_end_before_its_next_owner_gets_the_route(stage: Stage) -> None:
    begin(stage)
    assert "tap1" in ip("route", "show", ADDRESS)

    stage.step(says(TWO, gone=[ONE]))

    assert "tap2" not in stage.conntrack.routes[0]
    assert tracked() == {ALIEN}
    assert "tap2" in ip("route", "show", ADDRESS)
    assert "tap2" in ip("-6", "route", "show", ADDRESS6)


@pytest.mark.conformance("R15")
def test_a_flow_that_a_packet_begins_between_the_end_of_the_old_ones_and_the_new_route_ends_too(stage: Stage) -> None:
    begin(stage)
    stage.conntrack.between = lambda: track(PEER, ADDRESS, 82)

    stage.step(says(TWO, gone=[ONE]))

    assert tracked() == {ALIEN}


def test_released_addresses_stay_owed_until_the_firewall_has_forgotten_their_owner(stage: Stage) -> None:
    begin(stage)
    stage.tables.refuses = True
    stage.step(says(gone=[ONE]))
    # The kernel's firewall still lets the former owner send.
    track(ADDRESS, PEER, 83)
    stage.tables.refuses = False
    stage.now += 60

    stage.step()

    assert tracked() == {ALIEN}


@pytest.mark.conformance("R15")
def test_many_addresses_that_nobody_gets_lose_their_flows(stage: Stage) -> None:
    many = [f"10.0.1.{number}" for number in range(1, 31)]
    host = endpoint("tap1", *many)
    stage.step(says(host))
    for address in many:
        track(address, PEER, 80)
        track(PEER, address, 81)
    track(OTHER, PEER, 80)

    assert stage.step(says(gone=[host])) == 60

    assert tracked() == {ALIEN}


def test_a_floating_ip_that_was_removed_while_felix_was_away_loses_its_flows_at_the_start(stage: Stage) -> None:
    nat = Nat(parse_net(ADDRESS), parse_net(FLOATING))
    stage.step(says(endpoint("tap1", ADDRESS, nats=(nat,))))
    track(PEER, FLOATING, 80, to=ADDRESS)
    track(PEER, "192.0.2.1", 82, to=ADDRESS)  # another program's translation
    track(PEER, ADDRESS, 81)
    stage.restart()

    stage.step(says(endpoint("tap1", ADDRESS)))

    assert tracked() == {(PEER, "192.0.2.1", "82"), (PEER, ADDRESS, "81")}


def test_a_floating_ip_that_stays_keeps_its_flows_over_a_restart(stage: Stage) -> None:
    nat = Nat(parse_net(ADDRESS), parse_net(FLOATING))
    stage.step(says(endpoint("tap1", ADDRESS, nats=(nat,))))
    track(PEER, FLOATING, 80, to=ADDRESS)
    stage.restart()

    stage.step(says(endpoint("tap1", ADDRESS, nats=(nat,))))

    assert tracked() == {(PEER, FLOATING, "80")}


def use(stage: Stage, **ruleset: object) -> None:
    rules = RulesetSettings(**ruleset)  # type: ignore[arg-type]
    stage.settings = DataplaneSettings(ruleset=rules, host=stage.settings.host)
    stage.dataplane.use(stage.settings)
    stage.step()


def test_flows_that_other_settings_do_not_allow_end(stage: Stage) -> None:
    ip("address", "add", "192.0.2.1/32", "dev", "lo")
    use(stage, endpoint_to_host="accept", allow_vxlan=True)
    stage.step(says(ONE))
    for destination, port in ((PEER, 80), (PEER, 4789), ("192.0.2.1", 22), ("192.0.2.1", 53)):
        track(ADDRESS, destination, port)
    use(stage, endpoint_to_host="accept", allow_vxlan=True, log_prefix="other")
    assert len(tracked()) == 4

    use(stage, endpoint_to_host="drop", allow_vxlan=True)
    assert tracked() == {(ADDRESS, PEER, "80"), (ADDRESS, PEER, "4789"), (ADDRESS, "192.0.2.1", "53")}

    use(stage)
    assert tracked() == {(ADDRESS, PEER, "80"), (ADDRESS, "192.0.2.1", "53")}

    use(stage, dns=False)
    assert tracked() == {(ADDRESS, PEER, "80")}

    use(stage, dns=False, tap_prefixes=("cali",))
    assert tracked() == set()


def test_a_guest_does_not_go_on_speaking_as_its_floating_ip_when_the_setting_ends(stage: Stage) -> None:
    nat = Nat(parse_net(ADDRESS), parse_net(FLOATING))
    use(stage, floating_source=True)
    stage.step(says(msgspec.structs.replace(ONE, nats=(nat,))))
    track(ADDRESS, PEER, 80, speaks_as=FLOATING)
    track(ADDRESS, PEER, 81)

    use(stage, floating_source=False)

    assert tracked() == {(ADDRESS, PEER, "81")}
