"""One endpoint added to etcd: how long until a packet from outside passes, on a host with 100 and with 500 endpoints.

A real etcd, our Felix as a process, a kernel with real taps; each side is a namespace of its own, and they take turns.
Baseline: `nft` and `ip` run by hand for the same endpoint on a host with 500, without etcd and without us. "etcd
alone" is a put and the watch's answer to it in another client, the floor for anybody who listens to etcd. The tap is
there before, as when Nova has plugged it. Also: how long until the endpoint is reported `up`. Needs root.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import time
from collections.abc import Generator
from itertools import count
from queue import SimpleQueue
from threading import Thread
from typing import Any

from rig import documents, report
from rig.host import FelixHost, local_cloud
from rig.side import sides
from rig.wires import Wires

from calico_openstack.etcd.mirror import BlockingMirror
from calico_openstack.model.keys import RESOURCES
from calico_openstack.netlink.conntrack import all_flows
from calico_openstack.netlink.socket import NETFILTER, NetlinkSocket

SPARE = 20


def with_felix(local: int) -> Generator[Any, None, None]:
    """Seconds until a packet passes, until `up`, and of Felix's processor time for one endpoint coming and going."""
    with contextlib.ExitStack() as stack:
        wires = Wires(range(local + SPARE))
        stack.callback(wires.close)
        host = FelixHost()
        stack.callback(host.close)
        host.write(local_cloud(local))
        host.start()
        host.until_up(local)
        yield None
        for turn in count():
            number = local + turn % SPARE
            document = documents.endpoint(number, documents.HERE, [number % 10, 3])
            host.quiet()
            used, began = host.cpu(), time.perf_counter()
            host.client.put(*document)
            wires.passes(number)
            passed = time.perf_counter() - began
            host.until_status(number, True)
            up = time.perf_counter() - began
            host.client.delete(document.key)
            host.until_status(number, False)
            yield passed, up, host.cpu() - used


def by_hand(local: int) -> Generator[float, None, None]:
    """The same endpoint with the tools of the system: an element that accepts, a neighbour, a route."""
    wires = Wires(range(local + SPARE))
    try:
        elements = ", ".join(_element(n) for n in range(local))
        _nft(
            "table inet bare { map taps { type ifname . ipv4_addr : verdict; elements = { " + elements + " } }\n"
            "chain forward { type filter hook forward priority 0; policy drop; ct state established accept\n"
            "oifname . ip daddr vmap @taps\n}\n}"
        )
        for n in range(local):
            _ip(_route(n, "add"))
        yield 0.0
        for turn in count():
            number = local + turn % SPARE
            began = time.perf_counter()
            _nft(f"add element inet bare taps {{ {_element(number)} }}")
            _ip(_neighbour(number), _route(number, "add"))
            wires.passes(number)
            passed = time.perf_counter() - began
            _ip(_route(number, "delete"))
            _nft(f"delete element inet bare taps {{ {_element(number)} }}")
            yield passed
    finally:
        wires.close()


def etcd_alone(local: int) -> Generator[float, None, None]:
    host = FelixHost()
    mirror = BlockingMirror(host.client, RESOURCES)
    try:
        host.write(local_cloud(local))
        seen: SimpleQueue[str] = SimpleQueue()
        Thread(target=_follow, args=(mirror, seen), daemon=True).start()
        for _ in range(len(local_cloud(local))):
            seen.get()
        yield 0.0
        for turn in count():
            document = documents.endpoint(local + turn, documents.HERE, [1, 3])
            began = time.perf_counter()
            host.client.put(*document)
            while seen.get() != document.key:
                pass
            yield time.perf_counter() - began
    finally:
        mirror.close()
        host.close()


def one_walk(local: int) -> Generator[float, None, None]:
    """Through the kernel's table of tracked flows, which is one for all namespaces, as Felix's for a new address."""
    connection = NetlinkSocket(NETFILTER, buffer=1 << 20)
    try:
        yield 0.0
        while True:
            began = time.perf_counter()
            connection.dump(all_flows())
            yield time.perf_counter() - began
    finally:
        connection.close()


def _follow(mirror: BlockingMirror, seen: SimpleQueue[str]) -> None:
    for batch in mirror:
        for event in batch.events:
            seen.put(event.key)


def _element(number: int) -> str:
    return f'"{documents.tap(number)}" . {documents.address(number)} : accept'


def _neighbour(number: int) -> str:
    return f"neigh replace {documents.address(number)} lladdr {documents.mac(number)} dev {documents.tap(number)}"


def _route(number: int, verb: str) -> str:
    return f"route {verb} {documents.address(number)} dev {documents.tap(number)} metric 1024"


def _nft(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def _ip(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def main() -> None:
    small = report.small(__doc__)
    few, many, rounds = (5, 20, 3) if small else (100, 500, 100)
    compared = {
        "hand": (by_hand, many),
        "etcd": (etcd_alone, many),
        "walk": (one_walk, 0),
        "few": (with_felix, few),
        "many": (with_felix, many),
    }
    with sides(**compared) as found:
        times: dict[str, list[Any]] = {name: [] for name in found}
        for turn in range(rounds + 3):
            for name, one in found.items():
                answer = one.round()
                if turn >= 3:
                    times[name].append(answer)
    names = {"few": f"us, {few} endpoints", "many": f"us, {many} endpoints"}
    report.show(
        f"from etcd to a packet, {rounds} rounds:",
        {
            "nft and ip by hand (baseline)": times["hand"],
            "etcd alone": times["etcd"],
            **{name: [passed for passed, _, _ in times[side]] for side, name in names.items()},
        },
        (50, 99),
    )
    parts = {
        "etcd": statistics.median(times["etcd"]),
        "one walk through the table of flows": statistics.median(times["walk"]),
    }
    passed = statistics.median(passed for passed, _, _ in times["many"])
    report.shares(f"where the time of {names['many']} goes", parts, passed)
    report.show(
        "from etcd to status up in etcd:",
        {name: [up for _, up, _ in times[side]] for side, name in names.items()},
        (50, 99),
    )
    for side, name in names.items():
        used = sum(cpu for _, _, cpu in times[side]) / rounds
        print(f"  {name:<46} {report.duration(used)} of Felix's processor time per endpoint added and removed")


if __name__ == "__main__":
    main()
