"""The `[calico]` options of the Neutron driver: upstream's names and defaults, and a few of our own.

Options that upstream once had and that mean nothing any more are accepted, so that an operator's file still loads.
"""

from __future__ import annotations

import socket
from typing import Any

from oslo_config import cfg

from calico_openstack.etcd.channels import target
from calico_openstack.etcd.values import EtcdSettings
from calico_openstack.model.names import check_region
from calico_openstack.model.net import parse_net
from calico_openstack.neutron.translate.site import QosDefaults, Site

GROUP = "calico"

_ETCD = [
    cfg.ListOpt(
        "etcd_endpoints",
        default=[],
        help="etcd servers as URLs, for example http://10.0.0.1:2379,http://10.0.0.2:2379. Wins over etcd_host and "
        "etcd_port.",
    ),
    cfg.StrOpt("etcd_host", default="127.0.0.1", help="Host of one etcd server."),
    cfg.PortOpt("etcd_port", default=2379, help="Port of that etcd server."),
    cfg.StrOpt("etcd_scheme", default="http", choices=["http", "https"], help="https, or any TLS file, turns TLS on."),
    cfg.StrOpt("etcd_key_file", help="TLS client key file."),
    cfg.StrOpt("etcd_cert_file", help="TLS client certificate file."),
    cfg.StrOpt("etcd_ca_cert_file", help="TLS CA certificate file."),
    cfg.StrOpt("etcd_username", help="etcd user."),
    cfg.StrOpt("etcd_password", secret=True, help="Password of the etcd user."),
    cfg.FloatOpt("etcd_timeout", default=60, min=0.1, help="Seconds that background work waits for one etcd request."),
    cfg.FloatOpt(
        "etcd_request_timeout",
        default=2,
        min=0.1,
        help="Seconds that an API request waits for etcd. After that the call succeeds without etcd and the object is "
        "written in the background.",
    ),
]

_SITE = [
    cfg.StrOpt("openstack_region", help="Name of this region, if several share one etcd. Lower case, as a DNS label."),
    cfg.IntOpt("max_ingress_connections_per_port", default=0, min=0, help="Connections into each port; 0 = no limit."),
    cfg.IntOpt("max_egress_connections_per_port", default=0, min=0, help="Connections out of each port; 0 = no limit."),
    cfg.IntOpt("ingress_burst_bits", default=4294967296, min=0, help="Burst of an ingress bandwidth limit, in bits."),
    cfg.IntOpt("egress_burst_bits", default=4294967296, min=0, help="Burst of an egress bandwidth limit, in bits."),
    cfg.IntOpt("ingress_minburst_bytes", default=0, min=0, help="Burst at ingress peak rate, in bytes; 0 = not set."),
    cfg.IntOpt("egress_minburst_bytes", default=0, min=0, help="Burst at egress peak rate, in bytes; 0 = not set."),
    cfg.IntOpt("ingress_burst_packets", default=5, min=0, help="Burst of an ingress packet-rate limit, in packets."),
    cfg.IntOpt("egress_burst_packets", default=5, min=0, help="Burst of an egress packet-rate limit, in packets."),
    cfg.ListOpt(
        "allowed_address_pair_networks",
        default=[],
        help="Networks in which allowed address pairs may lie, besides the port's own subnets. "
        "Every pair is routed to the port's guest from the whole fabric.",
    ),
]

_CHORES = [
    cfg.StrOpt(
        "chores",
        default="worker",
        choices=["worker", "api", "none"],
        help="Where port status, agent rows, checks and compaction run: worker = under neutron-periodic-workers; api = "
        "in a thread of the API process, for a deployment on SQLite with a single process; none = not here.",
    ),
    cfg.StrOpt(
        "elector_name", default=socket.gethostname(), help="Name of this server in the election; unique per server."
    ),
    cfg.StrOpt(
        "startup_resync",
        default="always",
        choices=["always", "never"],
        help="Whether a new leader first compares all of etcd with the database.",
    ),
    cfg.IntOpt(
        "check_interval_secs",
        default=300,
        min=0,
        help="Seconds between comparisons of etcd with the database by the leader; 0 = never.",
    ),
    cfg.IntOpt("etcd_compaction_period_mins", default=60, min=0, help="Minutes between compactions; 0 = never."),
    cfg.IntOpt("etcd_compaction_min_revisions", default=1000, min=0, help="Revisions to keep at least."),
    cfg.IntOpt(
        "project_name_cache_max",
        default=10000,
        min=1,
        help="How many project names each process remembers. With fewer than there are projects, Keystone is asked and "
        "ports are looked at again and again.",
    ),
]

_WITHOUT_EFFECT = [
    cfg.IntOpt(
        name, default=default, deprecated_for_removal=True, deprecated_reason="Has no effect.", help="No effect."
    )
    for name, default in (
        ("num_port_status_threads", 4),
        ("resync_interval_secs", 0),
        ("resync_max_interval_secs", 0),
        ("startup_resync_inject_per_item_delay_ms", 0),
    )
] + [
    cfg.BoolOpt(
        "fairy_gc_diagnostics",
        default=False,
        deprecated_for_removal=True,
        deprecated_reason="Has no effect.",
        help="No effect.",
    )
]

OPTIONS = [*_ETCD, *_SITE, *_CHORES, *_WITHOUT_EFFECT]


def register(conf: Any = cfg.CONF) -> None:
    conf.register_opts(OPTIONS, group=GROUP)


def list_opts() -> list[tuple[str, list[Any]]]:
    """Entry point `oslo.config.opts`: lets `oslo-config-generator` print them."""
    return [(GROUP, OPTIONS)]


def check(conf: Any = cfg.CONF) -> None:
    """Raises ValueError naming the option that cannot be used."""
    site(conf)
    settings = etcd_settings(conf)
    for endpoint in settings.endpoints:
        try:
            target(settings, endpoint)
        except ValueError as error:
            raise ValueError(f"[{GROUP}] {error}") from error


def etcd_settings(conf: Any = cfg.CONF, timeout: float | None = None) -> EtcdSettings:
    """How etcd is reached; `timeout` in seconds instead of `etcd_timeout`."""
    group = conf[GROUP]
    endpoints = tuple(group.etcd_endpoints)
    if not endpoints:
        tls = group.etcd_scheme == "https" or group.etcd_ca_cert_file or group.etcd_cert_file or group.etcd_key_file
        host = f"[{group.etcd_host}]" if ":" in group.etcd_host else group.etcd_host
        endpoints = (f"{'https' if tls else 'http'}://{host}:{group.etcd_port}",)
    return EtcdSettings(
        endpoints=endpoints,
        ca_file=group.etcd_ca_cert_file,
        cert_file=group.etcd_cert_file,
        key_file=group.etcd_key_file,
        username=group.etcd_username,
        password=group.etcd_password,
        timeout=group.etcd_timeout if timeout is None else timeout,
    )


def site(conf: Any = cfg.CONF) -> Site:
    """Raises ValueError naming the option when a value cannot be used."""
    group = conf[GROUP]
    region = group.openstack_region or None
    if region is not None:
        check_region(region)
    try:
        pair_networks = tuple(parse_net(text) for text in group.allowed_address_pair_networks)
    except ValueError as error:
        raise ValueError(f"[calico] allowed_address_pair_networks: {error}") from error
    return Site(
        region=region,
        qos=QosDefaults(**{name: getattr(group, name) for name in QosDefaults.__dataclass_fields__}),
        pair_networks=pair_networks,
    )
