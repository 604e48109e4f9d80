"""A port as WorkloadEndpoints (one per slot), and as a LiveMigration while it migrates.

Field by field as upstream's driver writes it, with these deliberate differences, each for a defect of upstream's:

* an allowed address pair that is a prefix stays a prefix (upstream wrote `10.0.0.0/24/32`);
* a pair counts only inside the port's own subnets or `[calico] allowed_address_pair_networks`: every pair becomes a
  *route* to this guest on every host, so any other address would take somebody else's traffic (a name server's,
  etcd's), and `0.0.0.0/0` would make it the cloud's default gateway;
* a pair that no router may forward to (loopback, link-local, ...) is left out: the metadata address would be a guest's;
* a pair that repeats a fixed IP (Neutron allows it with another MAC) is not listed again: DHCP agents subtract
  `allowedIps` from `ipNetworks` to find the fixed IPs;
* the gateway is that of the first fixed IP of the family (upstream: the last one);
* a port without port security refers to a Profile that allows everything, since a port without any policy passes
  nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import ResourceKey
from calico_openstack.model.names import endpoint_name, parse_endpoint_name, tap_name
from calico_openstack.model.net import Net, host_net, parse_net
from calico_openstack.neutron.translate.document import Documents, JsonObject, Refusal, Wanted
from calico_openstack.neutron.translate.labels import (
    PROJECT_LABELS,
    Project,
    endpoint_annotations,
    endpoint_labels,
)
from calico_openstack.neutron.translate.qos import qos_controls
from calico_openstack.neutron.translate.site import ORCHESTRATOR, Site
from calico_openstack.neutron.translate.slots import NO_SLOTS, Presence, Slot, is_endpoint, slots

NEVER_ROUTED: Final = tuple(
    parse_net(text)
    for text in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
        *("::/128", "::1/128", "::ffff:0:0/96", "fe80::/10", "ff00::/8"),
    )
)
"""Not for a route to a guest: this host, loopback, link-local (with Nova's metadata address), multicast, broadcast,
IPv4 in IPv6 clothes (RFC 6890, RFC 4291 section 2.5; upstream's Felix reads the last as IPv4).
"""

OPEN_PROFILE: Final = "openstack-no-port-security"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a port's documents need besides the port's own dict, all by id.

    `qos_rules` by policy id; `floating_ips` (dicts with `fixed_ip_address`, `floating_ip_address`) by port id;
    `subnets`, `networks` as Neutron dicts; `group_names` of security groups; `projects` only those that are known.
    """

    subnets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    group_names: Mapping[str, str] = field(default_factory=dict)
    floating_ips: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    qos_rules: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    projects: Mapping[str, Project] = field(default_factory=dict)


class _Addresses(NamedTuple):
    networks: list[str]
    pairs: list[str]
    gateways: Mapping[int, str]
    refusals: tuple[Refusal, ...]


def endpoint_key(site: Site, port_id: str, slot: Slot) -> EndpointKey:
    return EndpointKey(site.namespace, slot.host, ORCHESTRATOR, slot.device_id, port_id)


def slot_keys(site: Site, port_id: str, slot: Slot) -> frozenset[str]:
    """The keys that a slot may occupy: its endpoint, and the live migration towards it. Empty for impossible names."""
    key = endpoint_key(site, port_id, slot)
    name = endpoint_name(key)
    try:
        if "/" in name or "%" in name or parse_endpoint_name(site.namespace, name) != key:
            return frozenset()
    except ValueError:
        return frozenset()
    return frozenset(ResourceKey(kind, name, site.namespace).path for kind in ("WorkloadEndpoint", "LiveMigration"))


def port_documents(
    site: Site,
    port_id: str,
    port: Mapping[str, Any] | None,
    surroundings: Surroundings,
    seen: frozenset[Slot] = frozenset(),
) -> Documents:
    """All documents of one port. `seen`: slots it had before; those it no longer has are absent.

    The policies of its security groups are not part of the answer: they are documents of the groups.
    """
    wanted_slots = slots(port) if port is not None else NO_SLOTS
    keys = {key for slot in seen | wanted_slots.wanted.keys() for key in slot_keys(site, port_id, slot)}
    if port is None or not wanted_slots.wanted:
        reason = _why_not(port)
        return Documents(absent=frozenset(keys), refusals=(reason,) if reason else ())
    present: list[Wanted] = []
    addresses = _addresses(site, port, surroundings)
    refusals = list(addresses.refusals)
    if port.get("port_security_enabled") is False:
        present.append(open_profile())
    if wanted_slots.source and wanted_slots.destination:
        present.append(_live_migration(site, port_id, wanted_slots.source, wanted_slots.destination))
    for slot, presence in wanted_slots.wanted.items():
        if not slot_keys(site, port_id, slot):
            refusals.append(
                Refusal(
                    f"port {port_id}",
                    f"host {slot.host!r} or device {slot.device_id!r} cannot be part of a name",
                    "both must be non-empty and must not begin or end with '-'",
                )
            )
            return Documents(absent=frozenset(keys), refusals=tuple(refusals))
        present.append(_endpoint(site, port, slot, presence, addresses, surroundings))
    return Documents(tuple(present), frozenset(keys - {wanted.key for wanted in present}), tuple(refusals))


def open_profile() -> Wanted:
    """The profile of ports without port security. Stored, because upstream's virtual allow-all profile never is."""
    return Wanted(
        key=ResourceKey("Profile", OPEN_PROFILE).path,
        body={"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]},
        kind="Profile",
        name=OPEN_PROFILE,
    )


def _why_not(port: Mapping[str, Any] | None) -> Refusal | None:
    """Only what an operator would not expect; an unbound or admin-down port needs no word."""
    if port is None or not is_endpoint(port) or not port.get("binding:host_id") or port.get("device_id"):
        return None
    return Refusal(
        f"port {port['id']}", "it is bound to a host but has no device_id", "set device_id to the server's id"
    )


def _endpoint(
    site: Site,
    port: Mapping[str, Any],
    slot: Slot,
    presence: Presence,
    addresses: _Addresses,
    around: Surroundings,
) -> Wanted:
    port_id = str(port["id"])
    name = endpoint_name(endpoint_key(site, port_id, slot))
    spec: JsonObject = {
        "orchestrator": ORCHESTRATOR,
        "workload": slot.device_id,
        "node": slot.host,
        "endpoint": port_id,
        "interfaceName": tap_name(port_id),
        "mac": str(port["mac_address"]),
        "ipNetworks": addresses.networks,
        "allowedIps": addresses.pairs,
    }
    for version, gateway in addresses.gateways.items():
        spec[f"ipv{version}Gateway"] = gateway
    nats = _nats(port, around)
    if nats:
        spec["ipNATs"] = nats
    policy = port.get("qos_policy_id") or port.get("qos_network_policy_id")
    controls = qos_controls(around.qos_rules.get(str(policy), ()) if policy else (), site.qos)
    if controls:
        spec["qosControls"] = controls
    if port.get("port_security_enabled") is False:
        spec["profiles"] = [OPEN_PROFILE]
    project = around.projects.get(str(port.get("project_id") or port.get("tenant_id") or ""))
    return Wanted(
        key=ResourceKey("WorkloadEndpoint", name, site.namespace).path,
        body=spec,
        kind="WorkloadEndpoint",
        name=name,
        namespace=site.namespace,
        labels=endpoint_labels(site.namespace, port, around.group_names, around.networks, project),
        annotations=endpoint_annotations(port),
        kept_labels=PROJECT_LABELS if project is None else (),
        only_if_stored=presence is Presence.AS_STORED,
    )


def _addresses(site: Site, port: Mapping[str, Any], around: Surroundings) -> _Addresses:
    fixed: list[Net] = []
    gateways: dict[int, str] = {}
    own: list[Net] = list(site.pair_networks)
    for entry in port.get("fixed_ips") or ():
        net = host_net(str(entry["ip_address"]))
        fixed.append(net)
        subnet = around.subnets.get(str(entry.get("subnet_id")))
        if subnet is None:
            continue
        own.append(parse_net(str(subnet["cidr"])))
        if subnet.get("gateway_ip"):
            gateways.setdefault(net.version, str(subnet["gateway_ip"]))
    pairs, refusals = _pairs(port, fixed, own)
    networks = list(dict.fromkeys([*fixed, *pairs]))
    return _Addresses([str(net) for net in networks], [str(net) for net in pairs], gateways, refusals)


def _pairs(port: Mapping[str, Any], fixed: Sequence[Net], own: Sequence[Net]) -> tuple[list[Net], tuple[Refusal, ...]]:
    pairs: dict[Net, None] = {}
    refusals: list[Refusal] = []
    for pair in port.get("allowed_address_pairs") or ():
        text = str(pair["ip_address"])
        try:
            net = parse_net(text)
        except ValueError as error:
            refusals.append(Refusal(f"port {port['id']}, allowed address pair {text}", str(error)))
            continue
        if any(never.contains(net) for never in NEVER_ROUTED):
            reason = "no router may forward to such an address, so it cannot be routed to the guest"
            refusals.append(Refusal(f"port {port['id']}, allowed address pair {text}", reason))
        elif not any(network.contains(net) for network in own):
            refusals.append(
                Refusal(
                    f"port {port['id']}, allowed address pair {text}",
                    "it is not inside the port's subnets, so it would become a route for other people's traffic",
                    "let the operator add its network to [calico] allowed_address_pair_networks",
                )
            )
        elif net not in fixed:
            pairs[net] = None
    return list(pairs), tuple(refusals)


def _nats(port: Mapping[str, Any], around: Surroundings) -> list[JsonObject]:
    fixed = {str(entry["ip_address"]) for entry in port.get("fixed_ips") or ()}
    nats = [
        {"internalIP": str(fip["fixed_ip_address"]), "externalIP": str(fip["floating_ip_address"])}
        for fip in around.floating_ips.get(str(port["id"]), ())
        if str(fip.get("fixed_ip_address")) in fixed
    ]
    return sorted(nats, key=lambda nat: (nat["externalIP"], nat["internalIP"]))


def _live_migration(site: Site, port_id: str, source: Slot, destination: Slot) -> Wanted:
    name = endpoint_name(endpoint_key(site, port_id, destination))

    def side(slot: Slot) -> JsonObject:
        return {
            "workloadEndpoint": {
                "hostname": slot.host,
                "orchestratorID": ORCHESTRATOR,
                "workloadID": f"{site.namespace}/{slot.device_id}",
                "endpointID": port_id,
            }
        }

    return Wanted(
        key=ResourceKey("LiveMigration", name, site.namespace).path,
        body={"source": side(source), "target": side(destination)},
        kind="LiveMigration",
        name=name,
        namespace=site.namespace,
    )
