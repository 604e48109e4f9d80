"""Where everything of one sandbox is: namespaces, addresses, files, ports.

Pure: made from the sandbox's name alone, so that `down` after a crash knows as much as the `up` that crashed. All
addresses exist only inside the namespaces, so several sandboxes use the same ones side by side.

                  management 192.0.2.0/24 (etcd, APIs)
        ┌──────────────┬─────────────────┐
    <name>-ctl     <name>-h1    ...   <name>-hN ── tap ── <name>-g-<guest>
     .1                .11  │            .1N │
                            └── fabric 198.51.100.0/24, 2001:db8:fab::/64 ── <name>-fabric (.1): switch and router
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STATE_ROOT: Final = Path("/run/calico-sandbox")
CACHE_ROOT: Final = Path("/var/cache/calico-openstack")

CONTROLLER: Final = "192.0.2.1"
FABRIC_ROUTER_V4: Final = "198.51.100.1"
FABRIC_ROUTER_V6: Final = "2001:db8:fab::1"
AS_NUMBER: Final = 64512

ETCD_PORT: Final = 2379
KEYSTONE_PORT: Final = 5000
NEUTRON_PORT: Final = 9696
FELIX_HEALTH_PORT: Final = 9099


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of the sandbox called `name`."""

    name: str
    root: Path = STATE_ROOT
    cache: Path = CACHE_ROOT

    @property
    def directory(self) -> Path:
        """State, configuration, sockets and logs; gone after `down`."""
        return self.root / self.name

    @property
    def lock(self) -> Path:
        return self.root / f"{self.name}.lock"

    def namespace(self, place: str) -> str:
        """The namespace of a place: `ctl`, `fabric` or a host's name."""
        return f"{self.name}-{place}"

    def guest_namespace(self, guest: str) -> str:
        return f"{self.name}-g-{guest}"

    def is_own_namespace(self, namespace: str) -> bool:
        """Whether a namespace of this machine can only be this sandbox's, so that it may be removed."""
        return re.fullmatch(rf"{self.name}-(ctl|fabric|h\d+|g-[a-z0-9-]+)", namespace) is not None

    def place(self, place: str) -> Path:
        """Files of one place: its configuration and its sockets."""
        return self.directory / place

    def guest_directory(self, guest: str) -> Path:
        return self.directory / "guests" / guest

    def log(self, process: str) -> Path:
        """`process` is `<place>/<program>`, for example `h1/felix`."""
        return self.directory / "logs" / f"{process.replace('/', '-')}.log"

    @property
    def kept_logs(self) -> Path:
        """The logs of a run that failed; the next `up` or `down` of that name removes them."""
        return Path("/var/tmp") / f"calico-sandbox-{self.name}-logs"

    @property
    def etcd_url(self) -> str:
        return f"http://{CONTROLLER}:{ETCD_PORT}"

    @property
    def keystone_url(self) -> str:
        return f"http://{CONTROLLER}:{KEYSTONE_PORT}/v3"

    @property
    def neutron_url(self) -> str:
        return f"http://{CONTROLLER}:{NEUTRON_PORT}"

    @property
    def guest_script(self) -> Path:
        # Not below the state directory: /run is mounted noexec on Debian and Ubuntu.
        return self.cache / "guest-dhcp"

    @property
    def dhclient(self) -> Path:
        # A copy: Debian and Ubuntu confine /usr/sbin/dhclient with AppArmor to its own script and lease files.
        return self.cache / "dhclient"


def number_of(host: str) -> int:
    """h3 -> 3."""
    return int(host.removeprefix("h"))


def management_address(host: str) -> str:
    return f"192.0.2.{10 + number_of(host)}"


def fabric_v4(host: str) -> str:
    return f"198.51.100.{10 + number_of(host)}"


def fabric_v6(host: str) -> str:
    return f"2001:db8:fab::{10 + number_of(host)}"
