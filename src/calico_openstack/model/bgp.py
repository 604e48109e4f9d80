"""What the BGP resources say: Node, BGPConfiguration, BGPPeer.

Each `read_*` makes one checked value from the stored JSON or raises ValueError with a sentence that names the field and
what is expected, so that one bad object is absent with a reason and all others stay. Fields that upstream defines for
Kubernetes only (services, IPAM blocks, tunnels) are not read. BGPFilter is in `calico_openstack.model.bgp_filter`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Literal, NamedTuple

import msgspec

from calico_openstack.model.net import Net, host_net, parse_net
from calico_openstack.model.selector import Selector, SelectorError, parse

DEFAULT_AS = 64512
DEFAULT_PORT = 179
DEFAULT_PRIORITY = 1024

NextHopMode = Literal["Auto", "Self", "Keep"]


class SecretRef(NamedTuple):
    """Where a password is kept: `name` is the secret (a directory on a host), `key` the entry in it (a file)."""

    name: str
    key: str


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One BGP speaker of the cluster. An absent address means that the family is off for this node."""

    name: str
    labels: dict[str, str] = {}
    ipv4: Net | None = None
    ipv6: Net | None = None
    as_number: int | None = None
    cluster_id: str | None = None

    def address(self, version: int) -> Net | None:
        return self.ipv4 if version == 4 else self.ipv6


class Advertisement(NamedTuple):
    """Communities (`a:b`, or large `a:b:c`) that routes inside `cidr` carry when they are exported."""

    cidr: Net
    communities: tuple[str, ...]


class BgpConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """`default`, or `node.<host>` for one host. None means "not said here". Durations in whole seconds."""

    name: str
    as_number: int | None = None
    mesh: bool | None = None
    mesh_password: SecretRef | None = None
    mesh_restart_time: int | None = None
    log_severity: str | None = None
    listen_port: int | None = None
    bind_node_ip: bool | None = None
    advertisements: tuple[Advertisement, ...] | None = None
    ignored_interfaces: tuple[str, ...] | None = None
    ipv4_priority: int | None = None
    ipv6_priority: int | None = None


class BgpPeer(msgspec.Struct, frozen=True, kw_only=True):
    """A peering that an operator asked for. Durations in whole seconds."""

    name: str
    node: str | None = None
    node_selector: Selector | None = None
    peer_ip: Net | None = None
    peer_port: int | None = None
    peer_selector: Selector | None = None
    as_number: int | None = None
    local_as_number: int | None = None
    next_hop_mode: NextHopMode = "Auto"
    keep_original_next_hop: bool = False
    password: SecretRef | None = None
    use_node_ip: bool = True
    restart_time: int | None = None
    keepalive_time: int | None = None
    allowed_local_as: int = 0
    ttl_security: int = 0
    reachable_by: Net | None = None
    filters: tuple[str, ...] = ()
    local_workloads: bool = False
    reverse: bool = True

    def selects(self, node: Node) -> bool:
        """Whether `node` has this peering; neither name nor selector means every node."""
        if self.node is not None:
            return self.node == node.name
        return self.node_selector is None or self.node_selector.matches(node.labels)


def read_node(name: str, value: bytes) -> Node:
    document = _document(value)
    bgp = _object(_object(document, "spec"), "bgp")
    cluster_id = _text(bgp, "routeReflectorClusterID")
    if cluster_id is not None:
        try:
            cluster_id = str(ipaddress.IPv4Address(cluster_id))
        except ValueError:
            raise ValueError(f"spec.bgp.routeReflectorClusterID {cluster_id!r} is not an IPv4 address") from None
    return Node(
        name=name,
        labels=_labels(document),
        ipv4=_address(bgp, "ipv4Address", 4),
        ipv6=_address(bgp, "ipv6Address", 6),
        as_number=_as_number(bgp, "asNumber"),
        cluster_id=cluster_id,
    )


