"""Law "fail closed": damage to a policy, profile or tier never lets through a packet that the undamaged one stops."""

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.intake import Absent, read
from calico_openstack.model.keys import ResourceKey
from calico_openstack.model.names import endpoint_name
from calico_openstack.model.read_policy import DIRECTIONS
from calico_openstack.policy.state import Packet, State
from calico_openstack.policy.verdict import Direction, verdict
from calico_openstack.testing import clouds
from calico_openstack.testing.oracle import state_of

Document = tuple[str, bytes]

rule_damage: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    (
        {"onlyOnTuesdays": True},
        {"action": "Perhaps"},
        {"action": 7},
        {"ipVersion": 5},
        {"protocol": 0},
        {"protocol": "dccp"},
        {"source": {"nets": ["rubbish"]}},
        {"source": {"notNets": ["10.0.0.0/8", "10.0.0.0/255.0.0.0"]}},
        {"destination": {"selector": "((("}},
        {"destination": {"notPorts": [-5]}, "protocol": "TCP"},
        {"source": {"services": {"name": "x"}}},
        {"http": {"methods": ["GET"]}},
    )
)
spec_damage: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    ({"ingress": {}}, {"egress": 7}, {"types": ["Sideways"]}, {"types": "Ingress"}, {"performanceHints": 1})
)


HOST = clouds.HOSTS[0]


def document(kind: str, name: str, namespace: str, spec: dict[str, Any]) -> Document:
    return ResourceKey(kind, name, namespace).path, json.dumps({"metadata": {"name": name}, "spec": spec}).encode()


EVERYTHING = {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]}
OPEN = [
    # Whoever comes after the damaged one allows everything, so that every deny that gets lost shows.
    document("GlobalNetworkPolicy", "zz-open", "", EVERYTHING),
    document("Profile", "zz-open", "", EVERYTHING),
]
KEY = EndpointKey(clouds.NAMESPACES[0], HOST, "openstack", "vm", "port")


@st.composite
def guests(draw: st.DrawFn) -> Document:
    """An endpoint that the damaged policy or profile is likely to be about."""
    spec = {
        "interfaceName": "tapguest",
        "ipNetworks": draw(st.lists(st.sampled_from(clouds.V4 + clouds.V6), min_size=1, max_size=3)),
        "profiles": [*draw(st.permutations(clouds.PROFILES)), "zz-open"],
    }
    own = {"projectcalico.org/namespace": KEY.namespace, **draw(clouds.labels)}
    path = ResourceKey("WorkloadEndpoint", endpoint_name(KEY), KEY.namespace).path
    return path, json.dumps({"metadata": {"labels": own}, "spec": spec}).encode()


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Document, Document]:
    """A policy or profile, whole and damaged."""
    path, value = draw(st.one_of(clouds.policies(), clouds.security_groups(), clouds.profiles()))
    document = json.loads(value)
    spec = document["spec"]
    if "/profiles/" not in path and draw(st.booleans()):
        spec["selector"] = "all()"
    for direction in DIRECTIONS:
        if draw(st.booleans()):
            rule = draw(st.sampled_from(({"action": "Deny"}, {"action": "Deny", "protocol": "TCP"}, {"action": "Log"})))
            spec.setdefault(direction, []).append(rule)
    value = json.dumps(document).encode()
    lists = [spec[d] for d in ("ingress", "egress") if spec.get(d)]
    if lists and draw(st.integers(0, 3)):
        draw(st.sampled_from(draw(st.sampled_from(lists)))).update(draw(rule_damage))
    else:
        assume("/profiles/" not in path)
        spec.update(draw(spec_damage))
    return (path, value), (path, json.dumps(document).encode())


def allowed(state: State, direction: Direction, packet: Packet) -> bool:
    return verdict(state, state.endpoints[KEY], direction, packet).allowed


@given(
    clouds.many(clouds.documents, 8),
    st.sets(st.sampled_from(OPEN)),
    guests(),
    damaged(),
    st.lists(clouds.packets(), min_size=10, max_size=10),
)
def test_a_damaged_policy_or_profile_allows_nothing_more(
    documents: list[Document],
    opened: set[Document],
    guest: Document,
    pair: tuple[Document, Document],
    packets: list[Packet],
) -> None:
    whole, broken = (state_of(dict([*documents, *opened, guest, one])) for one in pair)

    for packet in packets:
        for direction in DIRECTIONS:
            assert not allowed(broken, direction, packet) or allowed(whole, direction, packet), (direction, packet)


tier_damage = st.sampled_from((None, b"{", b'{"metadata": {"name": "x"}, "spec": {"order": "first"}}'))


@given(
    clouds.many(clouds.documents, 6),
    st.lists(clouds.policies(("GlobalNetworkPolicy",), st.just("all()")), min_size=1, max_size=3),
    st.sets(st.sampled_from(OPEN)),
    guests(),
    st.lists(clouds.tiers(), min_size=1, max_size=3),
    tier_damage,
    st.lists(clouds.packets(), min_size=10, max_size=10),
)
def test_a_tier_that_is_damaged_or_gone_allows_nothing_more(
    documents: list[Document],
    policies: list[Document],
    opened: set[Document],
    guest: Document,
    tiers: list[Document],
    damage: bytes | None,
    packets: list[Packet],
) -> None:
    everything = dict([*documents, *policies, *opened, guest, *tiers])
    path, _ = tiers[0]
    # Without a document, `default` has a place of its own.
    assume(damage is not None or not path.endswith("/default"))
    without = {one: value for one, value in everything.items() if one != path}
    whole, broken = state_of(everything), state_of(without if damage is None else without | {path: damage})

    for packet in packets:
        for direction in DIRECTIONS:
            assert not allowed(broken, direction, packet) or allowed(whole, direction, packet), (direction, packet)


@given(damaged())
def test_damage_is_complained_about_unless_nobody_looks_there(pair: tuple[Document, Document]) -> None:
    path, value = pair[1]
    found = read(path, value)
    if isinstance(found, Absent):
        assert path in found.reason
        assert found.stand_in is not None
        assert found.stand_in.broken
        return
    types = json.loads(value)["spec"].get("types")
    assert types in (["Ingress"], ["Egress"])
