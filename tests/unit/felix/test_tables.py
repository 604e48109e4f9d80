"""What a running Felix knows, as text."""

from dataclasses import replace

import pytest

from calico_openstack.felix.obstacles import Obstacle
from calico_openstack.felix.rows import seconds, table, visible, words
from calico_openstack.felix.settings import FelixSettings, Source, resolve
from calico_openstack.felix.tables import TABLES, Move, Pending, Snapshot
from calico_openstack.felix.wanted.state import (
    SetId,
    WantedEndpoint,
    WantedHostEndpoint,
    WantedMatch,
    WantedPolicy,
    WantedProfile,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import parse_net
from calico_openstack.model.policy import PolicyKey, PortRange

UP = EndpointKey("openstack", "compute-01", "openstack", "vm-1", "port-1")
ABSENT = EndpointKey("openstack", "compute-01", "openstack", "vm-2", "port-2")
WEB = PolicyKey("NetworkPolicy", "openstack", "ossg.default.web")
SSH = WantedRule(
    action="allow",
    protocol=6,
    source=WantedMatch(sets=(SetId("s:abc"),)),
    destination=WantedMatch(ports=(PortRange(22, 22), PortRange(8000, 8080))),
)


@pytest.fixture
def now() -> Snapshot:
    tiers = (WantedTier(name="default", ingress=(WEB,), egress=(WEB,)),)
    return Snapshot(
        settings=FelixSettings("compute-01", etcd_password="open-sesame"),
        origins={"FelixHostname": "/etc/calico/felix.cfg", "EtcdPassword": "environment"},
        endpoints={
            UP: WantedEndpoint(
                key=UP, interface="tap1", addresses=(parse_net("10.65.0.1/32"),), tiers=tiers, profiles=("p",)
            )
        },
        statuses={UP: True},
        downs={ABSENT: "another endpoint owns interface tap1"},
        policies={WEB: WantedPolicy(key=WEB, ingress=(SSH,))},
        profiles={"p": WantedProfile(name="p")},
        sets={SetId("s:abc"): 3, SetId("s:large"): 20000},
        pending=(
            Pending("route", "ifindex=3", 5.0, 2.0, "No space left on device"),
            Pending("interface", "tap1", 4000.0, 31.0, "the firewall could not be programmed"),
        ),
        moves=(
            Move("tap1", "vm", "time-wait", 12.0),
            Move("tap0", "10.0.0.100/32", "may claim"),
        ),
        documents={"/calico/x": "selector: unexpected end"},
        health="dataplane live ready\nsignal store-in-sync 3.0s ago\n",
        obstacles=(Obstacle("chain f of table inet mine", "its policy is drop", "let them pass"),),
    )


def rows(name: str, now: Snapshot) -> list[str]:
    return [" ".join(line.split()) for line in TABLES[name](now).splitlines()]


def test_endpoints_tell_what_is_up_and_why_others_are_not(now: Snapshot) -> None:
    assert rows("endpoints", now)[1:] == [
        "tap1 up port-1 10.65.0.1/32 1",
        "- absent port-2 - 0 another endpoint owns interface tap1",
    ]


def test_other_software_that_stops_guests_is_named_with_the_cure(now: Snapshot) -> None:
    assert rows("others", now) == ["WHERE WHY CURE", "chain f of table inet mine its policy is drop let them pass"]


def test_policies_have_counts_of_rules_and_of_endpoints(now: Snapshot) -> None:
    assert rows("policies", now)[1:] == [
        "NetworkPolicy openstack/ossg.default.web 1 - 1",
        "Profile p 0 0 1",
    ]


def test_sets_come_with_their_sizes_the_largest_first(now: Snapshot) -> None:
    assert rows("sets", now) == ["SET MEMBERS", "s:large 20000", "s:abc 3"]


def test_wanted_shows_each_rule_on_a_line(now: Snapshot) -> None:
    lines = rows("wanted", now)

    assert lines[1] == "policy NetworkPolicy openstack/ossg.default.web"
    assert lines[2] == "ingress 0: action=allow protocol=6 source.sets=s:abc destination.ports=22,8000-8080"


def test_pending_names_the_oldest_first_with_since_when_when_next_and_why(now: Snapshot) -> None:
    assert rows("pending", now)[1:] == [
        "interface tap1 1h6m ago in 31.0s the firewall could not be programmed",
        "route ifindex=3 5.0s ago in 2.0s No space left on device",
    ]


def test_settings_name_their_source_and_no_secret(now: Snapshot) -> None:
    text = TABLES["settings"](now)

    assert "FelixHostname compute-01 /etc/calico/felix.cfg" in " ".join(text.split())
    assert "HealthPort 9099 built in" in " ".join(text.split())
    assert "EtcdPassword (set) environment" in " ".join(text.split())
    assert "open-sesame" not in text


def test_the_source_of_a_setting_is_the_strongest_that_can_be_understood() -> None:
    strong = Source("environment", {"HealthPort": "many", "LogPrefix": "x"}, local=True)
    weak = Source("FelixConfiguration default", {"HealthPort": "9100", "LogPrefix": "y"})

    assert resolve("compute-01", [strong, weak]).origins == {
        "HealthPort": "FelixConfiguration default",
        "LogPrefix": "environment",
    }


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_something_to_say_and_lets_nothing_move_the_cursor(name: str, now: Snapshot) -> None:
    evil = "x\x1b[2J\nFAKE line\r"
    attacked = replace(
        now,
        downs={ABSENT: evil},
        sets={SetId(evil): 1},
        documents={evil: evil},
        pending=(Pending("route", evil, 1, 1, evil),),
        health=evil,
        profiles={evil: WantedProfile(name=evil)},
        settings=FelixSettings(evil),
    )
    for text in (TABLES[name](now), TABLES[name](attacked)):
        assert text.strip()
        assert text.endswith("\n")
        assert "\x1b" not in text
        assert "\r" not in text
        assert name == "health" or not any(line.startswith("FAKE") for line in text.splitlines())


def test_an_empty_table_has_its_heads() -> None:
    assert table(("A", "B"), ()) == "A  B\n"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(("A", "B", "C"), [("long", "x", "1"), ("y", "", "")]) == "A     B  C\nlong  x  1\ny\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "true"),
        (1.5, "1.5"),
        (90.0, "90"),
        (("tap", "cali"), "tap,cali"),
        (WEB, "NetworkPolicy openstack/ossg.default.web"),
        (PolicyKey("GlobalNetworkPolicy", "", "g"), "GlobalNetworkPolicy g"),
        (UP._replace(namespace="openstack-region-one"), "openstack-region-one/port-1"),
        (parse_net("2001:db8::1/128"), "2001:db8::1/128"),
        ("a\tb", "a\\x09b"),
    ],
)
def test_a_value_is_one_line(value: object, text: str) -> None:
    assert words(value) == text