def read_configuration(name: str, value: bytes) -> BgpConfiguration:
    spec = _object(_document(value), "spec")
    named = {_required(item, "name"): _required(item, "value") for item in _list(spec, "communities")}
    advertisements = None
    if "prefixAdvertisements" in spec:
        advertisements = tuple(
            Advertisement(
                parse_net(_required(item, "cidr")),
                tuple(community(named.get(str(text), str(text))) for text in _list(item, "communities")),
            )
            for item in _list(spec, "prefixAdvertisements")
        )
    bind = _choice(spec, "bindMode", ("None", "NodeIP"))
    return BgpConfiguration(
        name=name,
        as_number=_as_number(spec, "asNumber"),
        mesh=_flag(spec, "nodeToNodeMeshEnabled"),
        mesh_password=_secret(spec, "nodeMeshPassword"),
        mesh_restart_time=_seconds(spec, "nodeMeshMaxRestartTime", 1, 4095),
        log_severity=_text(spec, "logSeverityScreen"),
        listen_port=_integer(spec, "listenPort", 1, 65535),
        bind_node_ip=None if bind is None else bind == "NodeIP",
        advertisements=advertisements,
        ignored_interfaces=(
            tuple(_pattern(item) for item in _list(spec, "ignoredInterfaces")) if "ignoredInterfaces" in spec else None
        ),
        ipv4_priority=_integer(spec, "ipv4NormalRoutePriority", 1, 2147483646),
        ipv6_priority=_integer(spec, "ipv6NormalRoutePriority", 1, 2147483646),
    )


def read_peer(name: str, value: bytes) -> BgpPeer:
    spec = _object(_document(value), "spec")
    node, node_selector = _text(spec, "node"), _selector(spec, "nodeSelector")
    if node is not None and node_selector is not None:
        raise ValueError("spec.node and spec.nodeSelector exclude each other; keep one")
    peer_selector, local_workloads = _selector(spec, "peerSelector"), _text(spec, "localWorkloadSelector")
    peer_ip = _text(spec, "peerIP")
    if [peer_ip, peer_selector, local_workloads].count(None) != 2:
        raise ValueError("exactly one of spec.peerIP, spec.peerSelector and spec.localWorkloadSelector is needed")
    as_number = _as_number(spec, "asNumber")
    if peer_selector is not None and as_number is not None:
        raise ValueError("spec.asNumber must be absent with spec.peerSelector: the AS comes from the selected nodes")
    address, port = (None, None) if peer_ip is None else address_and_port(peer_ip)
    reachable_by = _address(spec, "reachableBy", None)
    if reachable_by is not None and address is not None and reachable_by.version != address.version:
        raise ValueError("spec.reachableBy and spec.peerIP are of different families")
    return BgpPeer(
        name=name,
        node=node,
        node_selector=node_selector,
        peer_ip=address,
        peer_port=port,
        peer_selector=peer_selector,
        as_number=as_number,
        local_as_number=_as_number(spec, "localASNumber"),
        next_hop_mode=_choice(spec, "nextHopMode", ("Auto", "Self", "Keep")) or "Auto",  # type: ignore[arg-type]
        keep_original_next_hop=_flag(spec, "keepOriginalNextHop") or False,
        password=_secret(spec, "password"),
        use_node_ip=_choice(spec, "sourceAddress", ("UseNodeIP", "None")) != "None",
        restart_time=_seconds(spec, "maxRestartTime", 1, 4095),
        keepalive_time=_seconds(spec, "keepaliveTime", 1, 21845),
        allowed_local_as=_integer(spec, "numAllowedLocalASNumbers", 0, 255) or 0,
        ttl_security=_integer(spec, "ttlSecurity", 0, 255) or 0,
        reachable_by=reachable_by,
        filters=tuple(str(item) for item in _list(spec, "filters")),
        local_workloads=local_workloads is not None,
        reverse=_choice(spec, "reversePeering", ("Auto", "Manual")) != "Manual",
    )


def community(text: str) -> str:
    """A community in canonical text: `a:b` (RFC 1997) or `a:b:c` (RFC 8092); ValueError otherwise."""
    parts = text.split(":")
    limit = {2: 0xFFFF, 3: 0xFFFFFFFF}.get(len(parts))
    if limit is None or not all(part.isascii() and part.isdigit() and int(part) <= limit for part in parts):
        raise ValueError(f"{text!r} is not a community; expected a:b (16 bits each) or a:b:c (32 bits each)")
    return ":".join(str(int(part)) for part in parts)


