"""Moves a running guest to another host, in the steps of Nova and QEMU.

    Nova     an inactive binding on the target; `migrating_to` in the profile of the active one
    libvirt  a tap of the same name on the target, whose other end nobody speaks through yet
    Neutron  ACTIVE: the target's Felix has programmed it
    QEMU     paused on the source, running on the target, where it announces itself by RARP (as announce_self does)
    libvirt  the source's tap goes
    Nova     the target's binding becomes the active one, the source's goes

The guest keeps its eth0 with all that lives on it. What changes is the way behind it: frames that leave eth0 are sent
through `uplink<n>`, whose other end is the tap on the target, and frames from there appear on eth0. A paused source
is a tap that takes no frames.
"""

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from calico_openstack.sandbox.api import Json, Neutron
from calico_openstack.sandbox.guests import Booted, Cancelled, Guests, Waiting, never, run, usable_addresses
from calico_openstack.sandbox.namespaces import inside
from calico_openstack.sandbox.state import SandboxError

GHOST = "ghost"
"""The end of the guest's first veth after its tap has gone: it keeps eth0's carrier."""

_PAUSED = "paused"
_MOVED = "moved"
_RARP = 0x8035
_REVERSE_REQUEST = 3
_ANNOUNCEMENTS = 5
_PAUSE = 0.05


class Moved(msgspec.Struct):
    """Seconds since the migration began at which each step was done."""

    guest: str
    source: str
    target: str
    active: float = 0.0
    running: float = 0.0
    done: float = 0.0


