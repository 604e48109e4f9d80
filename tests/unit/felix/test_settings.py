"""Settings: who wins, what is understood, what must not start."""

from pathlib import Path
from typing import Any

import pytest

from calico_openstack.daemon.settings import SettingsError
from calico_openstack.felix.dataplane_settings import dataplane_settings, ruleset_settings
from calico_openstack.felix.parameters import LOCAL, SHARED, parameter, parameter_of_field
from calico_openstack.felix.ruleset.settings import LogRate
from calico_openstack.felix.settings import TYPED, FelixSettings, Source, resolve
from calico_openstack.felix.settings_sources import client_source, datastore_sources, environment_source, file_source
from calico_openstack.model.cluster import FelixConfiguration
from calico_openstack.model.net import host_net
from calico_openstack.model.selector import parse


def configuration(name: str, selector: str | None = None, created: str = "", **fields: Any) -> FelixConfiguration:
    return FelixConfiguration(
        name=name, node_selector=parse(selector) if selector else None, created=created, fields=fields
    )


def settings(**values: str) -> FelixSettings:
    return resolve("host", [Source("test", values, local=True)]).settings


def test_the_stronger_source_wins(tmp_path: Path) -> None:
    file = tmp_path / "felix.cfg"
    file.write_text("[global]\nRouteRefreshInterval = 11\nHealthPort = 1111\n# HealthHost = x\n[other]\nvxlanport=99\n")
    stored = datastore_sources(
        [
            configuration("default", routeRefreshInterval="1m30s", logPrefix="d", nftablesRefreshInterval="7s"),
            configuration("node.host", logPrefix="n"),
            configuration("rack", "rack == 'a'", logPrefix="r", nftablesRefreshInterval="8s"),
        ],
        "host",
        {"rack": "a"},
    )

    found = resolve("host", [environment_source({"FELIX_HEALTHPORT": "2222"}), file_source(file), *stored]).settings

    assert (found.health_port, found.route_refresh_interval, found.vxlan_port) == (2222, 11.0, 99)
    assert (found.log_prefix, found.nftables_refresh_interval) == ("n", 8.0)


def test_of_several_matching_configurations_the_oldest_counts() -> None:
    sources = datastore_sources(
        [
            configuration("b", "all()", "2026-01-02"),
            configuration("a", "all()", "2026-01-03"),
            configuration("c", "!all()"),
        ],
        "host",
        {},
    )

    assert [source.name for source in sources] == ["FelixConfiguration b"]


def test_values_of_the_datastore_come_in_all_json_types() -> None:
    fields = {
        "ipv6Support": False,
        "deviceRouteProtocol": 80,
        "reportingInterval": "45s",
        "failsafeInboundHostPorts": [],
    }
    (source,) = datastore_sources([configuration("default", **fields)], "host", {})

    found = resolve("host", [source]).settings

    assert (found.ipv6_support, found.device_route_protocol, found.reporting_interval_secs) == (False, 80, 45.0)


def test_an_annotation_overrides_the_field() -> None:
    plain = configuration("default", logPrefix="field")
    annotated = FelixConfiguration(name="default", fields=plain.fields, overrides={"LogPrefix": "annotation"})

    (source,) = datastore_sources([annotated], "host", {})

    assert resolve("host", [source]).settings.log_prefix == "annotation"


def test_a_bad_value_of_the_datastore_is_reported_and_the_next_counts() -> None:
    strong = Source("FelixConfiguration node.host", {"InterfacePrefix": "tap,b ad", "HealthPort": "0"})
    weak = Source("FelixConfiguration default", {"InterfacePrefix": "tap,cali"})

    found = resolve("host", [strong, weak])

    assert found.settings.interface_prefix == ("tap", "cali")
    assert len(found.problems) == 2
    assert "node.host: HealthPort = '0'" in found.problems[1]


def test_a_bad_name_of_this_host_does_not_start() -> None:
    with pytest.raises(SettingsError, match="FelixHostname = 'a b'"):
        settings(FelixHostname="a b")
    with pytest.raises(SettingsError, match="OpenstackRegion"):
        settings(OpenstackRegion="No Region")


def test_local_parameters_are_ignored_in_the_datastore() -> None:
    found = resolve("host", [Source("FelixConfiguration default", {"EtcdEndpoints": "http://evil:1"})])

    assert found.settings.etcd_endpoints == ()
    assert "EtcdEndpoints" in found.problems[0]


def test_none_means_no_such_thing_and_empty_means_not_set() -> None:
    assert settings(MetadataAddr="none").metadata_addr is None
    assert settings(MetadataAddr="").metadata_addr == "127.0.0.1"
    assert settings(RouteRefreshInterval="none").route_refresh_interval == 0


def test_etcd_is_one_address_or_a_list() -> None:
    assert settings(EtcdAddr="etcd:2379", EtcdScheme="https").etcd.endpoints == ("https://etcd:2379",)
    assert settings(EtcdEndpoints="http://a:1, http://b:2").etcd.endpoints == ("http://a:1", "http://b:2")


