from __future__ import annotations

from pathlib import Path

import pytest

from calico_openstack.bgp.settings import BgpSettings, read_settings
from calico_openstack.daemon.settings import SettingsError


def settings(tmp_path: Path, bgp: str) -> BgpSettings:
    path = tmp_path / "bgp.cfg"
    path.write_text(f"[DEFAULT]\nhost = h1\n[calico]\netcd_endpoints = http://127.0.0.1:2379\n[bgp]\n{bgp}\n")
    return read_settings(str(path))


def test_the_defaults_need_no_bgp_section(tmp_path: Path) -> None:
    read = settings(tmp_path, "")

    assert (read.own.name, read.own.ipv4, read.own.as_number) == ("h1", None, None)
    assert str(read.bird_config) == "/etc/bird/bird.conf"
    assert read.options.guest_interfaces == ("tap*",)


def test_the_own_node_is_read_from_the_file(tmp_path: Path) -> None:
    text = "ipv4_address = 192.0.2.1/24\nas_number = 1.2\nroute_reflector_cluster_id = 1.1.1.1\nnode_labels = a=b, c=d"

    own = settings(tmp_path, f"{text}\nautodetect = false").own

    assert (own.ipv4, own.ipv6, own.as_number, own.cluster_id) == ("192.0.2.1/24", None, 65538, "1.1.1.1")
    assert own.labels == {"a": "b", "c": "d"}
    assert (own.found4, own.found6) == (None, None)


@pytest.mark.parametrize(
    "line",
    [
        "ipv4_address = 2001:db8::1",
        "ipv6_address = somewhere",
        "as_number = 0",
        "route_reflector_cluster_id = 7",
        "node_labels = novalue",
        'guest_interfaces = tap*"',
        "bird_log = /var/log/bird",
        "hold_time = 1",
        "status_ttl = 5",
    ],
)
def test_a_bad_value_is_named_with_its_option(tmp_path: Path, line: str) -> None:
    with pytest.raises(SettingsError, match=line.split()[0]):
        settings(tmp_path, line)
