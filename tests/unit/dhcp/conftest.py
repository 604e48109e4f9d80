"""Endpoints and subnets in few words."""

from collections.abc import Callable
from typing import Any

import pytest

from calico_openstack.dhcp.subnets import SubnetIndex
from calico_openstack.model.endpoint import Endpoint, EndpointKey
from calico_openstack.model.net import Net, host_net, parse_net
from calico_openstack.model.subnet import HostRoute, Subnet

NETWORK = "net-1"


def make_subnet(cidr: str, gateway: str | None = None, **fields: Any) -> Subnet:
    routes = tuple(HostRoute(parse_net(to), host_net(via)) for to, via in fields.pop("routes", ()))
    servers = tuple(host_net(one) for one in fields.pop("dns", ()))
    mode = fields.pop("mode", None)
    return Subnet(
        id=fields.pop("id", cidr),
        network_id=fields.pop("network", NETWORK),
        cidr=parse_net(cidr),
        gateway=host_net(gateway) if gateway else None,
        host_routes=routes,
        dns_servers=servers,
        ra_mode=mode,
        address_mode=mode,
        **fields,
    )


def make_endpoint(port: str, *addresses: str, mac: str | None = "fa:16:3e:00:00:01", **fields: Any) -> Endpoint:
    pairs: tuple[Net, ...] = tuple(parse_net(one) for one in fields.pop("pairs", ()))
    return Endpoint(
        key=EndpointKey("openstack", "compute-01", "openstack", "server", port),
        interface=fields.pop("interface", f"tap{port}"),
        mac=mac,
        addresses=tuple(host_net(one) for one in addresses) + pairs,
        allowed_pairs=pairs,
        network_id=fields.pop("network", NETWORK),
        **fields,
    )


@pytest.fixture
def subnet() -> Callable[..., Subnet]:
    return make_subnet


@pytest.fixture
def endpoint() -> Callable[..., Endpoint]:
    return make_endpoint


@pytest.fixture
def index() -> Callable[..., SubnetIndex]:
    def make(*subnets: Subnet) -> SubnetIndex:
        made = SubnetIndex()
        for one in subnets:
            made.put(one)
        return made

    return make