def as_number(value: object) -> int:
    """An AS number as upstream accepts it: a JSON number, its text, or `high.low` (RFC 5396 asdot)."""
    text = str(value)
    match = re.fullmatch(r"(?:(\d{1,5})\.)?(\d{1,10})", text, re.ASCII)
    if not isinstance(value, bool) and match:
        high, low = int(match[1] or 0), int(match[2])
        number = (high << 16) + low
        if (match[1] is None or max(high, low) <= 0xFFFF) and 0 < number <= 0xFFFFFFFF:
            return number
    raise ValueError(f"{text!r} is not an AS number (1 to 4294967295, or high.low)")


def address_and_port(text: str) -> tuple[Net, int | None]:
    """`192.0.2.1`, `192.0.2.1:179`, `2001:db8::1`, `[2001:db8::1]:179`."""
    match = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?|([0-9.]+):(\d+)", text, re.ASCII)
    address, port = (match[1] or match[3], match[2] or match[4]) if match else (text, None)
    if port is not None and not 0 < int(port) < 65536:
        raise ValueError(f"peerIP {text!r}: the port must be from 1 to 65535")
    return host_net(address), int(port) if port else None


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def go_duration(text: str) -> float:
    """Seconds of a Go duration such as `1m30s` (time.ParseDuration); ValueError otherwise."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|us|ns|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration; expected for example 90s or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _document(value: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(value, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a JSON object: {error}") from error


def _object(parent: dict[str, Any], field: str) -> dict[str, Any]:
    value = parent.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{field} is not an object")
    return value


def _list(parent: Any, field: str) -> list[Any]:
    value = parent.get(field) if isinstance(parent, dict) else None
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{field} is not a list")
    return value


def _text(parent: dict[str, Any], field: str) -> str | None:
    value = parent.get(field)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{field} is not text")
    return value or None


def _required(item: Any, field: str) -> str:
    value = item.get(field) if isinstance(item, dict) else None
    if not isinstance(value, str) or not value:
        raise ValueError(f"{field} is missing")
    return value


def _labels(document: dict[str, Any]) -> dict[str, str]:
    labels = _object(_object(document, "metadata"), "labels")
    return {key: value for key, value in labels.items() if isinstance(value, str)}


def _address(parent: dict[str, Any], field: str, version: int | None) -> Net | None:
    """One address; a prefix length behind it is allowed and left out."""
    text = _text(parent, field)
    if text is None:
        return None
    net = host_net(text.split("/")[0])
    parse_net(text)
    if version is not None and net.version != version:
        raise ValueError(f"{field} {text!r} is not an IPv{version} address")
    return net


def _as_number(parent: dict[str, Any], field: str) -> int | None:
    value = parent.get(field)
    return None if value in (None, 0, "") else as_number(value)


def _integer(parent: dict[str, Any], field: str, low: int, high: int) -> int | None:
    value = parent.get(field)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{field} {value!r} is not a whole number from {low} to {high}")
    return value


def _seconds(parent: dict[str, Any], field: str, low: int, high: int) -> int | None:
    text = _text(parent, field)
    if text is None:
        return None
    seconds = go_duration(text)
    if seconds != int(seconds) or not low <= seconds <= high:
        raise ValueError(f"{field} {text!r} is not whole seconds from {low} to {high}")
    return int(seconds)


def _flag(parent: dict[str, Any], field: str) -> bool | None:
    value = parent.get(field)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{field} is not true or false")
    return value


def _choice(parent: dict[str, Any], field: str, choices: tuple[str, ...]) -> str | None:
    text = _text(parent, field)
    if text is not None and text not in choices:
        raise ValueError(f"{field} {text!r} is not one of {', '.join(choices)}")
    return text


def _selector(parent: dict[str, Any], field: str) -> Selector | None:
    text = _text(parent, field)
    if text is None:
        return None
    try:
        return parse(text)
    except SelectorError as error:
        raise ValueError(f"{field}: {error}") from error


def _secret(parent: dict[str, Any], field: str) -> SecretRef | None:
    password = _object(parent, field)
    if not password:
        return None
    reference = _object(password, "secretKeyRef")
    secret = SecretRef(_required(reference, "name"), _required(reference, "key"))
    # Both become parts of a file name on the host.
    if not all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", part) for part in secret):
        raise ValueError(f"{field}.secretKeyRef: name and key may have letters, digits, '.', '_' and '-' only")
    return secret


def _pattern(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._*-]{1,15}", value):
        raise ValueError(f"{value!r} is not an interface name or pattern")
    return value
