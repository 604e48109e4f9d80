"""A guest that can be moved from one host to another in no time, between namespaces that stand for hosts.

    guest: eth0 ── g: hypervisor :q1 ── tap: host one
                                 :q2 ── tap: host two

The "hypervisor" is a namespace that hands frames on between the guest and the tap of the host where it runs; one
nf_tables transaction changes that, so the guest is never at both and never at none. What arrives at a host where it
does not run is counted and dropped, as a paused QEMU would never read it. Needs root.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence

from calico_openstack.testing.announcing import rarp, send
from calico_openstack.testing.compute_host import ip

TAP_MAC = "fe:16:3e:aa:bb:cc"
"""The same on both hosts, as Nova makes it: the guest's neighbour entry for its gateway stays right."""


class MovingGuest:
    """`hosts` are named namespaces, whose names are also the arguments of `move` and `arrived`."""

    count = 0

    def __init__(self, mac: str, tap: str, address4: str, address6: str, gateway4: str) -> None:
        MovingGuest.count += 1
        self.mac, self.tap = mac, tap
        self.space = f"cotm-{os.getpid()}-{MovingGuest.count}"
        self.hypervisor = f"{self.space}-hv"
        self._queues: dict[str, str] = {}
        self._plugged = 0
        self.host = ""
        ip("netns", "add", self.space)
        ip("netns", "add", self.hypervisor)
        ip("link", "add", "eth0", "netns", self.space, "type", "veth", "peer", "name", "g", "netns", self.hypervisor)
        self._quiet("g")
        ip("-n", self.space, "link", "set", "lo", "up")
        ip("-n", self.space, "link", "set", "eth0", "address", mac, "up")
        ip("-n", self.space, "address", "add", f"{address4}/24", "dev", "eth0")
        ip("-n", self.space, "address", "add", f"{address6}/64", "dev", "eth0", "nodad")
        # The hosts know no way to the gateway, so their proxy ARP would not answer for it.
        ip("-n", self.space, "neighbour", "add", gateway4, "lladdr", TAP_MAC, "dev", "eth0")
        ip("-n", self.space, "route", "add", "default", "via", gateway4)
        ip("-n", self.space, "-6", "route", "add", "default", "via", "fe80::fc16:3eff:feaa:bbcc", "dev", "eth0")

    def plug(self, host: str) -> None:
        """What libvirt does on the host to which the guest is to move: the tap, with nobody behind it yet."""
        self._plugged += 1
        queue = self._queues[host] = f"q{self._plugged}"
        ip("link", "add", self.tap, "netns", host, "type", "veth", "peer", "name", queue, "netns", self.hypervisor)
        ip("-n", host, "link", "set", self.tap, "address", TAP_MAC)
        self._quiet(queue)
        self._wire()
        ip("-n", host, "link", "set", self.tap, "up")

    def unplug(self, host: str) -> None:
        del self._queues[host]
        self._wire()
        ip("-n", host, "link", "delete", self.tap)

    def move(self, host: str) -> None:
        """The guest runs there from now on, and says so."""
        self.host = host
        self._wire()
        send(self.hypervisor, rarp(self.mac), self._queues[host])

    def arrived(self, host: str) -> int:
        """How many echo requests came to that host since it is not, or not yet, where the guest runs."""
        listed = self._nft(f"list chain netdev way {self._queues[host]}")
        return sum(int(count) for count in re.findall(r"counter packets (\d+)", listed))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["ip", "netns", "exec", self.space, *command], capture_output=True, text=True, timeout=30)

    def close(self) -> None:
        for namespace in (self.space, self.hypervisor):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)

    def _quiet(self, device: str) -> None:
        """Nothing of the hypervisor's own goes out by it."""
        for command in (
            ("sysctl", "-qw", f"net.ipv6.conf.{device}.disable_ipv6=1"),
            ("ip", "link", "set", device, "arp", "off", "up"),
        ):
            subprocess.run(["ip", "netns", "exec", self.hypervisor, *command], check=True)

    def _wire(self) -> None:
        chains = []
        for host, queue in self._queues.items():
            verdict = ["fwd to g"] if host == self.host else [*_COUNTED, "drop"]
            chains.append(_chain(queue, verdict))
        if self.host in self._queues:
            chains.append(_chain("g", [f"fwd to {self._queues[self.host]}"]))
        table = "\n".join(["table netdev way {", *chains, "}"])
        self._nft(f"table netdev way\ndelete table netdev way\n{table}\n")

    def _nft(self, text: str) -> str:
        command = ["ip", "netns", "exec", self.hypervisor, "nft", "-f", "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


_COUNTED = ("ip protocol icmp icmp type echo-request counter", "icmpv6 type echo-request counter")


def _chain(device: str, rules: Sequence[str]) -> str:
    hook = f"type filter hook ingress device {device} priority 0; policy accept;"
    return "\n".join([f"chain {device} {{", hook, *rules, "}"])
