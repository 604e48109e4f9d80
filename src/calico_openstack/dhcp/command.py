"""The two dnsmasq command lines of a host. They depend on the operator's settings alone, never on a network or port.

Why each choice: `--bind-dynamic` lives beside libvirt's own dnsmasq and takes new taps as they come; `--port=0` means
no DNS, so no names leak between tenants; two ranges of half the address space each cover every IPv4 subnet, and the
IPv6 range makes itself from the /64 that a tap has; `--dhcp-ignore=tag:!known` is silence to everyone without a line;
`--leasefile-ro` with `--dhcp-authoritative` has a renewal of a guest confirmed by a server that has just started; the
fixed server DUID is the same on every host, so a guest that has migrated is answered by its new host.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from calico_openstack.dhcp.serving import Serving

_MOST_LEASES = 100_000
_EXAMPLE_ENTERPRISE = 32473  # RFC 5612: a DUID-EN needs a private enterprise number, and the project has none
_DUID_SEED = "calico-openstack dhcp server"


@dataclass(frozen=True, slots=True)
class Place:
    """The files of one dnsmasq."""

    directory: Path

    @property
    def hosts(self) -> Path:
        return self.directory / "hosts"

    @property
    def options(self) -> Path:
        return self.directory / "options"

    @property
    def pid(self) -> Path:
        return self.directory / "dnsmasq.pid"

    @property
    def instance(self) -> Path:
        return self.directory / "instance.json"


def command4(binary: str, place: Place, serving: Serving, verbose: bool = False) -> list[str]:
    times = [
        f"--dhcp-option-force=option:{name},{seconds}"
        for name, seconds in (("T1", serving.renewal), ("T2", serving.rebinding))
        if seconds is not None
    ]
    return [
        *_common(binary, place, verbose),
        f"--dhcp-range=1.0.0.0,static,128.0.0.0,{serving.lease}s",
        f"--dhcp-range=128.0.0.0,static,128.0.0.0,{serving.lease}s",
        # A tap without a subnet gateway has 169.254.1.1, which lies in the other half than most guests.
        "--shared-network=169.254.1.1,1.0.0.1",
        "--no-ping",
        *times,
    ]


def command6(binary: str, place: Place, serving: Serving, region: str | None, verbose: bool = False) -> list[str]:
    duid = hashlib.sha256(f"{_DUID_SEED} {region or ''}".encode()).digest()[:8].hex(":")
    return [
        *_common(binary, place, verbose),
        f"--dhcp-range=::,static,off-link,constructor:tap*,64,{serving.lease}s",
        f"--dhcp-duid={_EXAMPLE_ENTERPRISE},{duid}",
    ]


def _common(binary: str, place: Place, verbose: bool) -> list[str]:
    return [
        binary,
        "--keep-in-foreground",
        "--log-facility=-",
        *(["--log-dhcp"] if verbose else []),
        "--conf-file=/dev/null",
        "--no-hosts",
        "--no-resolv",
        "--port=0",
        "--except-interface=lo",
        "--interface=tap*",
        "--bind-dynamic",
        f"--pid-file={place.pid}",
        f"--dhcp-hostsfile={place.hosts}",
        f"--dhcp-optsfile={place.options}",
        "--leasefile-ro",
        "--dhcp-authoritative",
        "--dhcp-ignore=tag:!known",
        f"--dhcp-lease-max={_MOST_LEASES}",
    ]
