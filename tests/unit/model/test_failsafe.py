"""Failsafe ports as FelixConfiguration and felix.cfg spell them."""

import pytest

from calico_openstack.model.failsafe import INBOUND, OUTBOUND, Failsafe, parse_failsafes
from calico_openstack.model.net import parse_net


def test_protocol_and_port_with_or_without_a_network() -> None:
    assert parse_failsafes("tcp:22, UDP:10.0.0.0/8:68,tcp:[2001:db8::/32]:179,tcp:2001:db8::/32:180,6443") == (
        Failsafe(6, 22),
        Failsafe(17, 68, parse_net("10.0.0.0/8")),
        Failsafe(6, 179, parse_net("2001:db8::/32")),
        Failsafe(6, 180, parse_net("2001:db8::/32")),
        Failsafe(6, 6443),
    )


@pytest.mark.parametrize("text", ["none", "None", "", " "])
def test_none_is_an_empty_list(text: str) -> None:
    assert parse_failsafes(text) == ()


@pytest.mark.parametrize("text", ["icmp:22", "tcp:0", "tcp:65536", "tcp:ssh", "tcp:10.0.0.0/33:22", "tcp:", "tcp:-1"])
def test_a_wrong_entry_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=text.split(":")[0]):
        parse_failsafes(f"tcp:22,{text}")


def test_the_defaults_keep_ssh_bgp_and_etcd_open() -> None:
    assert {(6, 22), (6, 179), (6, 2379), (17, 68)} <= {failsafe[:2] for failsafe in INBOUND}
    assert {(6, 179), (6, 2379), (17, 53)} <= {failsafe[:2] for failsafe in OUTBOUND}
