import pytest

from calico_openstack.sandbox.layout import Layout, fabric_v4, fabric_v6, management_address


@pytest.mark.parametrize(
    ("namespace", "own"),
    [
        ("lab-ctl", True),
        ("lab-fabric", True),
        ("lab-h1", True),
        ("lab-h12", True),
        ("lab-g-web-1", True),
        ("lab2-ctl", False),
        ("lab-g-", False),
        ("lab-router", False),
        ("lab-h1-old", False),
        ("my-lab-ctl", False),
        ("lab", False),
    ],
)
def test_only_namespaces_that_can_be_nobody_elses_are_ours(namespace: str, own: bool) -> None:
    assert Layout("lab").is_own_namespace(namespace) is own


def test_every_host_has_addresses_of_its_own() -> None:
    hosts = [f"h{number}" for number in range(1, 9)]

    for address in (management_address, fabric_v4, fabric_v6):
        assert len({address(host) for host in hosts}) == 8


def test_everything_but_the_cache_is_below_the_state_directory() -> None:
    layout = Layout("lab")

    assert layout.log("h1/felix") == layout.directory / "logs" / "h1-felix.log"
    assert layout.guest_directory("g1").is_relative_to(layout.directory)
