"""Generated clouds, as documents: hypothesis strategies for property tests and benchmarks.

Small alphabets on purpose: few hosts, groups, labels and addresses, so that selectors hit, addresses repeat and
documents overwrite each other. Every document is what some writer could have stored; `rubbish` is what nobody
should have. Needs `hypothesis`, a developer's tool.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import ResourceKey
from calico_openstack.model.names import endpoint_name, tap_name
from calico_openstack.model.net import host_net
from calico_openstack.policy.state import Packet

HOSTS = ("host-1", "host2")
NAMESPACES = ("openstack", "openstack-region-eu")
GROUPS = tuple(f"{letter * 8}-0000-4000-8000-00000000000{n}" for n, letter in enumerate("abc"))
PORTS = tuple(f"{n:08x}-1111-4000-8000-000000000000" for n in range(1, 6))
V4 = tuple(f"10.65.0.{n}" for n in range(1, 7))
V6 = tuple(f"2001:db8:a41::{n}" for n in range(1, 7))
FOREIGN = ("192.0.2.1", "198.51.100.7", "2001:db8:f::1")
CIDRS = ("10.65.0.0/30", "10.65.0.4/30", "10.65.0.0/16", "192.0.2.0/24", "0.0.0.0/0", "2001:db8:a41::/126", "::/0")
TIERS = ("default", "security", "platform")
PROFILES = ("dev", "prod", "kns.openstack")
LISTED = (*PROFILES, "projectcalico-default-allow")
"""The last of them is there without a document."""
NUMBERS = (22, 80, 8080)
PORT_NAMES = ("web", "admin")

Documents = dict[str, bytes]


def _json(kind: str, name: str, namespace: str, spec: dict[str, Any], **metadata: Any) -> tuple[str, bytes]:
    meta = {"name": name, **({"namespace": namespace} if namespace else {}), **metadata}
    document = {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": meta, "spec": spec}
    return ResourceKey(kind, name, namespace).path, json.dumps(document).encode()


def _optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def many(of: st.SearchStrategy[Any], most: int, least: int = 0) -> st.SearchStrategy[list[Any]]:
    """Any number of them, equally likely. Lists of hypothesis are mostly short, and what matters is what meets."""
    return st.integers(least, most).flatmap(lambda count: st.lists(of, min_size=count, max_size=count))


def _some(values: tuple[Any, ...], most: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True)


labels = st.dictionaries(
    st.sampled_from(("env", "role", *(f"sg.projectcalico.org/openstack-{group}" for group in GROUPS))),
    st.sampled_from(("dev", "prod", "")),
    max_size=4,
)

_atoms = st.one_of(
    st.sampled_from(
        ("all()", "env == 'dev'", "env != 'dev'", "role in {'dev', 'prod'}", "role not in {'prod'}", "has(env)")
    ),
    st.sampled_from([f"has(sg.projectcalico.org/openstack-{group})" for group in GROUPS]),
    st.sampled_from(("env starts with 'd'", "role contains 'ro'", "role ends with 'd'", "!has(role)")),
)
selectors = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(("&&", "||")), inner).map(lambda p: f"({p[0]}) {p[1]} {p[2]}"),
        inner.map(lambda text: f"!({text})"),
    ),
    max_leaves=3,
)

namespace_selectors = st.sampled_from(
    ("all()", "global()", "has(env)", *(f"projectcalico.org/name == '{name}'" for name in NAMESPACES))
)

_port_numbers = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(("20:30", "80:8080", "22", "1:65535")))


@st.composite
def entities(draw: st.DrawFn, with_numbers: bool) -> dict[str, Any]:
    """One side of a rule."""
    names = st.sampled_from(PORT_NAMES)
    ports = st.lists(st.one_of(_port_numbers, names) if with_numbers else names, max_size=3)
    return draw(
        _optional(
            nets=_some(CIDRS + FOREIGN),
            notNets=_some(CIDRS),
            selector=selectors,
            notSelector=selectors,
            namespaceSelector=namespace_selectors,
            ports=ports,
            notPorts=ports,
        )
    )


@st.composite
def rules(draw: st.DrawFn, actions: tuple[str, ...] = ("Allow", "Deny", "Pass", "Log")) -> dict[str, Any]:
    """A valid rule with any of the fields that are enforced."""
    rule: dict[str, Any] = {"action": draw(st.sampled_from(actions))}
    shape = draw(st.sampled_from(("any", "ports", "icmp", "number", "not")))
    if shape == "ports":
        rule["protocol"] = draw(st.sampled_from(("TCP", "UDP", "SCTP", 6, 17, "6")))
    elif shape == "icmp":
        rule["protocol"] = draw(st.sampled_from(("ICMP", "ICMPv6")))
        field = draw(st.sampled_from(("icmp", "notICMP")))
        rule[field] = draw(
            st.sampled_from(({"type": 8}, {"type": 8, "code": 0}, {"type": 128}, {"type": 3, "code": 4}))
        )
    elif shape == "number":
        rule["protocol"] = draw(st.sampled_from((1, 47, 58, "112")))
    elif shape == "not":
        rule["notProtocol"] = draw(st.sampled_from(("TCP", 17)))
    if shape != "icmp" and draw(st.booleans()):
        rule["ipVersion"] = draw(st.sampled_from((4, 6)))
    for side in ("source", "destination"):
        if draw(st.booleans()):
            rule[side] = draw(entities(shape == "ports"))
    return rule


@st.composite
def endpoints(draw: st.DrawFn, host: str | None = None) -> tuple[str, bytes]:
    port = draw(st.sampled_from(PORTS))
    namespace = NAMESPACES[0] if draw(st.integers(0, 9)) else NAMESPACES[1]
    key = EndpointKey(namespace, host or draw(st.sampled_from(HOSTS)), "openstack", f"vm-{port[:8]}", port)
    addresses = draw(st.lists(st.sampled_from(V4 + V6), min_size=1, max_size=3, unique=True))
    wide = draw(st.sampled_from(((), (), (), ("10.65.0.4/30",))))
    spec = {
        "orchestrator": "openstack",
        "workload": key.workload,
        "node": key.host,
        "endpoint": port,
        "interfaceName": draw(st.sampled_from((tap_name(port), tap_name(port), "tapshared"))),
        "mac": f"fa:16:3e:00:00:{int(port[:8], 16):02x}",
        "ipNetworks": [f"{a}/{32 if '.' in a else 128}" for a in addresses] + list(wide),
        "allowedIps": list(wide),
        **draw(
            _optional(
                profiles=_some(LISTED, 2),
                ports=st.lists(
                    st.builds(
                        lambda name, protocol, port: {"name": name, "protocol": protocol, "port": port},
                        st.sampled_from(PORT_NAMES),
                        st.sampled_from(("TCP", "UDP")),
                        st.sampled_from(NUMBERS),
                    ),
                    max_size=2,
                ),
            )
        ),
    }
    inside = [address for address in addresses if "." in address]
    if inside and draw(st.integers(0, 3)) == 0:
        spec["ipNATs"] = [{"internalIP": inside[0], "externalIP": FOREIGN[1]}]
    if draw(st.integers(0, 3)) == 0:
        spec["qosControls"] = {draw(st.sampled_from(("ingressBandwidth", "egressPacketRate"))): 10_000_000}
    if draw(st.integers(0, 11)) == 0:
        spec["allowSpoofedSourcePrefixes"] = ["198.51.100.0/24"]
    if draw(st.integers(0, 5)) == 0:
        # The field is optional. Then any MAC may send, and there is no neighbour entry.
        del spec["mac"]
    own = {
        "projectcalico.org/namespace": namespace,
        "projectcalico.org/orchestrator": "openstack",
        **draw(labels),
    }
    return _json("WorkloadEndpoint", endpoint_name(key), namespace, spec, labels=own)


_POLICY_KINDS = (
    *("NetworkPolicy", "GlobalNetworkPolicy") * 3,
    "StagedNetworkPolicy",
    "StagedGlobalNetworkPolicy",
)


@st.composite
def policies(
    draw: st.DrawFn, kinds: tuple[str, ...] = _POLICY_KINDS, whose: st.SearchStrategy[str] = selectors
) -> tuple[str, bytes]:
    kind = draw(st.sampled_from(kinds))
    namespace = "" if "Global" in kind else NAMESPACES[0]
    spec = {
        # Often of everybody, so that policies meet: the order of two is a question only where both apply.
        "selector": draw(st.one_of(st.just("all()"), whose)),
        "ingress": draw(st.lists(rules(), max_size=3)),
        "egress": draw(st.lists(rules(), max_size=2)),
        **draw(
            _optional(
                tier=st.sampled_from(TIERS),
                order=st.sampled_from((0, 1, 2.5)),
                types=st.sampled_from((["Ingress"], ["Egress"], ["Ingress", "Egress"])),
                performanceHints=st.just(["AssumeNeededOnEveryNode"]),
            )
        ),
    }
    if kind == "GlobalNetworkPolicy":
        kinds_of_host_policy = st.sampled_from(
            ({}, {}, {}, {}, {"doNotTrack": True}, {"preDNAT": True}, {"applyOnForward": True})
        )
        spec.update(draw(_optional(namespaceSelector=namespace_selectors)))
        spec.update(draw(kinds_of_host_policy))
        if "preDNAT" in spec:
            # It governs ingress only; anything else would be refused.
            spec.pop("egress", None)
            spec.pop("types", None)
    return _json(kind, draw(st.sampled_from(("p1", "p2", "p3", "security.p4"))), namespace, spec)


@st.composite
def security_groups(draw: st.DrawFn) -> tuple[str, bytes]:
    """A policy as the Neutron driver writes it: allow only, no types, no order."""
    group = draw(st.sampled_from(GROUPS))
    name, label = f"ossg.default.{group}", f"sg.projectcalico.org/openstack-{group}"
    allow = rules(("Allow",))
    spec = {
        "ingress": draw(st.lists(allow, max_size=3)),
        "egress": draw(st.lists(allow, max_size=2)),
        "selector": f"has({label})",
    }
    return _json("NetworkPolicy", name, NAMESPACES[0], spec)


@st.composite
def profiles(draw: st.DrawFn) -> tuple[str, bytes]:
    spec = draw(
        _optional(
            labelsToApply=labels,
            ingress=st.lists(rules(), max_size=2),
            egress=st.lists(rules(), max_size=2),
        )
    )
    return _json("Profile", draw(st.sampled_from(PROFILES)), "", spec)


@st.composite
def tiers(draw: st.DrawFn) -> tuple[str, bytes]:
    spec = draw(_optional(order=st.sampled_from((0, 5, 5.5)), defaultAction=st.sampled_from(("Deny", "Pass"))))
    return _json("Tier", draw(st.sampled_from(TIERS)), "", spec)


@st.composite
def network_sets(draw: st.DrawFn) -> tuple[str, bytes]:
    kind = draw(st.sampled_from(("NetworkSet", "GlobalNetworkSet")))
    spec = {"nets": draw(_some(CIDRS + FOREIGN + V4))}
    namespace = NAMESPACES[0] if kind == "NetworkSet" else ""
    return _json(kind, draw(st.sampled_from(("ns1", "ns2"))), namespace, spec, labels=draw(labels))


@st.composite
def host_endpoints(draw: st.DrawFn, host: str | None = None) -> tuple[str, bytes]:
    spec = {
        "node": host or draw(st.sampled_from(HOSTS)),
        "interfaceName": draw(st.sampled_from(("eth0", "eth1", "*"))),
        **draw(
            _optional(
                expectedIPs=_some(FOREIGN, 2),
                profiles=_some(LISTED, 2),
                ports=st.just([{"name": "web", "protocol": "TCP", "port": 80}]),
            )
        ),
    }
    if spec.get("expectedIPs") and draw(st.booleans()):
        del spec["interfaceName"]
    return _json("HostEndpoint", draw(st.sampled_from(("he1", "he2", "he3"))), "", spec, labels=draw(labels))


@st.composite
def migrations(draw: st.DrawFn) -> tuple[str, bytes]:
    """As the Neutron driver writes it; or to itself, or of one side only, which nobody should."""
    port = draw(st.sampled_from(PORTS))

    def side(host: str) -> dict[str, Any]:
        workload = f"{NAMESPACES[0]}/vm-{port[:8]}"
        parts = {"hostname": host, "orchestratorID": "openstack", "workloadID": workload, "endpointID": port}
        return {"workloadEndpoint": parts}

    source, target = draw(st.sampled_from([(a, b) for a in HOSTS for b in HOSTS]))
    spec = {"source": side(source), "target": side(target)}
    spec.pop(draw(st.sampled_from(("source", "target", "", "", ""))), None)
    key = EndpointKey(NAMESPACES[0], target, "openstack", f"vm-{port[:8]}", port)
    return _json("LiveMigration", endpoint_name(key), NAMESPACES[0], spec, uid=f"uid-{source}")


documents = st.one_of(
    endpoints(),
    endpoints(HOSTS[0]),
    endpoints(HOSTS[0]),
    host_endpoints(),
    migrations(),
    policies(),
    policies(),
    policies(),
    security_groups(),
    security_groups(),
    profiles(),
    tiers(),
    network_sets(),
)


@st.composite
def rubbish(draw: st.DrawFn) -> tuple[str, bytes]:
    """A known key with a value that nobody should have stored."""
    path, value = draw(documents)
    how = draw(st.sampled_from(("bytes", "cut", "json", "field")))
    if how == "bytes":
        return path, draw(st.binary(max_size=20))
    if how == "cut":
        return path, value[: draw(st.integers(0, len(value) - 1))]
    if how == "json":
        return path, draw(st.sampled_from((b"null", b"[]", b"{}", b'"x"', b'{"metadata": {}, "spec": null}')))
    document = json.loads(value)
    field = draw(
        st.sampled_from(("selector", "ingress", "ipNetworks", "mac", "nets", "order", "types", "interfaceName"))
    )
    document["spec"][field] = draw(st.sampled_from(("(((", 7, ["x"], [{"action": "Allow", "surprise": 1}], None)))
    return path, json.dumps(document).encode()


@st.composite
def histories(
    draw: st.DrawFn, most: int = 24, of: st.SearchStrategy[tuple[str, bytes]] | None = None
) -> list[tuple[str, bytes | None]]:
    """Puts, overwrites, deletions (also of what is not there) and some rubbish, in any order."""
    anything = st.one_of(*[documents] * 7, rubbish())
    puts = draw(many(anything if of is None else of, most))
    history: list[tuple[str, bytes | None]] = []
    for path, value in puts:
        history.append((path, value))
        if draw(st.integers(0, 4)) == 0:
            history.append((draw(st.sampled_from([p for p, _ in history])), None))
    return history


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    """The first packet of a flow between addresses that clouds of this module use."""
    source = host_net(draw(st.sampled_from(V4 + V6 + FOREIGN)))
    family = [a for a in V4 + V6 + FOREIGN if (":" in a) == (source.version == 6)]
    destination = host_net(draw(st.sampled_from(family)))
    protocol = draw(st.sampled_from((6, 6, 17, 17, 1 if source.version == 4 else 58, 1, 58, 132, 47, 112)))
    if protocol == (1 if source.version == 4 else 58):
        kinds = ((8, 0), (3, 4), (3, 1)) if protocol == 1 else ((128, 0), (8, 0), (3, 4), (3, 0))
        return Packet(source, destination, protocol, icmp=draw(st.sampled_from(kinds)))
    if protocol in (6, 17, 132):
        ports = st.sampled_from((*NUMBERS, 25, 443, 40000))
        return Packet(source, destination, protocol, draw(ports), draw(ports))
    return Packet(source, destination, protocol)
