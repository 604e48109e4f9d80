"""One rule of a policy, from its document to a checked value.

Raises ValueError for whatever cannot be honoured exactly as written, also for Kubernetes' matches: whoever calls
decides what fails closed. Selectors of a namespaced policy are restricted to its namespace as upstream does
(updateprocessors/rules.go): as soon as a side selects by labels, the positive selector gets the namespace; a side
with networks only is not restricted.
"""

from __future__ import annotations

import re
from typing import get_args

import msgspec

from calico_openstack.model.documents import EntityDoc, IcmpDoc, RuleDoc
from calico_openstack.model.policy import ANY, Action, Icmp, Match, PortRange, Rule
from calico_openstack.model.reading import WITH_PORTS, decode, nets, protocol
from calico_openstack.model.selector import Equals, Global, Has, Not, Selector, conjunction, parse
from calico_openstack.model.selector.rewrite import with_label_prefix

NAMESPACE_LABEL = "projectcalico.org/namespace"
NAMESPACE_PREFIX = "pcns."
SERVICE_ACCOUNT_PREFIX = "pcsa."

_ACTIONS = frozenset(get_args(Action))
_PORT_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}\Z")
_ICMP_OF_VERSION = {1: 4, 58: 6}


def action_of(raw: bytes) -> str | None:
    """The action alone, lower case, if the document has a readable one; for deciding how to fail closed."""
    try:
        action = msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).get("action")
        word = msgspec.json.decode(action, type=str).lower() if action is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return word if word in _ACTIONS else None


def read_rule(raw: bytes, namespace: str) -> Rule:
    """The rule of a policy in `namespace` (empty: a global one)."""
    doc = decode(raw, RuleDoc)
    action = doc.action.lower()
    if action not in _ACTIONS:
        raise ValueError(f"action {doc.action!r}: Allow, Deny, Log or Pass is expected")
    if doc.http is not None:
        raise ValueError("http: application-layer matches are not enforced on an OpenStack host")
    if doc.ip_version not in (None, 4, 6):
        raise ValueError(f"ipVersion {doc.ip_version}: 4 or 6 is expected")
    number = None if doc.protocol is None else protocol(doc.protocol, "protocol")
    icmp, not_icmp = _icmp(doc.icmp, "icmp"), _icmp(doc.not_icmp, "notICMP")
    if (icmp or not_icmp) and number not in _ICMP_OF_VERSION:
        raise ValueError("icmp and notICMP need protocol ICMP or ICMPv6")
    return Rule(
        action=action,  # type: ignore[arg-type]
        version=_version(doc, number, icmp is not None or not_icmp is not None),
        protocol=number,
        not_protocol=None if doc.not_protocol is None else protocol(doc.not_protocol, "notProtocol"),
        icmp=icmp,
        not_icmp=not_icmp,
        source=_side(doc.source, "source", number, namespace),
        destination=_side(doc.destination, "destination", number, namespace),
    )


def _version(doc: RuleDoc, number: int | None, has_icmp: bool) -> int | None:
    """A rule that names ICMP or ICMPv6 belongs to that family, if it does not say otherwise."""
    by_name = isinstance(doc.protocol, str) and not doc.protocol.strip().isdigit()
    if doc.ip_version is None and number in _ICMP_OF_VERSION and (by_name or has_icmp):
        return _ICMP_OF_VERSION[number]
    return doc.ip_version


def _icmp(doc: IcmpDoc | None, field: str) -> Icmp | None:
    if doc is None or (doc.type is None and doc.code is None):
        return None
    if doc.type is None:
        raise ValueError(f"{field}: a code needs a type")
    if not 0 <= doc.type <= 254 or not 0 <= (doc.code or 0) <= 255:
        raise ValueError(f"{field}: type 0 to 254 and code 0 to 255 are expected")
    return Icmp(doc.type, doc.code)


def _side(doc: EntityDoc | None, side: str, number: int | None, namespace: str) -> Match:
    if doc is None:
        return ANY
    if doc.services is not None or doc.service_accounts is not None:
        raise ValueError(f"{side}: services and serviceAccounts exist only in Kubernetes")
    ports, names = _ports(doc.ports, f"{side}.ports")
    not_ports, not_names = _ports(doc.not_ports, f"{side}.notPorts")
    if (ports or not_ports) and number not in WITH_PORTS:
        raise ValueError(f"{side}: port numbers need protocol TCP, UDP or SCTP")
    return Match(
        nets=nets(doc.nets, f"{side}.nets"),
        not_nets=nets(doc.not_nets, f"{side}.notNets"),
        selector=_selector(doc, namespace),
        not_selector=parse(doc.not_selector) if doc.not_selector else None,
        ports=ports,
        named_ports=names,
        not_ports=not_ports,
        not_named_ports=not_names,
    )


def _selector(doc: EntityDoc, namespace: str) -> Selector | None:
    own = parse(doc.selector) if doc.selector else None
    if doc.namespace_selector:
        scope = namespace_scope(doc.namespace_selector)
    elif namespace and (doc.selector or doc.not_selector):
        scope = Selector(Equals(NAMESPACE_LABEL, namespace))
    else:
        return own
    return scope if own is None else conjunction(scope, own)


def namespace_scope(text: str) -> Selector:
    """A `namespaceSelector` as a selector on endpoints: `all()` is any namespace, `global()` is none."""
    selector = parse(text)
    if isinstance(selector.root, Global):
        return Selector(Not(Has(NAMESPACE_LABEL)))
    if selector.canonical == "all()":
        return Selector(Has(NAMESPACE_LABEL))
    return with_label_prefix(selector, NAMESPACE_PREFIX)


def _ports(stored: list[int | str] | None, field: str) -> tuple[tuple[PortRange, ...], tuple[str, ...]]:
    ranges: dict[PortRange, None] = {}
    names: dict[str, None] = {}
    for item in stored or ():
        text = str(item)
        first, colon, last = text.partition(":")
        if not (first.isascii() and first.isdigit()):
            if isinstance(item, int) or not _PORT_NAME.match(text):
                raise ValueError(f"{field} {item!r}: a number, a range a:b or a name is expected")
            names[text] = None
            continue
        if colon and not (last.isascii() and last.isdigit()):
            raise ValueError(f"{field} {item!r}: a range is a:b")
        found = PortRange(int(first), int(last) if colon else int(first))
        if not 1 <= found.first <= found.last <= 65535:
            raise ValueError(f"{field} {item!r}: ports from 1 to 65535, the first not above the last")
        ranges[found] = None
    return tuple(ranges), tuple(names)
