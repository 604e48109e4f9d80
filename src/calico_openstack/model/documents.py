"""The JSON documents of the v3 model, as they are stored: field names and forms to the letter.

Only the fields that somebody here reads or writes are named; others are skipped when reading. A rule is the
exception: an unknown field in it could narrow or turn its meaning, so a rule with one cannot be understood and is
refused (`forbid_unknown_fields`). These are forms, not meanings: `read_endpoint`, `read_policy` and their
neighbours check them and make values. Source: upstream api/pkg/apis/projectcalico/v3.
"""

from __future__ import annotations

from typing import Any

import msgspec

from calico_openstack.model.endpoint import QosControls

API_VERSION = "projectcalico.org/v3"


class _Doc(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    pass


class Metadata(_Doc, rename="camel", frozen=True):
    """A null where a text belongs is an empty text, as Go reads it: upstream's driver copies what Keystone says, and a
    project need not have a parent.
    """

    name: str = ""
    namespace: str = ""
    uid: str | None = None
    creation_timestamp: str | None = None
    labels: dict[str, str | None] | None = None
    annotations: dict[str, str | None] | None = None


class NatDoc(_Doc, frozen=True):
    internal: str = msgspec.field(default="", name="internalIP")
    external: str = msgspec.field(default="", name="externalIP")


class EndpointPortDoc(_Doc, frozen=True):
    name: str = ""
    protocol: int | str | None = None
    port: int = 0


class EndpointSpec(_Doc, frozen=True):
    interface: str = msgspec.field(default="", name="interfaceName")
    mac: str | None = None
    networks: list[str] | None = msgspec.field(default=None, name="ipNetworks")
    allowed: list[str] | None = msgspec.field(default=None, name="allowedIps")
    nats: list[NatDoc] | None = msgspec.field(default=None, name="ipNATs")
    gateway4: str | None = msgspec.field(default=None, name="ipv4Gateway")
    gateway6: str | None = msgspec.field(default=None, name="ipv6Gateway")
    profiles: list[str] | None = None
    ports: list[EndpointPortDoc] | None = None
    spoof: list[str] | None = msgspec.field(default=None, name="allowSpoofedSourcePrefixes")
    qos: QosControls | None = msgspec.field(default=None, name="qosControls")


class EndpointDoc(_Doc, frozen=True):
    metadata: Metadata
    spec: EndpointSpec


class IcmpDoc(_Doc, forbid_unknown_fields=True, frozen=True):
    type: int | None = None
    code: int | None = None


class EntityDoc(_Doc, rename="camel", forbid_unknown_fields=True, frozen=True):
    """One side of a rule. `services` and `serviceAccounts` are Kubernetes' and make a rule inexpressible here."""

    nets: list[str] | None = None
    not_nets: list[str] | None = None
    ports: list[int | str] | None = None
    not_ports: list[int | str] | None = None
    selector: str | None = None
    not_selector: str | None = None
    namespace_selector: str | None = None
    service_accounts: Any = None
    services: Any = None


class RuleDoc(_Doc, rename="camel", forbid_unknown_fields=True, frozen=True):
    action: str
    ip_version: int | None = None
    protocol: int | str | None = None
    not_protocol: int | str | None = None
    icmp: IcmpDoc | None = None
    not_icmp: IcmpDoc | None = msgspec.field(default=None, name="notICMP")
    source: EntityDoc | None = None
    destination: EntityDoc | None = None
    http: Any = None
    metadata: Any = None


class PolicyScope(_Doc, rename="camel", frozen=True):
    """Which endpoints a policy is about and when it is asked: what a stand-in needs to know."""

    tier: str = ""
    order: float | None = None
    selector: str = ""
    namespace_selector: str = ""
    service_account_selector: str = ""
    do_not_track: bool = False
    pre_dnat: bool = msgspec.field(default=False, name="preDNAT")
    apply_on_forward: Any = False


class LoosePolicyScope(PolicyScope, rename="camel", frozen=True):
    """The same where only the selectors must be readable: a stand-in needs no more to deny."""

    tier: Any = ""
    order: Any = None
    do_not_track: Any = False
    pre_dnat: Any = msgspec.field(default=False, name="preDNAT")


class PolicyScopeDoc(_Doc, frozen=True):
    spec: LoosePolicyScope


class PolicySpec(PolicyScope, rename="camel", frozen=True):
    """NetworkPolicy, GlobalNetworkPolicy and their staged kinds. Rules stay raw, so that one can be wrong alone."""

    types: list[str] | None = None
    ingress: list[msgspec.Raw] | None = None
    egress: list[msgspec.Raw] | None = None
    apply_on_forward: bool = False
    performance_hints: list[str] | None = None


class PolicyDoc(_Doc, frozen=True):
    spec: PolicySpec


class ProfileSpec(_Doc, rename="camel", frozen=True):
    labels_to_apply: dict[str, str | None] | None = None
    ingress: list[msgspec.Raw] | None = None
    egress: list[msgspec.Raw] | None = None


class ProfileDoc(_Doc, frozen=True):
    spec: ProfileSpec = ProfileSpec()


class TierSpec(_Doc, rename="camel", frozen=True):
    """`default_action` is anything: unless it says Pass it means Deny, and the order must not be lost over it."""

    order: float | None = None
    default_action: Any = None


class TierDoc(_Doc, frozen=True):
    spec: TierSpec = TierSpec()


class NetworkSetSpec(_Doc, frozen=True):
    """`nets` is anything, so that what is no text among them does not cost the others."""

    nets: Any = None


class NetworkSetDoc(_Doc, frozen=True):
    metadata: Metadata
    spec: NetworkSetSpec = NetworkSetSpec()


class HostEndpointSpec(_Doc, frozen=True):
    node: str = ""
    interface: str = msgspec.field(default="", name="interfaceName")
    expected: list[str] | None = msgspec.field(default=None, name="expectedIPs")
    profiles: list[str] | None = None
    ports: list[EndpointPortDoc] | None = None


class HostEndpointDoc(_Doc, frozen=True):
    metadata: Metadata
    spec: HostEndpointSpec


class PlainDoc(_Doc, frozen=True):
    """Any other resource: metadata and an uninterpreted spec."""

    metadata: Metadata = Metadata()
    spec: dict[str, Any] = {}
