"""What the renderer writes, shown to its true reader: dnsmasq must take every line, and be seen to refuse a bad one."""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from calico_openstack.dhcp.command import Place, command4, command6
from calico_openstack.dhcp.render import render
from calico_openstack.dhcp.serving import Serving
from calico_openstack.dhcp.subnets import SubnetIndex
from calico_openstack.model.endpoint import Endpoint, EndpointKey
from calico_openstack.model.net import host_net, parse_net
from calico_openstack.model.subnet import HostRoute, Subnet

pytestmark = pytest.mark.root

COMPLAINT = re.compile(r"bad |error|duplicate|illegal|inconsistent|invalid|cannot|unknown", re.IGNORECASE)
NAMES = [
    *(None, "web-1.example.org.", "ignore.x", "infinite.x", "12h.x", "3600.x", "web_1.x", "a b", "x,10.0.0.1", "x\ny"),
    *(
        "1a.x",
        "a.x",
        "ab1.x",
        "h12.x",
        "12hh.x",
        "tag.x",
        "id.x",
        "set.x",
        "-a.x",
        "a-.x",
        "é.x",
        f"{'a' * 63}.x",
        "A.X",
    ),
    *(
        f"{'a' * 64}.x",
        "net.x",
        "xn--bcher-kva.example",
        "0x1.x",
        "dead.beef",
        "1-2-3.x",
        "a" * 300,
        f"n.{'d.' * 120}e",
    ),
]


@pytest.fixture
def readers(namespace: None) -> Iterator[Callable[[str, str, str], list[str]]]:
    """Give dnsmasq a hosts and an options file; what it says of them."""
    directory = Path(tempfile.mkdtemp(prefix="cot-dhcp-read-"))
    directory.chmod(0o755)

    def read(family: str, hosts: str, options: str) -> list[str]:
        place = Place(directory / family)
        place.directory.mkdir(exist_ok=True)
        place.hosts.write_text(hosts)
        place.options.write_text(options)
        binary = shutil.which("dnsmasq", path="/usr/sbin:/usr/bin") or "dnsmasq"
        four, six = command4(binary, place, Serving(renewal=60)), command6(binary, place, Serving(), None)
        command = four if family == "v4" else six
        subprocess.run([*command, "--test"], check=True, capture_output=True, timeout=20)
        log = place.directory / "log"
        with open(log, "wb") as file:
            process = subprocess.Popen(command, stderr=file)
        try:
            end = time.monotonic() + 20
            while f"read {place.options}" not in log.read_text(errors="replace"):
                assert process.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < end, log.read_text(errors="replace")
                time.sleep(0.01)
        finally:
            process.terminate()
            process.wait(10)
        return [line for line in log.read_text(errors="replace").splitlines() if COMPLAINT.search(line)]

    yield read
    shutil.rmtree(directory)


def a_rich_cloud() -> tuple[list[Endpoint], SubnetIndex]:
    """A port for every odd name, in subnets of every kind."""
    endpoints, subnets = [], SubnetIndex()
    modes = (None, "slaac", "dhcpv6-stateful", "dhcpv6-stateless")
    for n in range(8):
        routes = tuple(HostRoute(parse_net(f"203.0.{k}.0/24"), host_net(f"10.{n}.0.9")) for k in range(n * 8))
        servers = tuple(host_net(f"192.0.2.{k + 1}") for k in range(n * 5))
        gateway = host_net(f"10.{n}.0.1") if n % 3 else None
        cidr = parse_net(f"10.{n}.0.0/{16 + n}")
        subnets.put(
            Subnet(
                id=f"v4-{n}",
                network_id=f"n{n}",
                cidr=cidr,
                gateway=gateway,
                host_routes=routes,
                dns_servers=servers,
            )
        )
        mode = modes[n % 4]
        servers = tuple(host_net(f"2001:db8:ffff:ffff:ffff:ffff:ffff:{k + 1:x}") for k in range(n * 5))
        gateway = host_net(f"2001:db8:{n}::1") if n % 3 else None
        cidr = parse_net(f"2001:db8:{n}::/64")
        subnets.put(
            Subnet(
                id=f"v6-{n}",
                network_id=f"n{n}",
                cidr=cidr,
                gateway=gateway,
                dns_servers=servers,
                ra_mode=mode,
                address_mode=mode,
            )
        )
    for number, name in enumerate(NAMES, start=2):
        network = number % 8
        endpoints.append(
            Endpoint(
                key=EndpointKey("openstack", "compute-01", "openstack", "server", f"{number:08x}-1234"),
                interface=f"tap{number:08x}-12",
                mac=f"fa:16:3e:00:00:{number:02x}",
                addresses=(host_net(f"10.{network}.0.{number}"), host_net(f"2001:db8:{network}::{number:x}")),
                network_id=f"n{network}",
                fqdn=name,
            )
        )
    return endpoints, subnets


def test_dnsmasq_takes_every_line(readers: Callable[[str, str, str], list[str]]) -> None:
    endpoints, subnets = a_rich_cloud()
    mtus = {endpoint.interface: 1450 for endpoint in endpoints}

    rendered = render(endpoints, subnets, mtus, Serving(dns_servers=(host_net("192.0.2.1"), host_net("2001:db8::1"))))

    assert rendered.v4.hosts.count("\n") == len(NAMES)
    assert rendered.v6.hosts.count("\n") > len(NAMES) / 2
    assert readers("v4", rendered.v4.hosts, rendered.v4.options) == []
    assert readers("v6", rendered.v6.hosts, rendered.v6.options) == []


@pytest.mark.parametrize(
    ("hosts", "options"),
    [
        ("fa:16:3e:00:00:01,tag:tapa,10.65.0.11,[2001:db8::banana],web\n", ""),
        ("fa:16:3e:00:00:01,tag:tapa,10.65.0.11,we_b!\n", ""),
        ("fa:16:3e:00:00:01,tag:a,10.65.0.11,a\nfa:16:3e:00:00:02,tag:b,10.65.0.11,b\n", ""),
        ("", "tag:tapa,option:no-such-option,1\n"),
        ("", "tag:tapa,option:router,10.65.0.1.1x\n"),
    ],
)
def test_dnsmasq_is_heard_when_it_refuses_a_line(
    readers: Callable[[str, str, str], list[str]], hosts: str, options: str
) -> None:
    assert readers("v4", hosts, options) != []
