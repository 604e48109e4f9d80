from typing import Any

from calico_openstack.dhcp.routes4 import classless_routes


def text(routes: Any) -> list[str]:
    return [f"{to} via {via.address}" for to, via in routes.routes]


def test_the_default_route_is_repeated_and_metadata_is_always_there(subnet: Any) -> None:
    found = classless_routes(subnet("10.65.0.0/24", "10.65.0.1", routes=[("203.0.113.0/24", "10.65.0.9")]))

    assert found.router is not None
    assert found.router.address == "10.65.0.1"
    assert text(found) == [
        "203.0.113.0/24 via 10.65.0.9",
        "169.254.169.254/32 via 10.65.0.1",
        "0.0.0.0/0 via 10.65.0.1",
    ]


def test_a_subnet_without_gateway_has_no_default_route(subnet: Any) -> None:
    found = classless_routes(subnet("10.65.0.0/24"))

    assert found.router is None
    assert text(found) == ["169.254.169.254/32 via 169.254.1.1"]


def test_the_tenants_own_default_and_metadata_routes_win(subnet: Any) -> None:
    routes = [("0.0.0.0/0", "10.65.0.9"), ("169.254.169.254/32", "10.65.0.2")]

    with_gateway = classless_routes(subnet("10.65.0.0/24", "10.65.0.1", routes=routes))
    without = classless_routes(subnet("10.65.0.0/24", routes=routes))

    assert text(with_gateway) == text(without) == ["0.0.0.0/0 via 10.65.0.9", "169.254.169.254/32 via 10.65.0.2"]
    assert without.router is not None
    assert without.router.address == "10.65.0.9"


def test_short_prefixes_with_long_next_hops_stay_within_a_line_of_dnsmasqs(subnet: Any) -> None:
    # Encoded they fit (6 bytes each), written out they do not; behind its limit dnsmasq would begin a line of its own.
    routes = [(f"{100 + n}.0.0.0/8", "192.168.100.100") for n in range(40)]
    routes += [("169.254.169.254/32", "192.168.100.100"), ("0.0.0.0/0", "192.168.100.100")]

    found = classless_routes(subnet("192.168.100.0/24", routes=routes))

    line = "tag:tap0123456789-a,121," + ",".join(f"{to},{via.address}" for to, via in found.routes) + "\n"
    assert len(line) < 1024
    assert found.left_out
    assert len(found.routes) + len(found.left_out) == 42


def test_routes_that_do_not_fit_are_left_out_and_named_but_never_ours(subnet: Any) -> None:
    routes = [(f"203.0.113.{n}/32", "10.65.0.9") for n in range(40)]

    found = classless_routes(subnet("10.65.0.0/24", "10.65.0.1", routes=routes))

    encoded = sum(1 + (to.length + 7) // 8 + 4 for to, _ in found.routes)
    assert encoded <= 255
    assert text(found)[-2:] == ["169.254.169.254/32 via 10.65.0.1", "0.0.0.0/0 via 10.65.0.1"]
    assert len(found.routes) + len(found.left_out) == 42
