"""One member added to a security group of 20,000: from the put to etcd until the kernel's set has it.

The members live elsewhere; one endpoint of the group is here, so that the set is. The kernel itself tells when the
element is there (an nf_tables event). Baseline: `nft add element`, run by hand, into a set of 20,000. Beside it the
same with a group of 20 members. Needs root.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import time
from collections.abc import Generator
from itertools import count
from typing import Any

from rig import documents, report
from rig.host import FelixHost
from rig.side import sides

from calico_openstack.model.net import parse_net
from calico_openstack.netlink.socket import NETFILTER, NetlinkSocket

_GROUP_NFTABLES = 7
_ALSO_HERE = 5
"""Endpoints on this host."""


class Announced:
    """What the kernel says about sets."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(NETFILTER, groups=(_GROUP_NFTABLES,), buffer=64 << 20)

    def forget(self) -> None:
        self._socket.receive()

    def wait(self, number: int) -> None:
        """Until a message names the address of that endpoint."""
        wanted = parse_net(documents.address(number)).packed
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            select.select([self._socket], [], [], 1.0)
            if any(wanted in message.body for message in self._socket.receive()):
                return
        raise TimeoutError(documents.address(number))

    def close(self) -> None:
        self._socket.close()


def with_felix(members: int) -> Generator[Any, None, None]:
    """Seconds until the element is there, and of Felix's processor time for one member coming and going."""
    with contextlib.ExitStack() as stack:
        host = FelixHost()
        stack.callback(host.close)
        host.write(
            [
                *documents.preface(),
                documents.policy(0),
                *(documents.endpoint(n, documents.HERE, [0]) for n in range(_ALSO_HERE)),
                *(documents.endpoint(n, f"host-{n % documents.HOSTS}", [0]) for n in range(_ALSO_HERE, members)),
            ]
        )
        announced = Announced()
        stack.callback(announced.close)
        host.start()
        host.until_applied()
        yield None
        for turn in count(members):
            document = documents.endpoint(turn, "host-1", [0])
            host.quiet()
            announced.forget()
            used, began = host.cpu(), time.perf_counter()
            host.client.put(*document)
            announced.wait(turn)
            there = time.perf_counter() - began
            host.quiet()
            host.client.delete(document.key)
            announced.wait(turn)
            yield there, host.cpu() - used


def by_hand(members: int) -> Generator[float, None, None]:
    with contextlib.closing(Announced()) as announced:
        elements = ", ".join(documents.address(n) for n in range(members))
        _nft(f"table inet bare {{ set group {{ type ipv4_addr; elements = {{ {elements} }}; }}; }}")
        yield 0.0
        for turn in count(members):
            announced.forget()
            began = time.perf_counter()
            _nft(f"add element inet bare group {{ {documents.address(turn)} }}")
            announced.wait(turn)
            yield time.perf_counter() - began
            _nft(f"delete element inet bare group {{ {documents.address(turn)} }}")


def _nft(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def main() -> None:
    small = report.small(__doc__)
    few, many, rounds = (20, 500, 3) if small else (20, 20_000, 60)
    times: dict[str, list[Any]] = {}
    with sides(hand=(by_hand, many), few=(with_felix, few), many=(with_felix, many)) as found:
        for turn in range(rounds + 3):
            for name, one in found.items():
                answer = one.round()
                if turn >= 3:
                    times.setdefault(name, []).append(answer)
    names = {"few": f"us, group of {few}", "many": f"us, group of {many}"}
    report.show(
        f"from etcd to the kernel's set, {rounds} rounds:",
        {
            f"nft by hand, set of {many} (baseline)": times["hand"],
            **{name: [there for there, _ in times[side]] for side, name in names.items()},
        },
        (50, 99),
    )
    for side, name in names.items():
        used = sum(cpu for _, cpu in times[side]) / rounds
        print(f"  {name:<46} {report.duration(used)} of Felix's processor time per member added and removed")


if __name__ == "__main__":
    main()
