"""The firewall's book-keeping, with tables that refuse what they are told to refuse."""

from collections.abc import Callable
from typing import cast

from calico_openstack.felix.firewall import Firewall
from calico_openstack.felix.kernel.nft import NftRefused, NftTables
from calico_openstack.felix.ruleset.difference import Actual, as_read, difference
from calico_openstack.felix.ruleset.objects import NftChanges, Ruleset, apply
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import Changes, Wanted, WantedEndpoint
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import parse_net
from calico_openstack.netlink.socket import NetlinkError


class Tables:
    """nf_tables in memory. Refuses every transaction in which one of the `bad` texts occurs."""

    def __init__(self) -> None:
        self.content: Ruleset = {}
        self.bad: set[bytes] = set()
        self.commits = 0

    def generation(self) -> int:
        return self.commits

    def apply(self, changes: NftChanges) -> None:
        if any(word.decode() in repr(changes) for word in self.bad):
            raise NftRefused(NetlinkError(22, "no such thing"))
        if changes:
            self.commits += 1
            apply(self.content, changes)

    def synchronise(self, wanted: Ruleset, look: Callable[[Actual], None] = lambda actual: None) -> NftChanges:
        look(as_read(self.content))
        changes = difference(wanted, as_read(self.content))
        self.apply(changes)
        return changes

    def knows(self, interface: str) -> bool:
        return interface in repr(self.content)


class Stage:
    def __init__(self) -> None:
        self.tables = Tables()
        self.wanted = Wanted()
        self.firewall = Firewall(RulesetSettings(), self.wanted, cast(NftTables, self.tables))

    def step(self, changes: Changes, now: float) -> bool:
        self.wanted.apply(changes)
        return self.firewall.step(changes, now)


def key(name: str) -> EndpointKey:
    return EndpointKey("openstack", "h", "openstack", "vm", name)


def endpoints(*names: str) -> Changes:
    return Changes(
        endpoints={
            key(name): WantedEndpoint(key=key(name), interface=f"tap-{name}", addresses=(parse_net("10.0.0.1"),))
            for name in names
        }
    )


def test_an_endpoint_that_the_kernel_refuses_is_held_back_and_the_others_go_on() -> None:
    stage = Stage()
    assert stage.step(endpoints("good"), 0)
    stage.tables.bad = {b"tap-bad"}

    assert stage.step(endpoints("bad"), 1)
    assert "no such thing" in stage.firewall.refused[key("bad")]
    assert stage.step(endpoints("later"), 1.5)

    assert (stage.tables.knows("tap-good"), stage.tables.knows("tap-bad"), stage.tables.knows("tap-later")) == (
        True,
        False,
        True,
    )


def test_after_a_restart_working_guests_are_not_cut_off_for_one_that_is_refused() -> None:
    stage = Stage()
    stage.step(endpoints("good"), 0)
    before = repr(stage.tables.content)
    again = Stage()
    again.tables = stage.tables
    again.firewall = Firewall(RulesetSettings(), again.wanted, cast(NftTables, again.tables))
    stage.tables.bad = {b"tap-bad"}

    assert not again.step(endpoints("good", "bad"), 10)

    assert repr(stage.tables.content) == before
    assert again.firewall.trouble is not None


def test_it_is_tried_again_with_a_growing_pause_until_it_is_taken() -> None:
    stage = Stage()
    stage.step(endpoints("good"), 0)
    stage.tables.bad = {b"tap-bad"}
    stage.step(endpoints("bad"), 1)
    assert stage.firewall.wake_at() == 2

    assert stage.step(Changes(), 2)
    assert stage.firewall.wake_at() == 4
    stage.tables.bad = set()
    assert stage.step(Changes(), 4)

    assert stage.tables.knows("tap-bad")
    assert stage.firewall.refused == {}


def test_a_removed_endpoint_is_not_tried_again() -> None:
    stage = Stage()
    stage.step(endpoints("good"), 0)
    stage.tables.bad = {b"tap-bad"}
    stage.step(endpoints("bad"), 1)

    stage.step(Changes(endpoints_removed={key("bad")}), 2)

    assert stage.firewall.refused == {}
    assert stage.firewall.wake_at() is None


def test_a_kernel_that_refuses_everything_is_a_trouble_with_a_reason_and_recovers() -> None:
    stage = Stage()
    stage.tables.bad = {b"forward"}

    assert not stage.step(endpoints("a"), 0)
    assert "no such thing" in (stage.firewall.trouble or "")
    assert not stage.step(Changes(), 0.5)

    stage.tables.bad = set()
    assert stage.step(Changes(), 60)
    assert stage.firewall.trouble is None


def test_what_somebody_else_commits_is_repaired_but_our_own_commits_are_not_read_back() -> None:
    stage = Stage()
    stage.step(endpoints("a"), 0)
    stage.firewall.somebody_committed()
    stage.step(Changes(), 10)
    operations = stage.firewall.operations

    stage.tables.content.clear()
    stage.tables.commits += 1
    stage.step(Changes(), 20)
    assert stage.firewall.operations == operations  # nobody has told us yet

    stage.firewall.somebody_committed()
    stage.step(Changes(), 30)

    assert stage.tables.knows("tap-a")
