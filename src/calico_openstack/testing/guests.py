"""Guests for tests of the firewall with real packets: namespaces behind veth taps, no etcd and no agent.

    guest one (10.65.0.1, 2001:db8::1) -- tapone  host  taptwo -- guest two (10.65.0.2, 2001:db8::2)
                                                  host  up0    -- outside (203.0.113.9, 2001:db9::9)

The host is the namespace in which the caller sits (a fixture makes it and takes it away).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from calico_openstack.felix.kernel.nft import NftTables
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import (
    Changes,
    WantedEndpoint,
    WantedPolicy,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.endpoint import EndpointKey, Nat, QosControls
from calico_openstack.model.net import host_net, parse_net
from calico_openstack.model.policy import PolicyKey

GROUP = PolicyKey("NetworkPolicy", "openstack", "ossg.default.one")
TAP_MAC = "ee:ee:ee:ee:ee:ee"
ALL = (WantedRule(action="allow"),)
HOST4, HOST6 = "203.0.113.1", "2001:db9::1"
OUTSIDE4, OUTSIDE6 = "203.0.113.9", "2001:db9::9"


def run(*command: str, check: bool = True) -> bool:
    done = subprocess.run(command, capture_output=True, text=True)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.returncode == 0


@dataclass
class Guest:
    """One guest: a namespace behind a tap."""

    name: str
    number: int

    @property
    def space(self) -> str:
        return f"cot-{os.getpid()}-nft-{self.name}"

    @property
    def tap(self) -> str:
        return f"tap{self.name}"

    @property
    def mac(self) -> str:
        return f"fa:16:3e:00:00:0{self.number}"

    def up(self) -> None:
        run("ip", "netns", "add", self.space)
        run("ip", "link", "add", self.tap, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        run("ip", "link", "set", self.tap, "address", TAP_MAC, "up", "addrgenmode", "none")
        for place, value in (
            (f"ipv4/conf/{self.tap}/proxy_arp", "1"),
            (f"ipv4/neigh/{self.tap}/proxy_delay", "0"),
            (f"ipv4/conf/{self.tap}/rp_filter", "0"),
            (f"ipv6/conf/{self.tap}/accept_dad", "0"),
        ):
            set_sysctl(place, value)
        run("ip", "address", "add", "fe80::1/64", "dev", self.tap, "nodad")
        self.ip("link", "set", "eth0", "address", self.mac, "up")
        self.own(f"10.65.0.{self.number}", f"2001:db8::{self.number}")
        self.ip("route", "add", "169.254.1.1", "dev", "eth0")
        self.ip("neighbour", "add", "169.254.1.1", "lladdr", TAP_MAC, "dev", "eth0", "nud", "permanent")
        self.ip("route", "add", "default", "via", "169.254.1.1", "dev", "eth0")
        self.ip("-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")

    def own(self, *addresses: str) -> None:
        """Configure addresses in the guest, and the way back to them on the host."""
        for address in addresses:
            self.ip("address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
            run("ip", "route", "replace", address, "dev", self.tap)

    def ip(self, *arguments: str) -> None:
        run("ip", "-n", self.space, *arguments)

    def pings(self, target: str, source: str = "") -> bool:
        frm = ["-I", source] if source else []
        return run("ip", "netns", "exec", self.space, "ping", "-c", "1", "-W", "1", *frm, target, check=False)

    def reaches(self, target: str, source: str = "") -> bool:
        """A ping is answered in the end: a busy machine may lose the first ones to neighbour discovery."""
        return any(self.pings(target, source) for _ in range(10))

    def down(self) -> None:
        run("ip", "netns", "delete", self.space, check=False)


def set_sysctl(place: str, value: str) -> None:
    with open(f"/proc/sys/net/{place}", "w") as file:
        file.write(value)


def endpoint(guest: Guest, *extra: str, qos: QosControls | None = None, nats: tuple[Nat, ...] = ()) -> WantedEndpoint:
    own = (f"10.65.0.{guest.number}", f"2001:db8::{guest.number}")
    return WantedEndpoint(
        key=EndpointKey("openstack", "here", "openstack", guest.name, guest.name),
        interface=guest.tap,
        mac=guest.mac,
        addresses=tuple(host_net(text) for text in own),
        allowed_pairs=tuple(parse_net(text) for text in extra),
        tiers=(WantedTier(name="default", ingress=(GROUP,), egress=(GROUP,)),),
        qos=qos,
        nats=nats,
    )


class Felix:
    """Renderer and kernel, as the agent uses them."""

    def __init__(self, settings: RulesetSettings | None = None) -> None:
        self.renderer = RulesetRenderer(settings or RulesetSettings())
        self.kernel = NftTables()

    def say(
        self, *endpoints: WantedEndpoint, ingress: tuple[WantedRule, ...] = ALL, egress: tuple[WantedRule, ...] = ALL
    ) -> None:
        changes = Changes()
        changes.policies = {GROUP: WantedPolicy(key=GROUP, ingress=ingress, egress=egress)}
        changes.endpoints = {value.key: value for value in endpoints}
        self.apply(changes)

    def apply(self, changes: Changes) -> None:
        sent = self.kernel.transactions
        self.kernel.apply(self.renderer.apply(changes))
        assert self.kernel.transactions <= sent + 1


@contextlib.contextmanager
def two_guests() -> Iterator[tuple[Guest, Guest]]:
    one, two = Guest("one", 1), Guest("two", 2)
    set_sysctl("ipv4/ip_forward", "1")
    set_sysctl("ipv6/conf/all/forwarding", "1")
    try:
        one.up()
        two.up()
        yield one, two
    finally:
        one.down()
        two.down()


@contextlib.contextmanager
def outside() -> Iterator[str]:
    """A machine beyond the cloud, which knows the way to everything here; the name of its namespace."""
    space = f"cot-{os.getpid()}-nft-outside"
    try:
        run("ip", "netns", "add", space)
        run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", space)
        run("ip", "link", "set", "up0", "up", "addrgenmode", "none")
        run("ip", "address", "add", "fe80::1/64", "dev", "up0", "nodad")
        run("ip", "-n", space, "link", "set", "eth0", "up")
        for address, theirs, length in ((HOST4, OUTSIDE4, 24), (HOST6, OUTSIDE6, 64)):
            nodad = ["nodad"] if ":" in address else []
            run("ip", "address", "add", f"{address}/{length}", "dev", "up0", *nodad)
            run("ip", "-n", space, "address", "add", f"{theirs}/{length}", "dev", "eth0", *nodad)
            run("ip", "-n", space, "route", "add", "default", "via", address)
        yield space
    finally:
        run("ip", "netns", "delete", space, check=False)
        run("ip", "link", "delete", "up0", check=False)


class Datagram(NamedTuple):
    """How a receiver saw it. `dscp`: the six bits."""

    source: str
    port: int
    dscp: int


def heard(receiver: str, sender: str, address: str) -> Datagram:
    """Send datagrams from one namespace to an address of another until one arrives there; TimeoutError after 10 s."""
    option = "socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS" if ":" in address else "socket.IPPROTO_IP, socket.IP_RECVTOS"
    receive = f"""
