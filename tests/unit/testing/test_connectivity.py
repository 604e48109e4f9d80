"""The table of who may reach whom, from documents as the Neutron driver writes them."""

import json
from typing import Any

import pytest

from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import ResourceKey
from calico_openstack.model.names import endpoint_name, security_group_policy_name, sg_label
from calico_openstack.model.net import host_net
from calico_openstack.policy.state import Packet
from calico_openstack.testing.connectivity import Probe, expected, may_reach
from calico_openstack.testing.oracle import state_of

EGRESS = [{"action": "Allow", "ipVersion": 4}, {"action": "Allow", "ipVersion": 6}]


def stored(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> tuple[str, bytes]:
    return ResourceKey(kind, name, "openstack").path, json.dumps({"metadata": metadata, "spec": spec}).encode()


def port(name: str, *addresses: str, groups: tuple[str, ...] = (), pairs: tuple[str, ...] = ()) -> tuple[str, bytes]:
    spec = {
        "interfaceName": f"tap{name}",
        "ipNetworks": [*pairs, *addresses],
        "allowedIps": list(pairs),
    }
    labels = {"projectcalico.org/namespace": "openstack", **{sg_label(group): group for group in groups}}
    key = EndpointKey("openstack", "host", "openstack", f"vm{name}", name)
    return stored("WorkloadEndpoint", endpoint_name(key), spec, labels=labels)


def group(name: str, *ingress: dict[str, Any], egress: list[dict[str, Any]] = EGRESS) -> tuple[str, bytes]:
    spec = {"selector": f"has({sg_label(name)})", "ingress": list(ingress), "egress": egress}
    return stored("NetworkPolicy", security_group_policy_name(name), spec)


DOCUMENTS = dict(
    [
        port("web", "10.65.0.1", "2001:db8::1", groups=("web",)),
        port("db", "10.65.0.2", groups=("db",), pairs=("10.65.0.200",)),
        port("mute", "10.65.0.3", groups=("mute",)),
        port("bare", "10.65.0.4"),
        group("web", {"action": "Allow", "ipVersion": 4, "protocol": 6, "destination": {"ports": [80]}}),
        group("db", {"action": "Allow", "ipVersion": 4, "source": {"selector": f"has({sg_label('web')})"}}),
        group("mute", {"action": "Allow"}, egress=[]),
    ]
)


@pytest.mark.parametrize(
    ("probe", "reaches"),
    [
        (Probe("db", "web", 4, "tcp", 80), True),
        (Probe("db", "web", 4, "tcp", 22), False),
        (Probe("db", "web", 4, "udp", 80), False),
        (Probe("db", "web", 4, "icmp"), False),
        (Probe("web", "db", 4, "icmp"), True),
        (Probe("web", "db", 4, "sctp", 9), True),
        (Probe("web", "mute", 4, "tcp", 1), True),
        (Probe("mute", "web", 4, "tcp", 80), False),
        (Probe("mute", "db", 4, "tcp", 80), False),
        (Probe("web", "bare", 4, "tcp", 80), False),
        (Probe("bare", "web", 4, "tcp", 80), False),
        (Probe("web", "db", 6, "icmp"), False),
        (Probe("web", "nobody", 4, "icmp"), False),
    ],
)
def test_a_probe_needs_the_senders_egress_and_the_receivers_ingress(probe: Probe, reaches: bool) -> None:
    assert expected(DOCUMENTS, [probe])[probe].reaches is reaches


def test_an_answer_says_which_side_refused_and_why() -> None:
    refused, silent = Probe("db", "web", 4, "tcp", 22), Probe("mute", "web", 4, "tcp", 80)
    table = expected(DOCUMENTS, [refused, silent])

    egress, ingress = table[refused].egress, table[refused].ingress
    assert egress is not None
    assert ingress is not None
    assert egress.allowed
    assert (ingress.allowed, ingress.tier, ingress.decided_by) == (False, "default", None)
    assert table[silent].egress == (False, "default", None, None)


def test_a_guest_reaches_nobody_with_a_foreign_source_and_may_use_its_address_pairs() -> None:
    state = state_of(DOCUMENTS)
    db, web = (next(e for e in state.endpoints.values() if e.key.endpoint == name) for name in ("db", "web"))

    def sent(source: str) -> bool:
        return may_reach(state, db, web, Packet(host_net(source), web.addresses[0], 6, 40000, 80)).reaches

    assert sent("10.65.0.2")
    assert sent("10.65.0.200")
    assert not sent("10.65.0.77")
