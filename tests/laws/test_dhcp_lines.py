"""Whatever a tenant writes, a port is one line of four words, and every option is its own tap's."""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.dhcp.render import render
from calico_openstack.dhcp.serving import Serving
from calico_openstack.dhcp.subnets import SubnetIndex
from calico_openstack.model.endpoint import Endpoint, EndpointKey
from calico_openstack.model.net import Net, host_net, parse_net
from calico_openstack.model.subnet import HostRoute, Subnet

WORDS = st.text() | st.sampled_from(
    ["ignore", "1h", "a,b", "a\nb", "tag:x", "set:x", "[::1]", "x" * 64, "", ".", "a..b"]
)
NAMES = st.none() | WORDS | st.builds(lambda name, domain: f"{name}.{domain}", WORDS, WORDS)
ADDRESSES = st.integers(0, 2**32 - 1).map(lambda value: Net(4, value, 32))
NETWORKS = st.builds(
    lambda value, length: Net(4, value >> (32 - length) << (32 - length), length),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
INTERFACES = st.sampled_from(["tapa", "tapb"]) | st.text().map(lambda text: f"tap{text}")
LINE = re.compile(r"fa:16:3e:00:00:01,tag:tap[A-Za-z0-9_.-]{1,12},10\.65\.0\.11,[A-Za-z0-9-]{1,63}")
OPTION = re.compile(r"(tag:tap[A-Za-z0-9_.-]{1,12}),(option:[a-z-]+|\d+)(,[A-Za-z0-9./,-]+)?")


@given(
    fqdn=NAMES,
    interface=INTERFACES,
    gateway=st.none() | ADDRESSES,
    routes=st.lists(st.builds(HostRoute, NETWORKS, ADDRESSES), max_size=60),
    servers=st.lists(ADDRESSES, max_size=80),
)
def test_no_value_can_spoil_a_line(fqdn: Any, interface: str, gateway: Any, routes: Any, servers: Any) -> None:
    subnets = SubnetIndex()
    subnets.put(
        Subnet(
            id="s",
            network_id="n",
            cidr=parse_net("10.65.0.0/24"),
            gateway=gateway,
            host_routes=tuple(routes),
            dns_servers=tuple(servers),
        )
    )
    endpoint = Endpoint(
        key=EndpointKey("openstack", "h", "openstack", "w", "p"),
        interface=interface,
        mac="fa:16:3e:00:00:01",
        addresses=(host_net("10.65.0.11"),),
        network_id="n",
        fqdn=fqdn,
    )

    rendered = render([endpoint], subnets, {interface: 1450}, Serving())

    lines = rendered.v4.hosts.splitlines()
    assert len(lines) == len(rendered.addresses) <= 1
    assert bool(lines) or bool(rendered.problems)
    assert all(LINE.fullmatch(line) for line in lines)
    options = rendered.v4.options.splitlines()
    assert all(OPTION.fullmatch(line) and len(line) <= 1024 for line in options)
    assert {line.split(",")[0] for line in options} <= {f"tag:{interface}"}
    for taps in rendered.addresses.values():
        allowed = [parse_net("10.65.0.0/24"), parse_net("169.254.1.1/32")]
        assert all(any(net.contains(one.address) for net in allowed) for one in taps)
