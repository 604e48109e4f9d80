"""Settings of `calico-bgp-agent`: `[DEFAULT] host`, the shared group `[calico]`, and `[bgp]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from calico_openstack.bgp.addresses import found_address
from calico_openstack.bgp.node_record import OwnNode
from calico_openstack.bgp.render import Options
from calico_openstack.daemon.settings import CalicoOptions, IniFile, SettingsError, calico_options
from calico_openstack.model.bgp import as_number
from calico_openstack.model.net import host_net, parse_net


@dataclass(frozen=True, slots=True)
class BgpSettings:
    """Times in seconds; a health port of 0 means no health server."""

    calico: CalicoOptions
    own: OwnNode
    options: Options
    bird_config: Path
    bird_socket: Path
    bird_binary: str
    bird_group: str
    secrets_directory: Path
    loss_confirm: float
    poll: float
    status_ttl: int
    health_host: str
    health_port: int


def read_settings(path: str) -> BgpSettings:
    """SettingsError for anything that cannot be understood."""
    file = IniFile(path)
    calico = calico_options(file)
    return BgpSettings(
        calico=calico,
        own=_own_node(file, calico.host),
        options=_options(file),
        bird_config=Path(file.text("bgp", "bird_config", "/etc/bird/bird.conf")),
        bird_socket=Path(file.text("bgp", "bird_socket", "/run/bird/bird.ctl")),
        bird_binary=file.text("bgp", "bird_binary", "bird"),
        bird_group=file.text("bgp", "bird_group", "bird"),
        secrets_directory=Path(file.text("bgp", "secrets_directory", "/etc/calico/bgp-secrets")),
        loss_confirm=file.number("bgp", "loss_confirm_seconds", 15.0),
        poll=file.number("bgp", "poll_seconds", 10.0, low=0.1),
        status_ttl=file.integer("bgp", "status_ttl", 90, low=35, high=3600),
        health_host=file.text("bgp", "health_host", "127.0.0.1"),
        health_port=file.integer("bgp", "health_port", 0, high=65535),
    )


def _own_node(file: IniFile, host: str) -> OwnNode:
    addresses: dict[int, str | None] = {}
    for version in (4, 6):
        option = f"ipv{version}_address"
        text = file.optional("bgp", option)
        if text is not None:
            try:
                parse_net(text)
                right = host_net(text.split("/")[0]).version == version
            except ValueError:
                right = False
            if not right:
                raise SettingsError(f"{file.path}: [bgp] {option} = {text!r}: an IPv{version} address is expected")
        addresses[version] = text
    number = None
    text = file.optional("bgp", "as_number")
    if text is not None:
        try:
            number = as_number(text)
        except ValueError as error:
            raise SettingsError(f"{file.path}: [bgp] as_number: {error}") from error
    cluster_id = file.optional("bgp", "route_reflector_cluster_id")
    if cluster_id is not None and not _is_ipv4(cluster_id):
        raise SettingsError(
            f"{file.path}: [bgp] route_reflector_cluster_id = {cluster_id!r}: an IPv4 address is expected"
        )
    detect = file.boolean("bgp", "autodetect", True)
    return OwnNode(
        name=host,
        ipv4=addresses[4],
        ipv6=addresses[6],
        as_number=number,
        cluster_id=cluster_id,
        labels=_labels(file),
        found4=found_address(4) if detect and not addresses[4] else None,
        found6=found_address(6) if detect and not addresses[6] else None,
        detect=detect,
    )


def _labels(file: IniFile) -> dict[str, str]:
    labels = {}
    for word in file.words("bgp", "node_labels"):
        key, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9./_-]{1,317}", key.strip()):
            raise SettingsError(f"{file.path}: [bgp] node_labels: {word!r}: name=value, name=value is expected")
        labels[key.strip()] = value.strip()
    return labels


def _options(file: IniFile) -> Options:
    default = Options()
    patterns = file.words("bgp", "guest_interfaces", default.guest_interfaces)
    for pattern in patterns:
        if not re.fullmatch(r"[A-Za-z0-9._*-]{1,15}", pattern):
            raise SettingsError(f"{file.path}: [bgp] guest_interfaces: {pattern!r} is not an interface pattern")
    log_to = file.text("bgp", "bird_log", default.log_to)
    if log_to not in ("stderr", "syslog"):
        raise SettingsError(f"{file.path}: [bgp] bird_log = {log_to!r}: stderr or syslog is expected")
    return Options(
        guest_interfaces=patterns,
        hold_time=file.integer("bgp", "hold_time", default.hold_time, low=3, high=65535),
        restart_time=file.integer("bgp", "graceful_restart_time", default.restart_time, low=1, high=4095),
        restart_wait=file.integer("bgp", "graceful_restart_wait", default.restart_wait, low=1, high=4095),
        import_limit=file.integer("bgp", "import_limit", default.import_limit, low=1),
        kernel_table=file.integer("bgp", "kernel_table", default.kernel_table, low=1),
        log_to=log_to,
    )


def _is_ipv4(text: str) -> bool:
    try:
        return host_net(text).version == 4 and "/" not in text
    except ValueError:
        return False
