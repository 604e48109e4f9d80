from __future__ import annotations

from typing import Any

import pytest
from oslo_config import cfg

from calico_openstack.neutron import options
from calico_openstack.neutron.translate.site import QosDefaults


def conf(**values: Any) -> cfg.ConfigOpts:
    made = cfg.ConfigOpts()
    options.register(made)
    made([])
    for name, value in values.items():
        made.set_override(name, value, group="calico")
    return made


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ("http://127.0.0.1:2379",)),
        ({"etcd_host": "10.0.0.5", "etcd_port": 4001}, ("http://10.0.0.5:4001",)),
        ({"etcd_host": "2001:db8::1"}, ("http://[2001:db8::1]:2379",)),
        ({"etcd_scheme": "https"}, ("https://127.0.0.1:2379",)),
        ({"etcd_ca_cert_file": "/ca"}, ("https://127.0.0.1:2379",)),
        ({"etcd_endpoints": ["http://a:1", "http://b:2"], "etcd_host": "c"}, ("http://a:1", "http://b:2")),
    ],
)
def test_etcd_is_found_by_upstreams_options_or_by_a_list(values: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert options.etcd_settings(conf(**values)).endpoints == expected


def test_defaults_are_upstreams() -> None:
    site = options.site(conf())

    assert site.namespace == "openstack"
    assert site.qos == QosDefaults()


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"openstack_region": "Europe"}, "region 'Europe'"),
        ({"allowed_address_pair_networks": ["10.0.0.0/33"]}, "allowed_address_pair_networks"),
    ],
)
def test_a_bad_option_is_named(values: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        options.site(conf(**values))


def test_names_that_upstream_dropped_are_still_accepted() -> None:
    accepted = conf()["calico"]

    for name in ("num_port_status_threads", "resync_interval_secs", "resync_max_interval_secs", "fairy_gc_diagnostics"):
        assert name in accepted


@pytest.mark.parametrize("endpoint", ["ftp://a:1", "http://a:port", "http://", ""])
def test_an_endpoint_that_is_none_is_refused_with_its_name(endpoint: str) -> None:
    with pytest.raises(ValueError, match=rf"\[calico\] .*{endpoint}"):
        options.check(conf(etcd_endpoints=["http://good:2379", endpoint]))
