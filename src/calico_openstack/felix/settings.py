"""Felix's settings: what each parameter means, and which value wins.

The order, from strong to weak, is upstream's: environment (`FELIX_<NAME>`), file, FelixConfiguration `node.<host>`,
the one whose nodeSelector matches the host, FelixConfiguration `default`, built-in. An empty value is as if absent;
`none` means "no such thing". A value that cannot be understood is reported and the next weaker one counts, except for
what says who and where we are (`VITAL`): a Felix must not start under a wrong name.

Pure: sources come in as mappings from parameter name to text (`settings_sources` reads them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from calico_openstack.daemon.settings import SettingsError
from calico_openstack.etcd.values import EtcdSettings
from calico_openstack.felix import conversions as to
from calico_openstack.felix.parameters import LOCAL, nearest
from calico_openstack.model import failsafe
from calico_openstack.model.failsafe import Failsafe, parse_failsafes
from calico_openstack.model.net import Net, host_net


@dataclass(frozen=True, slots=True)
class FelixSettings:
    """Upstream's parameters by upstream's names in snake case. Times are in seconds; None means "no such thing"."""

    felix_hostname: str
    datastore_type: str = "etcdv3"
    etcd_endpoints: tuple[str, ...] = ()
    etcd_addr: str = "127.0.0.1:2379"
    etcd_scheme: str = "http"
    etcd_ca_file: str | None = None
    etcd_cert_file: str | None = None
    etcd_key_file: str | None = None
    etcd_username: str | None = None
    etcd_password: str | None = field(default=None, repr=False)
    openstack_region: str | None = None
    log_severity_screen: str = "INFO"
    log_prefix: str = "calico-packet"

    interface_prefix: tuple[str, ...] = ("tap",)
    ipv6_support: bool = True
    ip_forwarding: bool = True
    device_route_protocol: int = 3
    device_route_source_address: Net | None = None
    device_route_source_address_ipv6: Net | None = None
    ipv4_normal_route_priority: int = 1024
    ipv6_normal_route_priority: int = 1024
    ipv4_elevated_route_priority: int = 512
    ipv6_elevated_route_priority: int = 512
    live_migration_route_convergence_time: float = 30.0
    moved_route_convergence_time: float = 120.0
    remove_external_routes: bool = True
    remove_upstream_rules: bool = True
    guest_flood_limits: bool = True
    route_sync_disabled: bool = False
    route_refresh_interval: float = 90.0
    interface_refresh_interval: float = 90.0
    nftables_refresh_interval: float = 180.0

    metadata_addr: str | None = "127.0.0.1"
    metadata_port: int = 8775
    metadata_proxy_enabled: bool = False
    default_endpoint_to_host_action: str = "drop"
    nftables_filter_deny_action: str = "drop"
    allow_vxlan_packets_from_workloads: bool = False
    allow_ipip_packets_from_workloads: bool = False
    vxlan_port: int = 4789
    disable_conntrack_invalid_check: bool = False
    workload_source_spoofing: bool = False
    nat_outgoing_address: Net | None = None
    nat_port_range: tuple[int, int] | None = None
    nat_outgoing_interface_filter: str = ""
    nat_outgoing_excludes_hosts: bool = False
    floating_ip_outbound_snat: bool = False
    nftables_mark_mask: int = 0xFFFF0000
    failsafe_inbound_host_ports: tuple[Failsafe, ...] = failsafe.INBOUND
    failsafe_outbound_host_ports: tuple[Failsafe, ...] = failsafe.OUTBOUND
    log_action_rate_limit: tuple[int, str] | None = None
    log_action_rate_limit_burst: int = 5

    endpoint_reporting_enabled: bool = False
    reporting_interval_secs: float = 30.0
    reporting_ttl_secs: float = 90.0
    health_enabled: bool = False
    health_host: str = "localhost"
    health_port: int = 9099
    dataplane_watchdog_timeout: float = 90.0
    debug_socket_path: str | None = "/run/calico/felix.sock"
    prometheus_metrics_enabled: bool = False
    prometheus_metrics_host: str = ""
    prometheus_metrics_port: int = 9091
    prometheus_metrics_ca_file: str | None = None
    prometheus_metrics_cert_file: str | None = None
    prometheus_metrics_key_file: str | None = None
    prometheus_metrics_client_auth: str = "requireandverifyclientcert"
    prometheus_go_metrics_enabled: bool = True
    prometheus_process_metrics_enabled: bool = True

    @property
    def etcd(self) -> EtcdSettings:
        return EtcdSettings(
            endpoints=self.etcd_endpoints or (f"{self.etcd_scheme}://{self.etcd_addr}",),
            ca_file=self.etcd_ca_file,
            cert_file=self.etcd_cert_file,
            key_file=self.etcd_key_file,
            username=self.etcd_username,
            password=self.etcd_password,
        )


GUESTS = "tap"
"""How Nova's interfaces begin (nova.network.model, NIC_NAME_LEN; neutron_lib.constants.TAP_DEVICE_PREFIX)."""