def test_only_what_is_not_printable_is_replaced() -> None:
    assert visible("Zürich ✓") == "Zürich ✓"
    assert visible("\u202e") == "\\x202e"


@pytest.mark.parametrize(("duration", "text"), [(-1, "0.0s"), (59.94, "59.9s"), (61, "1m1s"), (90061, "1d1h")])
def test_durations_are_short(duration: float, text: str) -> None:
    assert seconds(duration) == text


def test_host_endpoints_are_shown_with_the_interfaces_where_they_are_in_force(now: Snapshot) -> None:
    tier = WantedTier(name="default", ingress=(PolicyKey("GlobalNetworkPolicy", "", "hosts"),))
    shown = replace(
        now,
        host_endpoints={
            "all": WantedHostEndpoint(name="all", interface="*", tiers=(tier,), forward=(tier,)),
            "lost": WantedHostEndpoint(name="lost", addresses=(parse_net("192.0.2.9"),)),
        },
        host_interfaces={"*": "all"},
    )

    lines = [" ".join(line.split()) for line in TABLES["endpoints"](shown).splitlines()]

    assert "* in force HostEndpoint all - 1" in lines
    assert any(line.startswith("- idle HostEndpoint lost 192.0.2.9/32 0 no interface has") for line in lines)


def test_moves_tell_who_comes_and_until_when(now: Snapshot) -> None:
    assert rows("moves", now)[1:] == ["tap0 10.0.0.100/32 may claim -", "tap1 vm time-wait in 12.0s"]