def test_known_parameters_without_effect_are_named() -> None:
    found = resolve("host", [environment_source({"FELIX_BPFENABLED": "true"})])

    assert found.without_effect == ["BPFEnabled"]
    assert found.problems == []


def test_a_name_that_no_setting_has_is_reported_with_the_one_that_may_be_meant(tmp_path: Path) -> None:
    file = tmp_path / "felix.cfg"
    file.write_text("[global]\n# Heathport = 1\nEtcdEndpoint = http://a:1\n")
    configured = FelixConfiguration(name="default", fields={"heathPort": 1, "floatingIPs": "Enabled"})
    sources = [environment_source({"FELIX_NOSUCHTHING": "1", "PATH": "/"}), file_source(file)]

    found = resolve("host", [*sources, *datastore_sources([configured], "host", {})])

    assert found.problems == [
        "environment: FELIX_NOSUCHTHING is no setting of Felix; ignored",
        f"{file}: EtcdEndpoint is no setting of Felix (is EtcdEndpoints meant?); ignored",
        "FelixConfiguration default: heathPort is no setting of Felix (is HealthPort meant?); ignored",
    ]
    assert found.without_effect == ["FloatingIPs"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ipv4NormalRoutePriority": "ten"}, "a whole number from 1 to 2147483646 is expected"),
        ({"ipv4NormalRoutePriority": {"a": 1}}, "a whole number from 1 to 2147483646 is expected"),
        ({"reportingInterval": "soon"}, "a number of seconds, or a duration such as 1m30s, is expected"),
        ({"reportingTTL": "9999999h"}, "a number of seconds, or a duration such as 1m30s, is expected"),
        ({"metadataAddr": "nova.example"}, "set it to an IPv4 address, or to none"),
        ({"metadataAddr": "::1"}, "set it to an IPv4 address, or to none"),
        ({"ipv4ElevatedRoutePriority": 1024}, "is not below IPv4NormalRoutePriority = 1024"),
        ({"ipv6NormalRoutePriority": 100}, "IPv6ElevatedRoutePriority = 512 is not below"),
    ],
)
def test_rubbish_is_answered_with_what_is_expected(fields: dict[str, object], said: str) -> None:
    (problem,) = resolve(
        "host", datastore_sources([FelixConfiguration(name="default", fields=fields)], "host", {})
    ).problems

    assert problem.startswith("FelixConfiguration default: ")
    assert said in problem


@pytest.mark.parametrize(
    "wrong",
    [
        {"EtcdEndpoints": "http://a:1,ftp://b:2"},
        {"EtcdEndpoints": "http://a:port"},
        {"EtcdAddr": ":::"},
        {"EtcdAddr": "http://a"},
    ],
)
def test_an_etcd_address_that_is_none_does_not_start(wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"expected|is not http"):
        settings(**wrong)


def test_every_parameter_is_known_by_name_and_field() -> None:
    assert TYPED.keys() <= LOCAL | SHARED
    assert len(SHARED) == 187
    assert parameter("iPv6support") == "Ipv6Support"
    assert parameter_of_field("reportingTTL") == "ReportingTTLSecs"
    assert parameter_of_field("ipipMTU") == "IpInIpMtu"
    assert parameter_of_field("noSuchField") is None


def test_every_typed_parameter_names_an_attribute() -> None:
    attributes = set(FelixSettings.__dataclass_fields__)

    assert {typed.attribute for typed in TYPED.values()} == attributes


def test_the_firewall_gets_its_share() -> None:
    ruleset = ruleset_settings(settings(DefaultEndpointToHostAction="RETURN", NftablesFilterDenyAction="REJECT"))

    assert (ruleset.endpoint_to_host, ruleset.deny) == ("return", "reject")
    assert str(ruleset.metadata) == "Service(address=Net(version=4, value=2130706433, length=32), port=8775)"
    assert ruleset_settings(settings(MetadataAddr="metadata.example")).metadata is None
    assert dataplane_settings(settings(IPForwarding="Disabled"), "1").host.forwarding is False


def test_the_firewall_learns_how_to_translate_and_how_often_to_log() -> None:
    ruleset = ruleset_settings(
        settings(
            NATOutgoingAddress="192.0.2.1",
            NATPortRange="32768:60999",
            NATOutgoingExclusions="IPPoolsAndHostIPs",
            IptablesNATOutgoingInterfaceFilter="eth+",
            FloatingIPOutboundSNAT="true",
            LogActionRateLimit="10/Minute",
            LogActionRateLimitBurst="20",
        )
    )

    assert (ruleset.nat_address, ruleset.nat_ports) == (host_net("192.0.2.1"), (32768, 60999))
    assert (ruleset.nat_excludes_hosts, ruleset.nat_interface, ruleset.floating_source) == (True, "eth+", True)
    assert ruleset.log_rate == LogRate(10, "minute", 20)
    plain = ruleset_settings(settings())
    assert (plain.nat_address, plain.nat_ports, plain.log_rate, plain.floating_source) == (None, None, None, False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NATPortRange", "9:3"),
        ("NATPortRange", "0:3"),
        ("NATPortRange", "a"),
        ("NATOutgoingAddress", "x"),
        ("NATOutgoingExclusions", "Nothing"),
        ("IptablesNATOutgoingInterfaceFilter", "et h"),
        ("IptablesNATOutgoingInterfaceFilter", "a+b"),
        ("LogActionRateLimit", "10"),
        ("LogActionRateLimit", "0/second"),
        ("LogActionRateLimit", "1/week"),
        ("LogActionRateLimitBurst", "10001"),
    ],
)
def test_what_is_no_range_rate_or_name_is_reported(name: str, text: str) -> None:
    found = resolve("host", [Source("test", {name: text}, local=True)])

    assert found.settings == FelixSettings("host")
    assert len(found.problems) == 1
    assert name in found.problems[0]