_PRIORITY = to.integer(1, 2147483646)
_PORT = to.integer(1, 65535)
_FORWARDED = to.switch("Enabled", "Disabled")


class _Typed(NamedTuple):
    attribute: str
    convert: Callable[[str], Any]
    none: Any = ...
    """What `none` means; Ellipsis if it is not allowed."""


TYPED: dict[str, _Typed] = {
    "NftablesMarkMask": _Typed("nftables_mark_mask", to.mark_mask),
    "FailsafeInboundHostPorts": _Typed("failsafe_inbound_host_ports", parse_failsafes, ()),
    "FailsafeOutboundHostPorts": _Typed("failsafe_outbound_host_ports", parse_failsafes, ()),
    "FelixHostname": _Typed("felix_hostname", to.hostname),
    "DatastoreType": _Typed("datastore_type", to.only("etcdv3")),
    "EtcdEndpoints": _Typed("etcd_endpoints", to.endpoints, ()),
    "EtcdAddr": _Typed("etcd_addr", to.server),
    "EtcdScheme": _Typed("etcd_scheme", to.choice("http", "https")),
    "EtcdCaFile": _Typed("etcd_ca_file", to.text, None),
    "EtcdCertFile": _Typed("etcd_cert_file", to.text, None),
    "EtcdKeyFile": _Typed("etcd_key_file", to.text, None),
    "EtcdUsername": _Typed("etcd_username", to.text, None),
    "EtcdPassword": _Typed("etcd_password", to.text, None),
    "OpenstackRegion": _Typed("openstack_region", to.region, None),
    "LogSeverityScreen": _Typed(
        "log_severity_screen", to.choice("trace", "debug", "info", "warning", "error", "fatal"), "fatal"
    ),
    "LogPrefix": _Typed("log_prefix", to.text),
    "InterfacePrefix": _Typed("interface_prefix", to.prefixes),
    "Ipv6Support": _Typed("ipv6_support", to.boolean),
    "IPForwarding": _Typed("ip_forwarding", _FORWARDED),
    "DeviceRouteProtocol": _Typed("device_route_protocol", to.integer(1, 255)),
    "DeviceRouteSourceAddress": _Typed("device_route_source_address", to.address(4), None),
    "DeviceRouteSourceAddressIPv6": _Typed("device_route_source_address_ipv6", to.address(6), None),
    "IPv4NormalRoutePriority": _Typed("ipv4_normal_route_priority", _PRIORITY),
    "IPv6NormalRoutePriority": _Typed("ipv6_normal_route_priority", _PRIORITY),
    "IPv4ElevatedRoutePriority": _Typed("ipv4_elevated_route_priority", _PRIORITY),
    "IPv6ElevatedRoutePriority": _Typed("ipv6_elevated_route_priority", _PRIORITY),
    "LiveMigrationRouteConvergenceTime": _Typed("live_migration_route_convergence_time", to.seconds),
    "MovedRouteConvergenceTime": _Typed("moved_route_convergence_time", to.seconds, 0.0),
    "RemoveExternalRoutes": _Typed("remove_external_routes", to.boolean),
    "RemoveUpstreamRules": _Typed("remove_upstream_rules", to.boolean),
    "GuestFloodLimits": _Typed("guest_flood_limits", to.boolean),
    "RouteSyncDisabled": _Typed("route_sync_disabled", to.boolean),
    "RouteRefreshInterval": _Typed("route_refresh_interval", to.seconds, 0.0),
    "InterfaceRefreshInterval": _Typed("interface_refresh_interval", to.seconds, 0.0),
    "NftablesRefreshInterval": _Typed("nftables_refresh_interval", to.seconds, 0.0),
    "MetadataAddr": _Typed("metadata_addr", to.text, None),
    "MetadataPort": _Typed("metadata_port", _PORT, 0),
    "MetadataProxyEnabled": _Typed("metadata_proxy_enabled", to.boolean),
    "DefaultEndpointToHostAction": _Typed("default_endpoint_to_host_action", to.choice("drop", "return", "accept")),
    "NftablesFilterDenyAction": _Typed("nftables_filter_deny_action", to.choice("drop", "reject")),
    "AllowVXLANPacketsFromWorkloads": _Typed("allow_vxlan_packets_from_workloads", to.boolean),
    "AllowIPIPPacketsFromWorkloads": _Typed("allow_ipip_packets_from_workloads", to.boolean),
    "VXLANPort": _Typed("vxlan_port", _PORT),
    "DisableConntrackInvalidCheck": _Typed("disable_conntrack_invalid_check", to.boolean),
    "WorkloadSourceSpoofing": _Typed("workload_source_spoofing", to.switch("Any", "Disabled")),
    "NATOutgoingAddress": _Typed("nat_outgoing_address", host_net, None),
    "NATPortRange": _Typed("nat_port_range", to.port_range, None),
    "NATOutgoingExclusions": _Typed("nat_outgoing_excludes_hosts", to.switch("IPPoolsAndHostIPs", "IPPoolsOnly")),
    "IptablesNATOutgoingInterfaceFilter": _Typed("nat_outgoing_interface_filter", to.interface, ""),
    "FloatingIPOutboundSNAT": _Typed("floating_ip_outbound_snat", to.boolean),
    "LogActionRateLimit": _Typed("log_action_rate_limit", to.log_rate, None),
    "LogActionRateLimitBurst": _Typed("log_action_rate_limit_burst", to.integer(1, 10000)),
    "EndpointReportingEnabled": _Typed("endpoint_reporting_enabled", to.boolean),
    "ReportingIntervalSecs": _Typed("reporting_interval_secs", to.seconds, 0.0),
    "ReportingTTLSecs": _Typed("reporting_ttl_secs", to.seconds),
    "HealthEnabled": _Typed("health_enabled", to.boolean),
    "HealthHost": _Typed("health_host", to.text),
    "HealthPort": _Typed("health_port", _PORT),
    "DataplaneWatchdogTimeout": _Typed("dataplane_watchdog_timeout", to.seconds),
    "DebugSocketPath": _Typed("debug_socket_path", to.text, None),
    "PrometheusMetricsEnabled": _Typed("prometheus_metrics_enabled", to.boolean),
    "PrometheusMetricsHost": _Typed("prometheus_metrics_host", to.text, ""),
    "PrometheusMetricsPort": _Typed("prometheus_metrics_port", _PORT),
    "PrometheusMetricsCAFile": _Typed("prometheus_metrics_ca_file", to.text, None),
    "PrometheusMetricsCertFile": _Typed("prometheus_metrics_cert_file", to.text, None),
    "PrometheusMetricsKeyFile": _Typed("prometheus_metrics_key_file", to.text, None),
    # Upstream's RequireAnyClientCert checks nothing, and is not offered.
    "PrometheusMetricsClientAuth": _Typed(
        "prometheus_metrics_client_auth",
        to.choice("requireandverifyclientcert", "verifyclientcertifgiven", "noclientcert"),
    ),
    "PrometheusGoMetricsEnabled": _Typed("prometheus_go_metrics_enabled", to.boolean),
    "PrometheusProcessMetricsEnabled": _Typed("prometheus_process_metrics_enabled", to.boolean),
}
"""The parameters that have an effect. All other known ones are accepted without one."""

