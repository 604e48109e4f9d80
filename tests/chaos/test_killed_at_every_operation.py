"""Felix is killed (SIGKILL) after each single operation on the kernel of an update, and started again.

A real process, etcd, kernel and packets. After each death the host must come to be exactly as one on which nobody was
harmed; and at no time may a datagram arrive that neither the state before the update nor the one after it lets pass.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

import pytest

from calico_openstack.felix.kernel.nft import NftTables
from calico_openstack.felix.kernel.sysctls import Sysctls
from calico_openstack.felix.wanted.host import HostRules, global_sysctls, tap_sysctls
from calico_openstack.model.names import tap_name
from calico_openstack.testing.compute_host import Guest, Host, eventually, ip
from calico_openstack.testing.harmed_felix import Mishaps
from calico_openstack.testing.knocker import Arrival, Knock, Knocker
from calico_openstack.testing.written import WEB, Document, allow, group, port

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

PORTS = {name: f"{name * 8}-0000-4000-8000-000000000000" for name in "abcd"}
TAPS = {name: tap_name(port_id) for name, port_id in PORTS.items()}
MACS = {name: f"fa:16:3e:00:00:0{number}" for number, name in enumerate("abcd", 1)}
ADDRESSES = {name: f"10.65.0.{number}" for number, name in enumerate("abcd", 1)}
SHIFTED, FLOATING, STOLEN = "10.65.0.20", "172.24.4.33", "10.65.0.99"
OPEN, SHUT = 7001, 7002


def guest(name: str, *more: str, **spec: Any) -> Document:
    nets = [f"{address}/32" for address in (ADDRESSES[name], *more)]
    return port(PORTS[name], *nets, groups=(WEB,), mac=MACS[name], **spec)


def policy(number: int) -> Document:
    return group(WEB, allow("UDP", [number]))


BASE = dict((guest("a"), guest("b", SHIFTED), guest("c"), policy(OPEN)))
NAT = {"ipNATs": [{"internalIP": ADDRESSES["b"], "externalIP": FLOATING}]}
LIMITS = {"qosControls": {"ingressBandwidth": 10_000_000, "egressBandwidth": 10_000_000}}


class Update(NamedTuple):
    """What is put; put back it is the base again (or nothing, if the base lacks it). `reached`: who may be reached
    then. `moved`: addresses that another guest gets, both ways: no flow with the former one may live on."""

    documents: tuple[Document, ...]
    reached: frozenset[Arrival]
    moved: tuple[str, ...] = ()


def reached(number: int = OPEN, shifted: str = "b", *more: Arrival) -> frozenset[Arrival]:
    found = {Arrival(TAPS[name], ADDRESSES[name], number) for name in "bc"}
    return frozenset({*found, Arrival(TAPS[shifted], SHIFTED, number), *more})


UPDATES = {
    "a new endpoint, and its removal": Update(
        (guest("d"),), reached(OPEN, "b", Arrival(TAPS["d"], ADDRESSES["d"], OPEN))
    ),
    "another policy": Update((policy(SHUT),), reached(SHUT)),
    "an address that moves to another endpoint": Update(
        (guest("b"), guest("c", SHIFTED)), reached(OPEN, "c"), (SHIFTED,)
    ),
    "a floating IP": Update((guest("b", SHIFTED, **NAT),), reached(OPEN, "b", Arrival(TAPS["b"], FLOATING, OPEN))),
    "bandwidth limits": Update((guest("b", SHIFTED, **LIMITS),), reached()),
}


@pytest.fixture
def knocker(host: Host) -> Iterator[Knocker]:
    guests = {name: Guest(TAPS[name], MACS[name], f"{ADDRESSES[name]}/24") for name in "abcd"}
    try:
        for holder in "bc":
            ip("-n", guests[holder].name, "address", "add", f"{SHIFTED}/32", "dev", "eth0")
        ip("-n", guests["a"].name, "address", "add", f"{STOLEN}/24", "dev", "eth0")
        ip("-n", guests["a"].name, "route", "add", FLOATING, "dev", "eth0", "src", ADDRESSES["a"])
        made = Knocker(guests.values(), (OPEN, SHUT))
        targets = [ADDRESSES[name] for name in "bcd"] + [SHIFTED, FLOATING]
        made.knock(guests["a"], *(Knock(ADDRESSES["a"], to, number) for to in targets for number in (OPEN, SHUT)))
        # An address that is not the sender's own: must never arrive, whatever the policy.
        made.knock(guests["a"], Knock(STOLEN, ADDRESSES["b"], OPEN + SHUT))
        with made:
            yield made
    finally:
        for one in guests.values():
            one.close()


def state() -> dict[str, object]:
    """The kernel of this host, as far as Felix makes it."""
    with NftTables() as tables:
        nft = tables.read()
    shown: dict[str, object] = {"nft": {table: (content.chains, content.sets) for table, content in nft.items()}}
    for version in "46":
        routes = json.loads(ip("-json", f"-{version}", "route", "show"))
        shown[f"routes {version}"] = sorted(
            json.dumps(one, sort_keys=True)
            for one in routes
            if one.get("dev", "").startswith("tap") and one["dst"] != "fe80::/64"
        )
    neighbours = json.loads(ip("-json", "neigh", "show", "nud", "permanent"))
    shown["neighbours"] = sorted((one["dst"], one["dev"], one["lladdr"]) for one in neighbours)
    shown["ifbs"] = sorted(re.findall(r"^(cifb\S+) +(\S+)", ip("-brief", "link", "show"), re.MULTILINE))
    for tap in TAPS.values():
        done = subprocess.run(
            f"tc qdisc show dev {tap}; tc filter show dev {tap} ingress", shell=True, capture_output=True, text=True
        )
        shown[f"tc {tap}"] = re.findall(r"qdisc \w+ \w+:|rate \w+|pref \d+|device \w+\S*", done.stdout)
    sysctls = [*global_sysctls(True, True), *(one for tap in TAPS.values() for one in tap_sysctls(tap, HostRules()))]
    shown["sysctls"] = {one.path: Sysctls().read(one.path) for one in sysctls}
    return shown


def mark_flows(addresses: tuple[str, ...]) -> None:
    """Mark what is known of flows towards these addresses. What begins anew later has no mark."""
    chain = "chain prerouting { type filter hook prerouting priority -100; meta l4proto udp ct mark set 1; }"
    subprocess.run(["nft", f"table inet marking {{ {chain}; }}"], capture_output=True, check=True)
    try:
        eventually(lambda: all(map(marked, addresses)), "marked")
    finally:
        subprocess.run(["nft", "delete table inet marking"], check=True)


def marked(address: str) -> str:
    """Flows towards that address that have been there since they were marked."""
    shown = subprocess.run(["conntrack", "-L", "-d", address, "-m", "1"], capture_output=True, text=True, check=True)
    return shown.stdout


@pytest.mark.parametrize("name", UPDATES)
def test_felix_killed_after_any_operation_of_an_update_harms_nothing(
    name: str, host: Host, mishaps: Mishaps, knocker: Knocker
) -> None:
    update = UPDATES[name]
    changed = {**BASE, **dict(update.documents)}
    sides = [(BASE, reached()), (changed, update.reached)]

    def tell(documents: dict[str, bytes]) -> None:
        for path, _ in update.documents:
            if path in documents:
                host.put(path, documents[path].decode())
            else:
                host.delete(path)

    def at_rest(documents: dict[str, bytes], allowed: frozenset[Arrival]) -> dict[str, object]:
        eventually(lambda: knocker.now() == allowed, "exactly what is allowed arrives")
        return state()

    host.ready()
    for path, value in BASE.items():
        host.put(path, value.decode())
    host.start()
    host.resync()
    # First nobody is harmed. The state of a tap's sysctls, once an endpoint has been there, is what it stays.
    at_rest(*sides[0])
    tell(changed)
    unharmed = {1: at_rest(*sides[1])}
    tell(BASE)
    unharmed[0] = at_rest(*sides[0])
    deaths = 0
    for number in count(1):
        died = False
        for side, before in ((1, 0), (0, 1)):
            documents, allowed = sides[side]
            knocker.take()
            if update.moved:
                mark_flows(update.moved)
            mishaps.order("kill", number)
            tell(documents)
            eventually(lambda side=side: not host.runs or state() == unharmed[side], "dead, or as it should be")
            mishaps.recall("kill")
            if not host.runs:
                died = True
                deaths += 1
                host.start()
                host.resync()
            eventually(lambda side=side: state() == unharmed[side], "as on a host where nobody was harmed")
            arrived = knocker.take()
            eventually(lambda allowed=allowed: knocker.now() == allowed, "exactly what is allowed arrives")

            assert arrived <= allowed | sides[before][1]
            assert not any(map(marked, update.moved))
        if not died:
            break

    print(f"{name}: killed {deaths} times")
    assert deaths >= 2
    assert set(unharmed[0]) == set(unharmed[1])
