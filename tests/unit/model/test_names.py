import pytest

from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.names import (
    check_region,
    endpoint_name,
    endpoint_name_prefix,
    namespace_for,
    parse_endpoint_name,
    region_string,
    sanitise,
    security_group_policy_name,
    sg_label,
    sg_name_label,
    tap_mac,
    tap_name,
)

SERVER = "8f3d2c1a-4b5e-4f60-9a7b-0c1d2e3f4a5b"
PORT = "1b2c3d4e-5f60-4718-8293-a4b5c6d7e8f9"
NAME = (
    "compute--01.example.org-openstack-8f3d2c1a--4b5e--4f60--9a7b--0c1d2e3f4a5b"
    "-1b2c3d4e--5f60--4718--8293--a4b5c6d7e8f9"
)


def test_an_endpoint_name_doubles_inner_dashes_and_keeps_dots() -> None:
    key = EndpointKey("openstack", "compute-01.example.org", "openstack", SERVER, PORT)

    assert endpoint_name(key) == NAME
    assert NAME.startswith(endpoint_name_prefix("compute-01.example.org"))
    assert parse_endpoint_name("openstack", NAME) == key


@pytest.mark.parametrize("name", ["", "a", "a-b-c", "a-b-c-d-e", "a--b-c-d", "-b-c-d", "a-b-c-"])
def test_a_name_without_exactly_four_parts_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a workload endpoint name"):
        parse_endpoint_name("openstack", name)


def test_regions_qualify_paths_and_namespaces() -> None:
    assert (region_string(None), namespace_for(None)) == ("no-region", "openstack")
    assert (region_string("europe"), namespace_for("europe")) == ("region-europe", "openstack-region-europe")


@pytest.mark.parametrize("region", ["", "-a", "a-", "A", "a_b", "a.b", "a" * 47])
def test_a_region_that_is_no_dns_label_is_refused(region: str) -> None:
    with pytest.raises(ValueError, match="not usable"):
        check_region(region)
    assert check_region("a" * 46) == "a" * 46


def test_tap_names_and_macs_are_what_nova_makes() -> None:
    assert tap_name(PORT) == "tap1b2c3d4e-5f"
    assert tap_mac("FA:16:3E:AA:bb:cc") == "fe:16:3e:aa:bb:cc"
    assert tap_mac("nonsense") == "00:61:fe:ed:ca:fe"
    assert tap_mac("fa:16:3e:aa:bb:cc\n") == "00:61:fe:ed:ca:fe"


@pytest.mark.parametrize(
    ("text", "limit", "clean"),
    [
        ("web tier", 63, "web_tier"),
        ("_-.web.-_", 63, "web"),
        ("näme", 63, "n_me"),
        ("a" * 70, 63, "a" * 63),
        ("abc.def", 4, "abc"),
        ("!!!", 63, ""),
        ("", 63, ""),
    ],
)
def test_free_text_becomes_a_label_value(text: str, limit: int, clean: str) -> None:
    assert sanitise(text, limit) == clean


def test_security_groups_have_a_policy_a_label_and_a_name_label() -> None:
    assert security_group_policy_name("0a1b") == "ossg.default.0a1b"
    assert sg_label("0a1b") == "sg.projectcalico.org/openstack-0a1b"
    assert sg_name_label("web tier") == "sg-name.projectcalico.org/openstack-web_tier"
    assert sg_name_label("x" * 40) == "sg-name.projectcalico.org/openstack-" + "x" * 27
    assert sg_name_label("***") is None