def test_a_file_may_have_comments_quotes_and_colons(tmp_path: Path) -> None:
    file = tmp_path / "felix.cfg"
    file.write_text(
        "; a comment\n[global]\nHealthPort: 1111 # why\nLogPrefix = 'a # b' ; really\n"
        'EtcdPassword = ab#c;d\nEtcdUsername = "u"\nnonsense\n= nothing\nMetadataAddr = # none\n'
    )

    found = resolve("host", [file_source(file)]).settings

    assert (found.health_port, found.log_prefix) == (1111, "a # b")
    assert (found.etcd_username, found.etcd_password) == ("u", "ab#c;d")
    assert found.metadata_addr == "127.0.0.1"


def test_what_all_clients_read_is_weaker_than_what_is_said_to_felix(tmp_path: Path) -> None:
    environment = {
        "ETCD_ENDPOINTS": "http://weakest:2379",
        "CALICO_ETCD_ENDPOINTS": "http://weak:2379",
        "ETCD_USERNAME": "u",
        "CALICO_ETCD_CA_CERT_FILE": "/ca.pem",
        "ETCD_DISCOVERY_SRV": "example.org",
        "FELIX_ETCDUSERNAME": "strong",
    }
    file = tmp_path / "felix.cfg"
    file.write_text("EtcdCaFile = /file.pem\n")

    local = [environment_source(environment), file_source(file), client_source(environment)]
    found = resolve("host", local)

    assert found.settings.etcd.endpoints == ("http://weak:2379",)
    assert (found.settings.etcd_username, found.settings.etcd_ca_file) == ("strong", "/file.pem")
    assert found.origins["EtcdEndpoints"] == "environment of Calico's clients"
    assert found.without_effect == ["EtcdDiscoverySrv"]


def test_another_kind_of_datastore_does_not_start() -> None:
    with pytest.raises(SettingsError, match="DatastoreType = 'kubernetes': only etcdv3 is known here"):
        resolve("host", [client_source({"DATASTORE_TYPE": "kubernetes"})])

    assert resolve("host", [client_source({"DATASTORE_TYPE": "etcdv3"})]).problems == []


def test_a_prefix_that_no_guest_s_interface_has_is_named_with_the_cure() -> None:
    (stored,) = datastore_sources([configuration("default", interfacePrefix="cali,eth")], "host", {})

    (problem,) = resolve("host", [stored]).problems

    assert "FelixConfiguration default: InterfacePrefix = cali,eth" in problem
    assert problem.endswith("set it to cali,eth,tap")
    for good in ("tap", "cali,tap", "ta", "t"):
        assert resolve("host", [Source("test", {"InterfacePrefix": good}, local=True)]).problems == []


def test_taps_reach_the_loopback_only_where_metadata_is_translated_to_it() -> None:
    assert dataplane_settings(settings(), "1").host.localnet
    for values in (
        {"MetadataAddr": "none"},
        {"MetadataPort": "none"},
        {"MetadataAddr": "192.0.2.1"},
        {"MetadataProxyEnabled": "true"},
    ):
        assert not dataplane_settings(settings(**values), "1").host.localnet


def test_without_ipv6_in_the_kernel_there_is_none_whatever_settings_say() -> None:
    assert dataplane_settings(settings(), "1").host.ipv6
    assert not dataplane_settings(settings(), "1", has_ipv6=False).host.ipv6
    assert not dataplane_settings(settings(Ipv6Support="false"), "1").host.ipv6


def test_the_bounds_for_guests_that_flood_are_on_unless_the_file_says_otherwise() -> None:
    assert dataplane_settings(settings(), "1").ruleset.limit_floods
    assert not dataplane_settings(settings(GuestFloodLimits="false"), "1").ruleset.limit_floods


def test_of_the_mark_two_neighbouring_bits_are_ours_or_the_default_stays() -> None:
    assert ruleset_settings(settings(NftablesMarkMask="0xff00")).mark == 0x100
    for wrong in ("0x80000000", "0x5000", "0", "0x1ffffffff", "all"):
        found = resolve("host", [Source("test", {"NftablesMarkMask": wrong}, local=True)])
        assert "NftablesMarkMask" in found.problems[0], wrong
        assert ruleset_settings(found.settings).mark == 0x10000
