"""Ports by name, which mean another number on each endpoint, beside ports by number: real flows, both families."""

from typing import Any

import pytest

from calico_openstack.testing.connections import SCTP, TCP, UDP, Try
from calico_openstack.testing.trio import ALLOW, PORTS, Trio, policy
from calico_openstack.testing.written import document

pytestmark = pytest.mark.root

WEB = {"w0": 80, "w1": 81, "w2": 8080}
NUMERIC: dict[int, list[Any]] = {0: [], 1: [81], 16: [81, *range(9001, 9016)]}


def name_ports(trio: Trio) -> None:
    """Everybody has a TCP port `web`, each on another number."""
    trio.put(
        *(one.document(ports=[{"name": "web", "protocol": "TCP", "port": WEB[one.name]}]) for one in trio.workloads)
    )


def rule(key: str, count: int, selector: str | None) -> dict[str, Any]:
    destination: dict[str, Any] = {key: ["web", *NUMERIC[count]]}
    if selector is not None:
        destination["selector"] = selector
    return {**ALLOW, "protocol": "TCP", "destination": destination}


def by_direction(direction: str, one: dict[str, Any]) -> Any:
    return policy("ports", "all()", **{direction: [one]})


@pytest.mark.conformance("P9")
@pytest.mark.parametrize("direction", ["ingress", "egress"])
@pytest.mark.parametrize("count", NUMERIC)
@pytest.mark.parametrize("selector", [None, "w == 'w1'"])
def test_only_named_and_numbered_ports_are_open(trio: Trio, direction: str, count: int, selector: str | None) -> None:
    name_ports(trio)
    trio.put(by_direction(direction, rule("ports", count, selector)))

    def allowed(_: str, receiver: str, port: int, protocol: str, __: int) -> bool:
        chosen = selector is None or receiver == "w1"
        return chosen and protocol == TCP and (port == WEB[receiver] or port in NUMERIC[count])

    trio.expect_where(allowed, ports=PORTS)


@pytest.mark.conformance("P10")
@pytest.mark.parametrize("direction", ["ingress", "egress"])
@pytest.mark.parametrize("count", NUMERIC)
@pytest.mark.parametrize("selector", [None, "w == 'w1'"])
def test_all_but_named_and_numbered_ports_are_open(
    trio: Trio, direction: str, count: int, selector: str | None
) -> None:
    name_ports(trio)
    trio.put(by_direction(direction, rule("notPorts", count, selector)))

    def allowed(_: str, receiver: str, port: int, protocol: str, __: int) -> bool:
        chosen = selector is None or receiver == "w1"
        return chosen and protocol == TCP and port != WEB[receiver] and port not in NUMERIC[count]

    trio.expect_where(allowed, ports=PORTS)


@pytest.mark.conformance("P11")
def test_a_name_means_the_port_of_the_rules_protocol_only(trio: Trio) -> None:
    meant = {TCP: 80, UDP: 81, SCTP: 8080}
    ports = [{"name": "web", "protocol": name.upper(), "port": port} for name, port in meant.items()]
    trio.put(*(one.document(ports=ports) for one in trio.workloads))
    trio.expect_where(lambda *_: True, ports=PORTS, protocols=meant)

    for chosen in meant:
        trio.put(policy("web", "all()", [{**ALLOW, "protocol": chosen.upper(), "destination": {"ports": ["web"]}}]))
        trio.expect_where(
            lambda _, __, port, protocol, ___, chosen=chosen: (protocol, port) == (chosen, meant[chosen]),
            ports=PORTS,
            protocols=meant,
        )


@pytest.mark.conformance("P12")
def test_a_rule_without_protocol_opens_what_has_that_name_and_a_network_set_opens_nothing(trio: Trio) -> None:
    ports = [{"name": "web", "protocol": name, "port": port} for name, port in (("TCP", 80), ("UDP", 81))]
    # w0 is selected and has the name; w1 is selected by a network set, which has no ports; w2 has another name.
    other = [{**port, "name": "other"} for port in ports]
    trio.put(
        trio.workloads[0].document({"kind": "web"}, ports=ports),
        trio.workloads[2].document({"kind": "web"}, ports=other),
        document(
            "GlobalNetworkSet", "one", "", {"nets": ["10.65.0.2/32", "2001:db8:a41::2/128"]}, labels={"kind": "web"}
        ),
        policy("out", "all()", egress=[{**ALLOW, "destination": {"selector": "kind == 'web'", "ports": ["web"]}}]),
    )

    trio.expect_where(
        lambda _, receiver, port, protocol, ____: receiver == "w0" and (protocol, port) in ((TCP, 80), (UDP, 81)),
        ports=PORTS,
    )


@pytest.mark.conformance("P12")
def test_a_named_port_of_a_host_endpoint_is_open_towards_the_host(trio: Trio) -> None:
    trio.use(default_endpoint_to_host_action="return")
    try:
        service, other = "192.0.2.1", "192.0.2.2"
        trio.own(f"{service}/32", f"{other}/32")
        trio.listen_on_host(80, 81)
        trio.put(
            document(
                "HostEndpoint",
                "elsewhere",
                "",
                # Of another host: only its address and name count here.
                {
                    "node": "compute-02",
                    "interfaceName": "eth0",
                    "expectedIPs": [service],
                    "ports": [{"name": "web", "protocol": "TCP", "port": 80}],
                },
                labels={"kind": "host"},
            ),
            policy("out", "all()", egress=[{**ALLOW, "destination": {"selector": "kind == 'host'", "ports": ["web"]}}]),
        )
        w0 = trio.workloads[0]
        tries = {
            Try(w0.guest.name, w0.addresses[0], address, port, protocol)
            for address in (service, other)
            for port in (80, 81)
            for protocol in (TCP, UDP)
        }
        open_one = {one for one in tries if (one.address, one.port, one.protocol) == (service, 80, TCP)}

        assert trio.listeners.passes(tries, open_one) == open_one
    finally:
        trio.use(default_endpoint_to_host_action="drop")
