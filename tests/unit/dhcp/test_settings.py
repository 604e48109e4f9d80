from collections.abc import Callable
from pathlib import Path

import pytest

from calico_openstack.daemon.settings import SettingsError
from calico_openstack.dhcp.settings import DhcpSettings, read_settings
from calico_openstack.model.net import host_net

Read = Callable[[str], DhcpSettings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def make(text: str) -> DhcpSettings:
        path = tmp_path / "neutron.conf"
        path.write_text(text + "\n[calico]\ndnsmasq_binary = /bin/sh\n" if "[calico]" not in text else text)
        return read_settings(path)

    return make


def test_neutrons_names_are_understood(read: Read) -> None:
    found = read(
        "[DEFAULT]\nhost = compute-01\ndhcp_lease_duration = 3600\ndnsmasq_dns_servers = 192.0.2.1, 2001:db8::1\n"
        "dns_domain = example.org.\ndhcp_renewal_time = 600\n"
    )

    assert found.calico.host == "compute-01"
    assert found.serving.lease == 3600
    assert found.serving.dns_servers == (host_net("192.0.2.1"), host_net("2001:db8::1"))
    assert found.serving.domain == "example.org"
    assert (found.serving.renewal, found.serving.rebinding) == (600, None)
    assert found.state_directory == Path("/var/lib/calico/dhcp")


def test_an_endless_lease_is_a_year_and_a_short_one_two_minutes(read: Read) -> None:
    assert read("[DEFAULT]\ndhcp_lease_duration = -1").serving.lease == 31536000
    assert read("[DEFAULT]\ndhcp_lease_duration = 5").serving.lease == 120


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[DEFAULT]\ndhcp_lease_duration = soon", "dhcp_lease_duration"),
        ("[DEFAULT]\ndnsmasq_dns_servers = dns.example.org", "dnsmasq_dns_servers"),
        ("[DEFAULT]\ndns_domain = exa mple", "dns_domain"),
        ("[calico]\ndhcp_state_dir = relative", "absolute"),
        ("[calico]\ndnsmasq_binary = /no/such/dnsmasq", "dnsmasq-base"),
    ],
)
def test_a_wrong_setting_is_named(read: Read, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read(text)


def test_a_state_directory_that_dnsmasq_could_not_read_is_refused(read: Read, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(SettingsError, match="closed to others"):
        read(f"[calico]\ndhcp_state_dir = {closed}/dhcp\ndnsmasq_binary = /bin/sh")
