"""rtnetlink: what we write reads back as the same value, and what is not ours to read is None."""

from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.model.net import Net, parse_net
from calico_openstack.netlink import rtnl, wire
from calico_openstack.netlink.rtnl_addresses import Address, add_address, read_address
from calico_openstack.netlink.rtnl_links import read_link
from calico_openstack.netlink.rtnl_neighbours import Neighbour, read_neighbour, replace_neighbour
from calico_openstack.netlink.rtnl_routes import Route, delete_route, device_route, read_route, replace_route
from calico_openstack.netlink.wire import Message, Request


def sent(request: Request) -> Message:
    return Message(request.kind, request.flags, 1, request.body)


@st.composite
def nets(draw: st.DrawFn, version: int | None = None, host: bool = False) -> Net:
    family = version or draw(st.sampled_from((4, 6)))
    width = 32 if family == 4 else 128
    length = width if host else draw(st.integers(0, width))
    value = draw(st.integers(0, 2**width - 1)) >> (width - length) << (width - length)
    return Net(family, value, length)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    destination = draw(nets())
    address = st.one_of(st.none(), nets(destination.version, host=True))
    return Route(
        destination,
        ifindex=draw(st.integers(0, 2**31 - 1)),
        metric=draw(st.integers(0, 2**32 - 1)),
        protocol=draw(st.integers(0, 255)),
        scope=draw(st.integers(0, 255)),
        source=draw(address),
        gateway=draw(address),
        table=draw(st.sampled_from((1, 254, 255, 256, 100000))),
        tos=draw(st.sampled_from((0, 8))),
    )


@given(routes())
def test_a_route_reads_back_as_itself(route: Route) -> None:
    added, deleted = read_route(sent(replace_route(route))), read_route(sent(delete_route(route)))

    assert added is not None
    assert deleted is not None
    assert (added.route, added.deleted) == (route, False)
    assert (deleted.route, deleted.deleted) == (route, True)


@given(nets(host=True), st.integers(1, 2**31 - 1), st.binary(min_size=6, max_size=6))
def test_a_neighbour_reads_back_as_itself(address: Net, ifindex: int, mac: bytes) -> None:
    neighbour = Neighbour(address, ifindex, mac.hex(":"))

    found = read_neighbour(sent(replace_neighbour(neighbour)))

    assert found is not None
    assert found.neighbour == neighbour


@given(nets(host=True), st.integers(1, 2**31 - 1), st.integers(0, 2**32 - 1))
def test_an_address_reads_back_as_itself(address: Net, ifindex: int, flags: int) -> None:
    added = Address(address, 24, ifindex, 0, flags)

    found = read_address(sent(add_address(added)))

    assert found is not None
    assert found.address == added


def test_a_device_route_is_spelled_as_the_kernel_reports_it() -> None:
    assert device_route(parse_net("10.0.0.1"), 7, metric=1024).scope == 253
    assert device_route(parse_net("2001:db8::1"), 7, metric=1024).scope == 0


def test_a_port_that_leaves_a_bridge_is_no_deleted_link() -> None:
    header = b"\x07\0" + b"\0\0" + (9).to_bytes(4, "little") + b"\0" * 8
    message = Message(rtnl.DELLINK, 0, 1, header + wire.text(3, "tap1"))

    assert read_link(message) is None
    assert read_link(message._replace(body=b"\0" + header[1:] + wire.text(3, "tap1"))) is not None


def test_other_messages_and_families_are_none() -> None:
    route = sent(replace_route(Route(parse_net("10.0.0.0/8"), 1)))
    mpls = route._replace(body=b"\x1c" + route.body[1:])

    assert read_route(mpls) is None
    assert [read(route) for read in (read_link, read_neighbour, read_address)] == [None, None, None]