import socket
s = socket.socket(socket.{"AF_INET6" if ":" in address else "AF_INET"}, socket.SOCK_DGRAM)
s.setsockopt({option}, 1); s.bind(("{address}", 5005)); s.settimeout(10)
print("ready", flush=True)
data, ancillary, flags, source = s.recvmsg(100, 100)
print(source[0], source[1], ancillary[0][2][0] >> 2)
"""
    send = f"""
import socket, time
s = socket.socket(socket.{"AF_INET6" if ":" in address else "AF_INET"}, socket.SOCK_DGRAM)
while True:
    s.sendto(b"x", ("{address}", 5005)); time.sleep(0.1)
"""
    with script(receiver, receive) as there:
        assert there.stdout is not None
        assert there.stdout.readline() == "ready\n"
        with script(sender, send):
            words = there.stdout.readline().split()
    if not words:
        raise TimeoutError(f"nothing arrived at {address}")
    return Datagram(words[0], int(words[1]), int(words[2]))


@contextlib.contextmanager
def script(space: str, code: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program in a namespace, ended at the end of the block."""
    command = ["ip", "netns", "exec", space, "python3", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


@contextlib.contextmanager
def served(guest: Guest, *ports: int) -> Iterator[None]:
    """TCP listeners on all addresses of the guest."""
    script = f"""
import socket, sys, time
held = [socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) for port in {ports}]
print("ready", flush=True)
time.sleep(600)
"""
    command = ["ip", "netns", "exec", guest.space, "python3", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.terminate()


def connects(guest: Guest, address: str, port: int) -> bool:
    script = f"import socket; socket.create_connection(('{address}', {port}), timeout=0.7)"
    return run("ip", "netns", "exec", guest.space, "python3", "-c", script, check=False)