VITAL = frozenset(
    ("DatastoreType", "FelixHostname", "EtcdEndpoints", "EtcdAddr", "EtcdScheme", "OpenstackRegion", "InterfacePrefix")
)


class Source(NamedTuple):
    """Where values come from: a name for people, the values by parameter, whether it is this host's own.

    `unknown`: names in it that no parameter has, as they are written there.
    """

    name: str
    values: Mapping[str, str]
    local: bool = False
    unknown: tuple[str, ...] = ()


class Resolved(NamedTuple):
    """`origins`: parameter -> the name of the source whose value counts; the others are built in."""

    settings: FelixSettings
    problems: list[str]
    without_effect: list[str]
    origins: dict[str, str]


def resolve(hostname: str, sources: Iterable[Source]) -> Resolved:
    """The settings from sources in order from strong to weak. SettingsError for a vital value of this host's own."""
    problems: list[str] = []
    ignored: set[str] = set()
    chosen: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in sources:
        problems += [f"{source.name}: {name} is no setting of Felix{_meant(name)}; ignored" for name in source.unknown]
        for name, text in source.values.items():
            typed = TYPED.get(name)
            if not source.local and name in LOCAL:
                problems.append(f"{source.name}: {name} can only be set in the host's own file or environment")
            elif typed is None:
                ignored.add(name)
            elif text.strip() and typed.attribute not in chosen:
                try:
                    chosen[typed.attribute] = _converted(typed, text.strip())
                    origins[name] = source.name
                except ValueError as error:
                    sentence = f"{source.name}: {name} = {text!r}: {error}"
                    if source.local and name in VITAL:
                        raise SettingsError(sentence) from error
                    problems.append(f"{sentence}; ignored")
    settings = replace(FelixSettings(hostname), **chosen)
    problems += _doubts(settings, origins)
    return Resolved(settings, problems, sorted(ignored), origins)


