"""What the firewall costs a packet: of a new flow, and of an established one.

A guest sends UDP datagrams through the host to another guest, which throws them away as they come in (so that only the
way through the host is measured); each side is a host of its own in namespaces, and they take turns. For an established
flow the receiver has answered once; a new flow is one with a new destination port. Time is processor time of the
sender's `send`, in which the kernel takes the packet all the way.

Baseline: forwarding without any rule, which also tracks no flows. "tracking alone" is one rule that asks for the state,
the floor for everything with established flows. Beside ours a chain of as many rules one after the other, written by
hand. Every side's last rule is the one that lets the packets pass. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Generator, Iterable
from typing import Any

from rig import documents, report
from rig.documents import Rule
from rig.side import sides
from rig.wires import sysctl

from calico_openstack.etcd.values import Event
from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.datastore import Datastore
from calico_openstack.felix.kernel.nft import NftTables
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.testing.compute_host import in_namespace, ip

SENDER, RECEIVER = 1, 2
LOW, HIGH = 20_000, 60_000
"""The ports that are let in."""
AT_ONCE = 2000


class Pair:
    """Two guests on the host in whose namespace the caller sits, with routes and neighbours but no rules."""

    def __init__(self) -> None:
        self._spaces = {n: f"cob-{os.getpid()}-{n}" for n in (SENDER, RECEIVER)}
        self._port = LOW
        try:
            self._connect()
        except BaseException:
            self._remove()
            raise
        with in_namespace(f"/run/netns/{self._spaces[SENDER]}"):
            self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def _connect(self) -> None:
        sysctl("ipv4/ip_forward", "1")
        # A port comes again after many rounds, and begins a flow again then.
        sysctl("netfilter/nf_conntrack_udp_timeout", "1")
        for number, space in self._spaces.items():
            tap, address = documents.tap(number), documents.address(number)
            ip("netns", "add", space)
            ip("link", "add", tap, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", tap, "address", f"ee:ee:ee:ee:ee:0{number}", "addrgenmode", "none", "up")
            ip("-n", space, "link", "set", "eth0", "address", documents.mac(number), "addrgenmode", "none", "up")
            ip("-n", space, "address", "add", f"{address}/32", "dev", "eth0")
            ip("-n", space, "route", "add", "169.254.1.1", "dev", "eth0")
            ip("-n", space, "route", "add", "default", "via", "169.254.1.1", "dev", "eth0")
            ip("-n", space, "neigh", "add", "169.254.1.1", "lladdr", f"ee:ee:ee:ee:ee:0{number}", "dev", "eth0")
            ip("route", "add", address, "dev", tap)
            ip("neigh", "add", address, "lladdr", documents.mac(number), "dev", tap)

    def establish(self) -> None:
        """One datagram there and back; from then on the receiver throws away whatever comes."""
        target = (documents.address(RECEIVER), LOW)
        with in_namespace(f"/run/netns/{self._spaces[RECEIVER]}"):
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.closing(receiver):
            receiver.bind(("", LOW))
            receiver.settimeout(5)
            self._sender.settimeout(5)
            for _ in range(2):
                self._sender.sendto(b"x", target)
                receiver.sendto(b"y", receiver.recvfrom(16)[1])
                self._sender.recv(16)
        self._sender.settimeout(None)
        rules = "table netdev t { chain c { type filter hook ingress device eth0 priority 0; drop; }; }"
        with in_namespace(f"/run/netns/{self._spaces[RECEIVER]}"):
            subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def established(self) -> float:
        """Seconds per packet of the flow that both know."""
        target, send = (documents.address(RECEIVER), LOW), self._sender.sendto
        began = time.thread_time()
        for _ in range(AT_ONCE):
            send(b"x", target)
        return (time.thread_time() - began) / AT_ONCE

    def new(self) -> float:
        """Seconds per packet that begins a flow."""
        send, address = self._sender.sendto, documents.address(RECEIVER)
        targets = [(address, port) for port in range(self._port + 1, self._port + 1 + AT_ONCE)]
        began = time.thread_time()
        for target in targets:
            send(b"x", target)
        taken = (time.thread_time() - began) / AT_ONCE
        self._port = self._port + AT_ONCE if self._port + 2 * AT_ONCE < HIGH else LOW
        return taken

    def close(self) -> None:
        self._sender.close()
        self._remove()

    def _remove(self) -> None:
        for space in self._spaces.values():
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)


def side(firewall: str, rules: int, endpoints: int) -> Generator[Any, None, None]:
    """Seconds per packet: established, new."""
    os.sched_setaffinity(0, {0})
    pair = Pair()
    try:
        {"none": lambda *_: None, "tracking": _tracking, "ours": _ours, "linear": _linear}[firewall](rules, endpoints)
        pair.establish()
        yield None
        while True:
            established = pair.established()
            new = pair.new()
            yield established, new
    finally:
        pair.close()


def _tracking(rules: int, endpoints: int) -> None:
    _nft(["ct state established accept", "accept"])


def _linear(rules: int, endpoints: int) -> None:
    conditions = (f"ip saddr {net} {protocol} dport {port} accept" for net, protocol, port in _others(rules - 1))
    _nft(["ct state established accept", *conditions, f"udp dport {LOW}-{HIGH} accept", "drop"])


def _ours(rules: int, endpoints: int) -> None:
    """A group of `rules` rules, in which all of `endpoints` are, rendered and applied as Felix does."""
    ingress: list[Rule] = [
        {**documents.allow(17 if protocol == "udp" else 6, port), "source": {"nets": [net]}}
        for net, protocol, port in _others(rules - 1)
    ]
    ingress.append(documents.allow(17, f"{LOW}:{HIGH}"))
    found = [documents.policy_of(0, ingress)]
    found += [documents.endpoint(number, documents.HERE, [0]) for number in range(1, endpoints + 1)]
    store = Datastore(Graph(documents.HERE))
    store.take([Event(*document, 1) for document in found])
    with NftTables() as kernel:
        kernel.apply(RulesetRenderer(RulesetSettings()).apply(store.graph.flush()))


def _others(rules: int) -> Iterable[tuple[str, str, int]]:
    """Rules that the packets do not match: network, protocol, port."""
    return ((f"192.168.{n >> 8}.{n & 255}/32", "udp" if n % 2 else "tcp", 1000 + n) for n in range(rules))


def _nft(chain: list[str]) -> None:
    rules = "\n".join(chain)
    text = f"table inet bare {{ chain forward {{ type filter hook forward priority 0; policy drop;\n{rules}\n}}\n}}"
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def main() -> None:
    small = report.small(__doc__)
    few, many, rounds = (20, 50, 3) if small else (1000, 500, 60)
    wanted = {
        "no firewall (baseline)": (side, "none", 0, 2),
        "tracking alone": (side, "tracking", 0, 2),
        "us, 10 rules, 2 endpoints": (side, "ours", 10, 2),
        f"us, {few} rules, 2 endpoints": (side, "ours", few, 2),
        f"us, 10 rules, {many} endpoints": (side, "ours", 10, many),
        "by hand, 10 rules in a row": (side, "linear", 10, 2),
        f"by hand, {few} rules in a row": (side, "linear", few, 2),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in wanted}
    with sides(**wanted) as found:
        for turn in range(rounds + 1):
            for name, one in found.items():
                answer = one.round()
                if turn:
                    times[name].append(answer)
    for title, which in (("a packet of an established flow:", 0), ("a packet that begins a flow:", 1)):
        report.show(title, {name: [pair[which] for pair in pairs] for name, pairs in times.items()})
    base, tracked, ours = (
        [statistics.median(pair[which] for pair in times[name]) for which in (0, 1)] for name in list(wanted)[:3]
    )
    print("where the time of ours goes (10 rules): sending and forwarding, tracking of flows, our rules")
    for name, which in (("established", 0), ("new", 1)):
        parts = (base[which], tracked[which] - base[which], ours[which] - tracked[which])
        print(f"  {name:<46} " + "  ".join(f"{100 * part / ours[which]:4.0f} %" for part in parts))


if __name__ == "__main__":
    main()
