"""`calico-openstack explain` against a real etcd."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.values import EtcdSettings
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import EndpointStatusKey
from calico_openstack.testing.etcd_server import EtcdServer, free_port
from calico_openstack.testing.written import ADMIN, WEB, allow, document, group, port

A, B, BROKEN = (f"{letter * 8}-0000-4000-8000-00000000000{n}" for n, letter in enumerate("abc", 1))
SHARED = "dddddddd-0000-4000-8000-000000000004"
VERB = Callable[..., Any]


@pytest.fixture(scope="module")
def cloud(etcd: EtcdServer) -> EtcdServer:
    key = EndpointKey("openstack", "compute-02", "openstack", f"vm-{B}", B)
    documents = [
        port(A, "10.65.0.1/32", groups=(ADMIN,)),
        port(B, "10.65.0.2/32", groups=(WEB,), host="compute-02"),
        port(BROKEN, "10.65.0.3/32", groups=(WEB,), mac="nonsense"),
        port(SHARED, "10.65.0.4/32", groups=(WEB,), allowedIps=[], interfaceName="tapaaaaaaaa-00"),
        group(ADMIN),
        group(WEB, allow(6, [22], source={"selector": f"has(sg.projectcalico.org/openstack-{ADMIN})"})),
        document("FelixConfiguration", "default", "", {"workloadSourceSpoofing": "Disabled"}),
        (EndpointStatusKey(None, key).path, b'{"status":"up"}'),
    ]
    client = BlockingClient(EtcdSettings(endpoints=(etcd.endpoint,)))
    for path, content in documents:
        client.put(path, content)
    client.close()
    return etcd


def test_an_allowed_flow_is_status_0_and_names_both_groups(cloud: EtcdServer, verb: VERB) -> None:
    done = verb("explain", A, "10.65.0.2", "--port", "22", "--etcd-endpoints", cloud.endpoint)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "allowed: IPv4 tcp to port 22",
        "",
        f"egress of port {A} (tapaaaaaaaa-00 on compute-01)",
        "  status    its host has not reported it",
        "  verdict   allowed",
        "  tier      default",
        f"  policy    security group admin ({ADMIN})",
        f"  resource  NetworkPolicy openstack/ossg.default.{ADMIN}",
        "  rule      1",
        "  says      allow all IPv4 traffic",
        "",
        f"ingress of port {B} (tapbbbbbbbb-00 on compute-02), 10.65.0.2",
        "  status    up",
        "  verdict   allowed",
        "  tier      default",
        f"  policy    security group web ({WEB})",
        f"  resource  NetworkPolicy openstack/ossg.default.{WEB}",
        "  rule      1",
        f"  says      allow IPv4 tcp from members of security group admin ({ADMIN}) to port 22",
    ]


def test_a_denied_flow_is_status_1_and_says_what_would_allow_it(cloud: EtcdServer, verb: VERB) -> None:
    done = verb("explain", "aaaa", "bbbb", "--port", "80", "--json", "--etcd-endpoints", cloud.endpoint)

    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["allowed"] is False
    assert answer["source"]["side"]["allowed"] is True
    assert answer["destination"]["cause"] == "end of tier"
    assert answer["destination"]["status"] == "up"
    assert answer["destination"]["side"]["would"].endswith(f"--remote-ip 10.65.0.1/32 {WEB}")


def test_a_broken_document_is_status_1_with_its_reason(cloud: EtcdServer, verb: VERB) -> None:
    done = verb("explain", A, BROKEN, "--etcd-endpoints", cloud.endpoint)

    assert done.returncode == 1
    assert "nonsense" in done.stdout


def test_an_endpoint_that_its_host_does_not_program_is_denied(cloud: EtcdServer, verb: VERB) -> None:
    """Two claim one interface; Felix's own order says which one has it."""
    done = verb("explain", SHARED, B, "--port", "22", "--etcd-endpoints", cloud.endpoint)

    assert done.returncode == 1
    assert "another endpoint owns interface tapaaaaaaaa-00" in done.stdout


@pytest.mark.parametrize(
    "content",
    ["[calico]\netcd_endpoints = {}\n", "[global]\nEtcdEndpoints = {}\n", "EtcdEndpoints = {}\n"],
    ids=["agents", "felix", "felix without a section"],
)
def test_any_agents_file_says_where_etcd_is(cloud: EtcdServer, verb: VERB, tmp_path: Path, content: str) -> None:
    file = tmp_path / "settings"
    file.write_text(content.format(cloud.endpoint))

    assert verb("explain", A, B, "--port", "22", "-c", str(file)).returncode == 0


def test_the_environment_says_where_etcd_is(cloud: EtcdServer, verb: VERB) -> None:
    assert verb("explain", A, B, "--port", "22", FELIX_ETCDENDPOINTS=cloud.endpoint).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["ffff", B], "'ffff' is no port id"),
        ([A, B, "--protocol", "tcp"], "tcp needs --port"),
        ([A, B, "--protocol", "icmp", "--port", "1"], "--port does not go with icmp"),
        ([A, B, "--version", "6"], "has no IPv6 address; ask with --version 4"),
        (["192.0.2.1", "192.0.2.2"], "neither"),
        ([A, B, "-c", "/nonexistent"], "cannot read /nonexistent"),
    ],
)
def test_a_question_without_an_answer_is_status_2(
    cloud: EtcdServer, verb: VERB, arguments: list[str], reason: str
) -> None:
    done = verb("explain", *arguments, "--etcd-endpoints", cloud.endpoint)

    assert done.returncode == 2
    assert reason in done.stderr
    assert done.stdout == ""


def test_an_etcd_that_does_not_answer_is_status_2(verb: VERB, tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text(f"[calico]\netcd_endpoints = http://127.0.0.1:{free_port()}\netcd_timeout = 1\n")

    done = verb("explain", A, B, "-c", str(file))

    assert done.returncode == 2
    assert "calico-openstack: " in done.stderr
    assert "Traceback" not in done.stderr
