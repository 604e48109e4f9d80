"""Hosts whose kernel has no IPv6, or whose operator has switched it off."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from calico_openstack.testing.compute_host import HOST, Host, eventually, ip
from calico_openstack.testing.written import WEB, allow, group, port

pytestmark = pytest.mark.root

PORT = "0a1b2c3d-0000-4000-8000-000000000001"
TAP = "tap0a1b2c3d-00"
MAC = "fa:16:3e:aa:bb:cc"
WITHOUT = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc/sys/net/ipv6 && exec "$@"', "sh"]
"""Starts a process that finds no settings of IPv6, as with `ipv6.disable=1`."""


def write(host: Host, *networks: str) -> None:
    for path, content in (
        port(PORT, networks[0], groups=(WEB,), host=HOST, mac=MAC, ipNetworks=list(networks)),
        group(WEB, allow(6, [22])),
    ):
        host.put(path, content.decode())


def routes(version: int) -> set[str]:
    shown = json.loads(ip("-json", f"-{version}", "route", "show", "dev", TAP) or "[]")
    return {entry["dst"] for entry in shown if entry["dst"] != "fe80::/64"}


def test_without_ipv6_in_the_kernel_ipv4_works_and_the_log_says_so_once(
    host: Host, guest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return started([*WITHOUT, *command] if "calico_openstack.felix.main" in command else command, **options)

    guest(TAP, MAC, "10.65.0.1/24")
    host.ready()
    write(host, "10.65.0.1/32", "2001:db8::1/128")
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", start)
        host.start()

    eventually(lambda: "endpoint.up" in host.lines(), "endpoint up")
    assert routes(4) == {"10.65.0.1"}
    assert routes(6) == set()
    assert host.lines().count("ipv6.off") == 1
    assert "failed" not in host.lines()


@pytest.mark.parametrize("setting", ["disable_ipv6", "Ipv6Support"])
def test_where_ipv6_is_switched_off_a_guest_with_ipv4_is_not_hindered(host: Host, guest: Any, setting: str) -> None:
    if setting == "disable_ipv6":
        for which in ("all", "default"):
            Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1")
    else:
        Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("0")
    guest(TAP, MAC, "10.65.0.1/24")
    host.ready(**({} if setting == "disable_ipv6" else {"ipv6Support": False}))
    write(host, "10.65.0.1/32", *([] if setting == "disable_ipv6" else ["2001:db8::1/128"]))
    host.start()

    eventually(lambda: "endpoint.up" in host.lines(), "endpoint up")
    assert routes(4) == {"10.65.0.1"}
    assert routes(6) == set()
    assert "failed" not in host.lines()
    if setting == "Ipv6Support":
        assert Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text() == "0\n"


def test_a_guest_with_ipv6_on_a_host_that_switched_it_off_is_down_with_the_reason(host: Host, guest: Any) -> None:
    for which in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1")
    guest(TAP, MAC, "10.65.0.1/24")
    host.ready()
    write(host, "10.65.0.1/32", "2001:db8::1/128")
    host.start()

    eventually(lambda: "endpoint.down" in host.lines(), "endpoint down")
    assert routes(4) == {"10.65.0.1"}
    line = next(line for line in host.lines().splitlines() if "endpoint.down" in line)
    assert "IPv6 is disabled" in line