def _meant(name: str) -> str:
    near = nearest(name)
    return f" (is {near} meant?)" if near else ""


def _doubts(settings: FelixSettings, origins: Mapping[str, str]) -> Iterator[str]:
    """What is understood and taken, and yet hardly what somebody wants."""
    if not any(GUESTS.startswith(prefix) for prefix in settings.interface_prefix):
        prefixes = ",".join(settings.interface_prefix)
        yield (
            f"{origins['InterfacePrefix']}: InterfacePrefix = {prefixes}: interfaces of OpenStack's guests begin with "
            f"{GUESTS}, and none of them will be programmed; set it to {prefixes},{GUESTS}"
        )
    if settings.metadata_addr is not None and not _is_ipv4(settings.metadata_addr):
        yield (
            f"{origins['MetadataAddr']}: MetadataAddr = {settings.metadata_addr}: this is no IPv4 address, so "
            f"169.254.169.254 is not translated for guests; set it to an IPv4 address, or to none"
        )
    for family, elevated, normal in (
        ("IPv4", settings.ipv4_elevated_route_priority, settings.ipv4_normal_route_priority),
        ("IPv6", settings.ipv6_elevated_route_priority, settings.ipv6_normal_route_priority),
    ):
        if elevated >= normal:
            names = f"{family}ElevatedRoutePriority", f"{family}NormalRoutePriority"
            origin = next(origins[name] for name in names if name in origins)
            yield (
                f"{origin}: {names[0]} = {elevated} is not below {names[1]} = {normal}, so other hosts keep to the "
                f"former host of a guest that has just moved here; set it lower"
            )


def _is_ipv4(text: str) -> bool:
    try:
        return host_net(text).version == 4
    except ValueError:
        return False


def _converted(typed: _Typed, text: str) -> Any:
    if text.lower() == "none" and typed.none is not ...:
        return typed.none
    return typed.convert(text)
