"""What `explain` adds to policy: the hosts' settings, and where etcd is."""

from pathlib import Path

import pytest

from calico_openstack.daemon.settings import SettingsError
from calico_openstack.model.net import host_net
from calico_openstack.ops.connection import etcd_settings
from calico_openstack.ops.explain import view
from calico_openstack.policy.known import known
from calico_openstack.policy.state import Packet
from calico_openstack.testing.written import document, port

VXLAN = Packet(host_net("10.65.0.1"), host_net("10.65.0.2"), 17, 40000, 4789)


def configuration(name: str, **fields: object) -> tuple[str, bytes]:
    return document("FelixConfiguration", name, "", dict(fields))


def test_tunnels_of_guests_are_forbidden_unless_the_settings_of_their_host_allow_them() -> None:
    cloud = known([configuration("node.compute-02", allowVXLANPacketsFromWorkloads=True)])

    assert "AllowVXLANPacketsFromWorkloads" in str(view(cloud, "compute-01").forbids(VXLAN))
    assert view(cloud, "compute-02").forbids(VXLAN) is None
    assert view(cloud, "compute-01").forbids(VXLAN._replace(destination_port=53)) is None


def test_the_shadowed_of_two_claims_on_one_interface_is_refused_on_its_host_alone() -> None:
    claims = (port("a", "10.65.0.1/32", interfaceName="tapx"), port("b", "10.65.0.2/32", interfaceName="tapx"))
    elsewhere = port("c", "10.65.0.3/32", interfaceName="tapx", host="compute-02")
    cloud = known([*claims, elsewhere])

    assert [key.endpoint for key in view(cloud, "compute-01").refused] == ["b"]
    assert view(cloud, "compute-02").refused == {}


def test_endpoints_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "neutron.conf"
    file.write_text("[DEFAULT]\nhost = x\n[calico]\netcd_host = 192.0.2.1\netcd_username = calico\n")

    assert etcd_settings(str(file), None).endpoints == ("http://192.0.2.1:2379",)
    found = etcd_settings(str(file), "http://a:1, http://b:2")
    assert (found.endpoints, found.username) == (("http://a:1", "http://b:2"), "calico")


def test_a_felix_file_is_read_as_felix_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "felix.cfg"
    file.write_text("EtcdAddr = 192.0.2.1:2379\n")

    assert etcd_settings(str(file), None).endpoints == ("http://192.0.2.1:2379",)


@pytest.mark.parametrize("endpoints", ["ftp://x", "http://"])
def test_an_endpoint_of_a_wrong_form_is_refused(endpoints: str) -> None:
    with pytest.raises(SettingsError, match="--etcd-endpoints"):
        etcd_settings(None, endpoints)
