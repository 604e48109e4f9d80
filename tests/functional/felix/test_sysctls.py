"""Sysctls on the real kernel: whoever writes to them is noticed, and they are put right."""

import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from calico_openstack.felix.kernel.sysctl_watch import SysctlWatch
from calico_openstack.felix.kernel.sysctls import ROOT, Sysctls
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import parse_net
from calico_openstack.testing.compute_host import ip
from calico_openstack.testing.stage import Stage, tap

pytestmark = pytest.mark.root

KEY = EndpointKey("openstack", "h", "openstack", "vm", "a")
NETS = (parse_net("10.0.0.1"), parse_net("2001:db8::1"))
GUEST = WantedEndpoint(key=KEY, interface="tapa", mac="fa:16:3e:00:00:01", addresses=NETS)


@pytest.fixture
def stage(namespace: None) -> Iterator[Stage]:
    made = Stage()
    yield made
    made.dataplane.close()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("ipv4/conf/tapa/forwarding", "0"),
        ("ipv4/conf/tapa/proxy_arp", "0"),
        ("ipv4/conf/tapa/rp_filter", "2"),
        ("ipv4/conf/tapa/route_localnet", "0"),
        ("ipv4/conf/tapa/accept_redirects", "1"),
        ("ipv4/conf/tapa/accept_source_route", "1"),
        ("ipv4/neigh/tapa/proxy_delay", "80"),
        ("ipv6/conf/tapa/forwarding", "0"),
        ("ipv6/conf/tapa/accept_ra", "2"),
        ("ipv6/conf/tapa/accept_redirects", "1"),
        ("ipv6/conf/all/forwarding", "0"),
        ("ipv4/ip_forward", "0"),
    ],
)
def test_a_sysctl_that_somebody_changes_is_put_right_at_once(stage: Stage, path: str, value: str) -> None:
    tap("a")
    stage.step(Changes(endpoints={KEY: GUEST}))
    # Another interface of that name has other files.
    ip("link", "delete", "tapa")
    stage.step()
    tap("a")
    stage.settle()
    for _ in range(5):
        stage.step()
    assert not select.select(stage.dataplane.filenos(), [], [], 0)[0], "our own writes wake Felix again and again"
    right = Sysctls().read(path)

    (ROOT / path).write_text(value)
    assert select.select(stage.dataplane.filenos(), [], [], 10)[0], "nothing would wake Felix"
    report = stage.step()

    assert report.operations["sysctls"] >= 1
    assert Sysctls().read(path) == right != value
    stage.settle()
    assert not any(stage.step().operations.values())


def write(path: str, value: str) -> None:
    (ROOT / path).write_text(value)


def test_writes_are_told_by_path_and_only_of_what_is_followed(namespace: None) -> None:
    tap("a")
    tap("b")
    watch = SysctlWatch()
    for name in ("tapa", "tapb"):
        watch.follow(f"ipv4/conf/{name}")
    write("ipv4/conf/tapa/proxy_arp", "1")
    write("ipv4/conf/tapb/rp_filter", "1")
    write("ipv6/conf/tapa/accept_ra", "0")
    assert watch.drain() == ({"ipv4/conf/tapa/proxy_arp", "ipv4/conf/tapb/rp_filter"}, False)
    assert watch.drain() == (set(), False)

    watch.forget("ipv4/conf/tapa")
    write("ipv4/conf/tapa/proxy_arp", "0")
    assert watch.drain() == (set(), False)
    watch.close()


def test_an_interface_made_anew_is_followed_anew_and_one_that_is_not_there_is_an_error(namespace: None) -> None:
    tap("a")
    watch = SysctlWatch()
    watch.follow("ipv4/conf/tapa")
    ip("link", "delete", "tapa")
    with pytest.raises(FileNotFoundError):
        watch.follow("ipv4/conf/tapa")
    tap("a")
    watch.follow("ipv4/conf/tapa")
    write("ipv4/conf/tapa/proxy_arp", "1")
    assert watch.drain() == ({"ipv4/conf/tapa/proxy_arp"}, False)
    watch.close()


def test_more_writes_than_the_kernel_keeps_are_told_as_lost(namespace: None) -> None:
    limit = Path("/proc/sys/fs/inotify/max_queued_events")
    before = limit.read_text()
    tap("a")
    try:
        limit.write_text("2")
        watch = SysctlWatch()
    finally:
        limit.write_text(before)
    watch.follow("ipv4/conf/tapa")
    for path in ("proxy_arp", "rp_filter", "forwarding", "arp_ignore"):
        write(f"ipv4/conf/tapa/{path}", "1")
    written, lost = watch.drain()
    assert len(written) == 2
    assert lost
    watch.close()
