"""The dataplane's share of Felix's settings, in the dataplane's own terms."""

from __future__ import annotations

from typing import Literal, cast

from calico_openstack.felix.dataplane import DataplaneSettings
from calico_openstack.felix.ruleset.settings import LogRate, RulesetSettings, Service
from calico_openstack.felix.settings import FelixSettings
from calico_openstack.felix.wanted.host import HostRules
from calico_openstack.model.net import host_net


def dataplane_settings(settings: FelixSettings, rp_filter: str, has_ipv6: bool = True) -> DataplaneSettings:
    """`rp_filter` is the host's default for new interfaces, `has_ipv6` whether its kernel has IPv6."""
    return DataplaneSettings(
        ruleset=ruleset_settings(settings),
        host=HostRules(
            ipv6=settings.ipv6_support and has_ipv6,
            metric4=settings.ipv4_normal_route_priority,
            metric6=settings.ipv6_normal_route_priority,
            elevated4=settings.ipv4_elevated_route_priority,
            elevated6=settings.ipv6_elevated_route_priority,
            convergence=settings.live_migration_route_convergence_time,
            afterglow=settings.moved_route_convergence_time,
            protocol=settings.device_route_protocol,
            source4=settings.device_route_source_address,
            source6=settings.device_route_source_address_ipv6,
            program_routes=not settings.route_sync_disabled,
            rp_filter=rp_filter,
            localnet=_needs_localnet(settings),
            forwarding=settings.ip_forwarding,
        ),
        remove_external_routes=settings.remove_external_routes,
        remove_upstream_rules=settings.remove_upstream_rules,
    )


def ruleset_settings(settings: FelixSettings) -> RulesetSettings:
    """DHCP and DNS to the host are always allowed: this Felix serves OpenStack and nothing else."""
    return RulesetSettings(
        tap_prefixes=settings.interface_prefix,
        endpoint_to_host=cast("Literal['drop', 'accept', 'return']", settings.default_endpoint_to_host_action),
        deny=cast("Literal['drop', 'reject']", settings.nftables_filter_deny_action),
        metadata=_metadata(settings),
        metadata_proxy=settings.metadata_proxy_enabled,
        allow_vxlan=settings.allow_vxlan_packets_from_workloads,
        allow_ipip=settings.allow_ipip_packets_from_workloads,
        vxlan_port=settings.vxlan_port,
        drop_invalid=not settings.disable_conntrack_invalid_check,
        log_prefix=settings.log_prefix,
        log_rate=_log_rate(settings),
        nat_address=settings.nat_outgoing_address,
        nat_ports=settings.nat_port_range,
        nat_interface=settings.nat_outgoing_interface_filter,
        nat_excludes_hosts=settings.nat_outgoing_excludes_hosts,
        floating_source=settings.floating_ip_outbound_snat,
        limit_floods=settings.guest_flood_limits,
        mark=settings.nftables_mark_mask & -settings.nftables_mark_mask,
        failsafe_in=settings.failsafe_inbound_host_ports,
        failsafe_out=settings.failsafe_outbound_host_ports,
    )


def _log_rate(settings: FelixSettings) -> LogRate | None:
    if settings.log_action_rate_limit is None:
        return None
    lines, unit = settings.log_action_rate_limit
    return LogRate(
        lines, cast("Literal['second', 'minute', 'hour', 'day']", unit), settings.log_action_rate_limit_burst
    )


def _needs_localnet(settings: FelixSettings) -> bool:
    """Whether guests' packets are translated to a loopback address of the host."""
    metadata = _metadata(settings)
    return metadata is not None and not settings.metadata_proxy_enabled and metadata.address.packed[0] == 127


def _metadata(settings: FelixSettings) -> Service | None:
    """Where 169.254.169.254:80 leads. A name instead of an address means no translation, as upstream (IPv4 only)."""
    if settings.metadata_addr is None or not settings.metadata_port:
        return None
    try:
        address = host_net(settings.metadata_addr)
    except ValueError:
        return None
    return Service(address, settings.metadata_port) if address.version == 4 else None