@dataclass(slots=True)
class Migration:
    """One migration of one guest. What `before_cut_over` raises calls it off."""

    guests: Guests
    guest: Booted
    target: str
    limit: float = 60.0
    cancelled: Cancelled = never
    before_cut_over: Callable[[], None] = lambda: None

    def run(self) -> Moved:
        """Migrate; the guest record says the new host afterwards. What fails before the cut-over is undone."""
        guest, source, began = self.guest, self.guest.host, time.monotonic()
        if self.target == source:
            raise SandboxError(f"guest {guest.name} is on {source} already; choose another host")
        result = Moved(guest.name, source, self.target)
        uplink = f"uplink{guest.moves + 1}"
        try:
            port = self._bind()
            self._plug(uplink, port)
            wait = Waiting(self.guests.layout, self.target, self.limit, self.cancelled)
            wait.until(
                lambda: self._neutron.show("ports", guest.port_id, "status")["status"] == "ACTIVE",
                f"the port of {guest.name} is ACTIVE for its migration",
            )
            # Memory takes longer to copy than the router's own address to be checked for duplicates.
            target = self.guests.layout.namespace(self.target)
            wait.until(
                lambda: any(address.startswith("fe80:") for address in usable_addresses(target, guest.tap)),
                f"{guest.tap} on {self.target} has its link-local address",
            )
            result.active = time.monotonic() - began
            self.before_cut_over()
            self._cut_over(uplink)
        except BaseException:
            with contextlib.suppress(Exception):
                self._resume()
            with contextlib.suppress(Exception):
                self.cancel()
            raise
        result.running = time.monotonic() - began
        self._unplug_source()
        self._neutron.call("PUT", f"{self._bindings}/{self.target}/activate")
        self._neutron.call("DELETE", f"{self._bindings}/{source}", accept=(404,))
        guest.host, guest.uplink, guest.moves = self.target, uplink, guest.moves + 1
        self.guests.save(guest)
        wait.until(
            lambda: self._neutron.show("ports", guest.port_id, "status")["status"] == "ACTIVE",
            f"the port of {guest.name} is ACTIVE on {self.target}",
        )
        result.done = time.monotonic() - began
        return result

    def cancel(self) -> None:
        """Give up before the cut-over, as Nova does: the guest stays where it is."""
        delete_link(self.guests.layout.namespace(self.target), self.guest.tap)
        self._neutron.update("ports", self.guest.port_id, **{"binding:profile": {}})
        self._neutron.call("DELETE", f"{self._bindings}/{self.target}", accept=(404,))

    @property
    def _neutron(self) -> Neutron:
        return self.guests.service

    @property
    def _bindings(self) -> str:
        return f"/v2.0/ports/{self.guest.port_id}/bindings"

    def _bind(self) -> Json:
        answer = self._neutron.call("POST", self._bindings, {"binding": {"host": self.target}})
        binding: Json = answer["binding"]
        if binding["vif_type"] != "tap":
            raise SandboxError(
                f"Neutron could not bind the port to {self.target} (vif_type {binding['vif_type']}); "
                f"see {self.guests.layout.log('ctl/neutron-api')}"
            )
        self._neutron.update("ports", self.guest.port_id, **{"binding:profile": {"migrating_to": self.target}})
        return binding

    def _plug(self, uplink: str, binding: Json) -> None:
        guest, target = self.guest, self.guests.layout.namespace(self.target)
        mtu = int(self.guests.neutron.named("networks", guest.network)["mtu"])
        tap_mac = (binding.get("vif_details") or {}).get("mac_address")
        for command in (
            f"ip link add {guest.tap} netns {target} mtu {mtu} type veth"
            f" peer name {uplink} netns {guest.namespace} mtu {mtu}",
            # Of the guest's devices only eth0 speaks for itself. The same MAC: else its frames would not be for us.
            f"ip netns exec {guest.namespace} sysctl -qw net.ipv6.conf.{uplink}.disable_ipv6=1",
            f"ip -n {guest.namespace} link set {uplink} address {guest.mac} arp off up",
            *([f"ip -n {target} link set {guest.tap} address {tap_mac}"] if tap_mac else []),
            f"tc -n {guest.namespace} qdisc add dev {uplink} clsact",
            f"tc -n {guest.namespace} filter add dev {uplink} ingress u32 match u32 0 0"
            " action mirred ingress redirect dev eth0",
            f"ip -n {target} link set {guest.tap} up",
        ):
            run(*command.split())

    def _cut_over(self, uplink: str) -> None:
        guest = self.guest
        pause = f"""
            table netdev {_PAUSED} {{
                chain {guest.tap} {{
                    type filter hook egress device {guest.tap} priority 0; policy drop
                }}
            }}"""
        move = f"""
            table netdev {_MOVED}
            delete table netdev {_MOVED}
            table netdev {_MOVED} {{
                chain way {{
                    type filter hook egress device eth0 priority 0
                    fwd to {uplink}
                }}
            }}"""
        _nft(self.guests.layout.namespace(guest.host), pause)
        _nft(guest.namespace, move)
        announce(guest.namespace, uplink, guest.mac)

    def _unplug_source(self) -> None:
        guest, source = self.guest, self.guests.layout.namespace(self.guest.host)
        if guest.uplink != "eth0":
            delete_link(source, guest.tap)
        else:
            # eth0 is the other end of this tap, and must stay.
            run("ip", "netns", "exec", guest.namespace, "sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
            run("ip", "-n", source, "link", "set", guest.tap, "netns", guest.namespace, "name", GHOST)
            run("ip", "netns", "exec", guest.namespace, "sysctl", "-qw", f"net.ipv6.conf.{GHOST}.disable_ipv6=1")
            run("ip", "-n", guest.namespace, "link", "set", GHOST, "up")
        self._resume()

    def _resume(self) -> None:
        """The source's tap takes frames again. Other guests of that host may be paused in the same table."""
        _nft(self.guests.layout.namespace(self.guest.host), f"delete chain netdev {_PAUSED} {self.guest.tap}")


def announce(namespace: str, device: str, mac: str) -> None:
    """RARP requests for the guest's own MAC (RFC 903), as QEMU sends when a guest goes on (net/announce.c)."""
    own = bytes.fromhex(mac.replace(":", ""))
    body = b"\0\1\x08\0\6\4" + _REVERSE_REQUEST.to_bytes(2, "big") + own + bytes(4) + own + bytes(4)
    frame = (b"\xff" * 6 + own + _RARP.to_bytes(2, "big") + body).ljust(60, b"\0")

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
            raw.bind((device, 0))
            for number in range(_ANNOUNCEMENTS):
                if number:
                    time.sleep(_PAUSE)
                raw.send(frame)

    inside(namespace, send)


def delete_link(namespace: str, device: str) -> None:
    """Harmless when it is not there."""
    subprocess.run(["ip", "-n", namespace, "link", "delete", device], capture_output=True, check=False)


def _nft(namespace: str, text: str) -> None:
    argv = ["ip", "netns", "exec", namespace, "nft", "-f", "-"]
    result = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SandboxError(f"nft in {namespace}: {result.stderr.strip()}")
