"""Felix's settings: what each parameter means, and which value wins.

The order, from strong to weak, is upstream's: environment (`FELIX_<NAME>`), file, FelixConfiguration `node.<host>`,
the one whose nodeSelector matches the host, FelixConfiguration `default`, built-in. An empty value is as if absent;
`none` means "no such thing". A value that cannot be understood is reported and the next weaker one counts, except for
what says who and where we are (`VITAL`): a Felix must not start under a wrong name.

Pure: sources come in as mappings from parameter name to text (`settings_sources` reads them).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from calico_openstack.daemon.settings import FALSE, TRUE, SettingsError
from calico_openstack.etcd.values import EtcdSettings
from calico_openstack.felix.parameters import LOCAL
from calico_openstack.model.names import check_region
from calico_openstack.model.net import Net, host_net


@dataclass(frozen=True, slots=True)
class FelixSettings:
    """Upstream's parameters by upstream's names in snake case. Times are in seconds; None means "no such thing"."""

    felix_hostname: str
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
    remove_external_routes: bool = True
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

    endpoint_reporting_enabled: bool = False
    reporting_interval_secs: float = 30.0
    reporting_ttl_secs: float = 90.0
    health_enabled: bool = False
    health_host: str = "localhost"
    health_port: int = 9099
    dataplane_watchdog_timeout: float = 90.0

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


def _text(text: str) -> str:
    return text


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _boolean(text: str) -> bool:
    if text.lower() not in TRUE | FALSE:
        raise ValueError("true or false is expected")
    return text.lower() in TRUE


def _integer(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        number = int(text, 0) if text.lower().startswith("0x") else int(text)
        if not low <= number <= high:
            raise ValueError(f"a whole number from {low} to {high} is expected")
        return number

    return convert


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(text: str) -> float:
    """Seconds as a number, or a Go duration (`1m30s`), as FelixConfiguration has them."""
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))
    number = float(text)
    if not 0 <= number < 1e9:
        raise ValueError("a number of seconds is expected")
    return number


def _choice(*words: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"one of {', '.join(words)} is expected")
        return text.lower()

    return convert


def _switch(on: str, off: str) -> Callable[[str], bool]:
    convert = _choice(on.lower(), off.lower())
    return lambda text: convert(text) == on.lower()


def _address(version: int) -> Callable[[str], Net]:
    def convert(text: str) -> Net:
        net = host_net(text)
        if net.version != version:
            raise ValueError(f"an IPv{version} address is expected")
        return net

    return convert


def _prefixes(text: str) -> tuple[str, ...]:
    words = _words(text)
    if not words or not all(re.fullmatch(r"[a-zA-Z0-9_-]{1,15}", word) for word in words):
        raise ValueError("a comma-separated list of interface name prefixes is expected")
    return words


def _hostname(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9_.-]+", text):
        raise ValueError("letters, digits, dots, dashes and underscores are expected")
    return text


def _region(text: str) -> str:
    check_region(text)
    return text


_PRIORITY = _integer(1, 2147483646)
_PORT = _integer(1, 65535)
_FORWARDED = _switch("Enabled", "Disabled")


class _Typed(NamedTuple):
    attribute: str
    convert: Callable[[str], Any]
    none: Any = ...
    """What `none` means; Ellipsis if it is not allowed."""


TYPED: dict[str, _Typed] = {
    "FelixHostname": _Typed("felix_hostname", _hostname),
    "EtcdEndpoints": _Typed("etcd_endpoints", _words, ()),
    "EtcdAddr": _Typed("etcd_addr", _text),
    "EtcdScheme": _Typed("etcd_scheme", _choice("http", "https")),
    "EtcdCaFile": _Typed("etcd_ca_file", _text, None),
    "EtcdCertFile": _Typed("etcd_cert_file", _text, None),
    "EtcdKeyFile": _Typed("etcd_key_file", _text, None),
    "EtcdUsername": _Typed("etcd_username", _text, None),
    "EtcdPassword": _Typed("etcd_password", _text, None),
    "OpenstackRegion": _Typed("openstack_region", _region, None),
    "LogSeverityScreen": _Typed(
        "log_severity_screen", _choice("trace", "debug", "info", "warning", "error", "fatal"), "fatal"
    ),
    "LogPrefix": _Typed("log_prefix", _text),
    "InterfacePrefix": _Typed("interface_prefix", _prefixes),
    "Ipv6Support": _Typed("ipv6_support", _boolean),
    "IPForwarding": _Typed("ip_forwarding", _FORWARDED),
    "DeviceRouteProtocol": _Typed("device_route_protocol", _integer(1, 255)),
    "DeviceRouteSourceAddress": _Typed("device_route_source_address", _address(4), None),
    "DeviceRouteSourceAddressIPv6": _Typed("device_route_source_address_ipv6", _address(6), None),
    "IPv4NormalRoutePriority": _Typed("ipv4_normal_route_priority", _PRIORITY),
    "IPv6NormalRoutePriority": _Typed("ipv6_normal_route_priority", _PRIORITY),
    "RemoveExternalRoutes": _Typed("remove_external_routes", _boolean),
    "RouteSyncDisabled": _Typed("route_sync_disabled", _boolean),
    "RouteRefreshInterval": _Typed("route_refresh_interval", _seconds, 0.0),
    "InterfaceRefreshInterval": _Typed("interface_refresh_interval", _seconds, 0.0),
    "NftablesRefreshInterval": _Typed("nftables_refresh_interval", _seconds, 0.0),
    "MetadataAddr": _Typed("metadata_addr", _text, None),
    "MetadataPort": _Typed("metadata_port", _PORT, 0),
    "MetadataProxyEnabled": _Typed("metadata_proxy_enabled", _boolean),
    "DefaultEndpointToHostAction": _Typed("default_endpoint_to_host_action", _choice("drop", "return", "accept")),
    "NftablesFilterDenyAction": _Typed("nftables_filter_deny_action", _choice("drop", "reject")),
    "AllowVXLANPacketsFromWorkloads": _Typed("allow_vxlan_packets_from_workloads", _boolean),
    "AllowIPIPPacketsFromWorkloads": _Typed("allow_ipip_packets_from_workloads", _boolean),
    "VXLANPort": _Typed("vxlan_port", _PORT),
    "DisableConntrackInvalidCheck": _Typed("disable_conntrack_invalid_check", _boolean),
    "WorkloadSourceSpoofing": _Typed("workload_source_spoofing", _switch("Any", "Disabled")),
    "EndpointReportingEnabled": _Typed("endpoint_reporting_enabled", _boolean),
    "ReportingIntervalSecs": _Typed("reporting_interval_secs", _seconds, 0.0),
    "ReportingTTLSecs": _Typed("reporting_ttl_secs", _seconds),
    "HealthEnabled": _Typed("health_enabled", _boolean),
    "HealthHost": _Typed("health_host", _text),
    "HealthPort": _Typed("health_port", _PORT),
    "DataplaneWatchdogTimeout": _Typed("dataplane_watchdog_timeout", _seconds),
}
"""The parameters that have an effect. All other known ones are accepted without one."""

VITAL = frozenset({"FelixHostname", "EtcdEndpoints", "EtcdAddr", "EtcdScheme", "OpenstackRegion", "InterfacePrefix"})


class Source(NamedTuple):
    """Where values come from: a name for people, the values by parameter, whether it is this host's own."""

    name: str
    values: Mapping[str, str]
    local: bool = False


class Resolved(NamedTuple):
    settings: FelixSettings
    problems: list[str]
    without_effect: list[str]


def resolve(hostname: str, sources: Iterable[Source]) -> Resolved:
    """The settings from sources in order from strong to weak. SettingsError for a vital value of this host's own."""
    problems: list[str] = []
    ignored: set[str] = set()
    chosen: dict[str, Any] = {}
    for source in sources:
        for name, text in source.values.items():
            typed = TYPED.get(name)
            if not source.local and name in LOCAL:
                problems.append(f"{source.name}: {name} can only be set in the host's own file or environment")
            elif typed is None:
                ignored.add(name)
            elif text.strip() and typed.attribute not in chosen:
                try:
                    chosen[typed.attribute] = _converted(typed, text.strip())
                except ValueError as error:
                    sentence = f"{source.name}: {name} = {text!r}: {error}"
                    if source.local and name in VITAL:
                        raise SettingsError(sentence) from error
                    problems.append(f"{sentence}; ignored")
    settings = replace(FelixSettings(hostname), **chosen)
    return Resolved(settings, problems, sorted(ignored))


def _converted(typed: _Typed, text: str) -> Any:
    if text.lower() == "none" and typed.none is not ...:
        return typed.none
    return typed.convert(text)
