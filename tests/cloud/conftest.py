"""One cloud for all tests here: two hosts, four guests, three security groups, IPv4 and IPv6.

Set SANDBOX_KEEP=1 to have it stay up afterwards (its name is printed; `calico-openstack sandbox down` takes it away),
and SANDBOX_USE=name to run the tests again on a cloud that was kept.
"""

import base64
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from calico_openstack.sandbox import Guest, Rule, Sandbox, SecurityGroup, Spec
from calico_openstack.sandbox.execute import log_tail
from calico_openstack.sandbox.probes import Prober
from calico_openstack.sandbox.remove import left_overs

TCP_PORTS = (80, 443, 5432)
UDP_PORTS = (53, 9999)


def _both(protocol: str, **fields: Any) -> tuple[Rule, Rule]:
    six = "ipv6-icmp" if protocol == "icmp" else protocol
    return Rule(protocol=protocol, **fields), Rule(ethertype="IPv6", protocol=six, **fields)


GROUPS = (
    # Anyone may ping it and speak to port 80.
    SecurityGroup("web", (*_both("icmp"), *_both("tcp", ports=(80, 80)))),
    # Port 5432 for members of web; DNS for the IPv4 subnet; it is not to be pinged.
    SecurityGroup(
        "db",
        (
            *_both("tcp", ports=(5432, 5432), remote_group="web"),
            Rule(protocol="udp", ports=(53, 53), remote_cidr="10.65.0.0/24"),
        ),
    ),
    # May send only to port 80, ping web over IPv4 and ask for names; is pinged by db only.
    SecurityGroup(
        "client",
        (
            *_both("tcp", direction="egress", ports=(80, 80)),
            Rule("egress", "IPv4", "icmp", remote_group="web"),
            Rule("egress", "IPv4", "udp", ports=(53, 53)),
            *_both("icmp", remote_group="db"),
        ),
        open_egress=False,
    ),
)
GUESTS = (
    Guest("web1", "h1", "net1", ("web",)),
    Guest("web2", "h2", "net1", ("web", "db")),
    Guest("db1", "h1", "net1", ("db",)),
    Guest("client1", "h2", "net1", ("client",)),
)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    if used := os.environ.get("SANDBOX_USE"):
        yield Sandbox.open(used)
        return
    sandbox = Sandbox(Spec(name=f"ct{os.getpid()}", groups=GROUPS, guests=GUESTS))
    sandbox.up()
    try:
        yield sandbox
    finally:
        if os.environ.get("SANDBOX_KEEP"):
            print(f"\nsandbox {sandbox.spec.name} stays up")
        else:
            sandbox.down()
            assert left_overs(sandbox.layout) == []


@pytest.fixture(scope="session")
def prober(sandbox: Sandbox) -> Iterator[Prober]:
    """Answers on all ports of interest in all guests."""
    with Prober() as prober:
        for guest in sandbox.guests:
            for port in TCP_PORTS:
                prober.listen(guest.namespace, "tcp", port)
            for port in UDP_PORTS:
                prober.listen(guest.namespace, "udp", port)
        yield prober


@pytest.fixture
def documents(sandbox: Sandbox) -> Callable[[], dict[str, bytes]]:
    """Everything that is in etcd now, read with etcdctl."""

    def read() -> dict[str, bytes]:
        answer = json.loads(sandbox.run("ctl", "etcdctl", "get", "--prefix", "/calico/", "-w", "json"))
        return {
            base64.b64decode(item["key"]).decode(): base64.b64decode(item.get("value", ""))
            for item in answer.get("kvs", [])
        }

    return read


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """A failed test shows what the agents said last."""
    report = yield
    sandbox = getattr(item, "funcargs", {}).get("sandbox")
    if report.failed and sandbox is not None and sandbox.state.exists:
        for record in sandbox.state.records():
            if record.process.name.split("/")[1] in ("felix", "dhcp", "bgp"):
                report.sections.append((record.process.name, log_tail(record.start.log, 25)))
    return report
