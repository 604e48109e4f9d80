"""Felix with mishaps to order: killed after any operation on the kernel, slow nf_tables, a kernel that hangs.

    CALICO_HARM=/some/directory python -m calico_openstack.testing.harmed_felix -c felix.cfg

Orders are files in that directory, looked at before and after each operation: `kill` holds how many operations there
are to live for, `slow` how many seconds each transaction of nf_tables takes, `hang` means that the next operation does
not return, `ponder` that the next calculation does not, `refuse` that no transaction is taken. `patience`, read at
the start, shortens the time after which Felix gives up (seconds).

One message of rtnetlink or ctnetlink is one operation here, sent alone, so that death can come between any two; one
transaction of nf_tables is one; one write to a sysctl is one.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from calico_openstack.felix import agent
from calico_openstack.felix.datastore import Datastore
from calico_openstack.felix.kernel.sysctls import Sysctls
from calico_openstack.felix.main import main
from calico_openstack.felix.wanted.host import Sysctl
from calico_openstack.felix.wanted.state import Changes
from calico_openstack.netlink.socket import NetlinkError, NetlinkSocket
from calico_openstack.netlink.wire import Message, Request

VARIABLE = "CALICO_HARM"
_ONLY_ASKS = 2
"""Of rtnetlink's kinds, new, delete, get, set come in this order (linux/rtnetlink.h)."""
_NETFILTER = 1 << 8


class Mishaps:
    """What is ordered in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def order(self, mishap: str, value: float = 0) -> None:
        """For the test: from now on."""
        written = self._directory / f".{mishap}"
        written.write_text(str(value))
        written.rename(self._directory / mishap)

    def recall(self, mishap: str) -> None:
        (self._directory / mishap).unlink(missing_ok=True)

    @property
    def patience(self) -> float | None:
        return self._ordered("patience")

    def ponder(self) -> None:
        while self._ordered("ponder") is not None:
            time.sleep(0.05)

    def before(self, nft: bool = False) -> None:
        while self._ordered("hang") is not None:
            time.sleep(0.05)
        if nft:
            time.sleep(self._ordered("slow") or 0.0)
            if self._ordered("refuse") is not None:
                raise NetlinkError(errno.EOPNOTSUPP, "refused by order", None)

    def after(self) -> None:
        left = self._ordered("kill")
        if left is None:
            return
        if left > 1:
            self.order("kill", left - 1)
        else:
            self.recall("kill")
            os.kill(os.getpid(), signal.SIGKILL)

    def _ordered(self, mishap: str) -> float | None:
        try:
            return float((self._directory / mishap).read_text())
        except FileNotFoundError:
            return None


def install(mishaps: Mishaps) -> None:
    """Every socket and every sysctl of this process is harmed from now on."""
    agent.GIVE_UP = mishaps.patience or agent.GIVE_UP
    request, send_batch = NetlinkSocket.request, NetlinkSocket.send_batch
    send_transaction, apply = NetlinkSocket.send_transaction, Sysctls.apply
    news = Datastore.news

    def one_request(self: NetlinkSocket, wanted: Request) -> list[Message]:
        if wanted.kind >= _NETFILTER or wanted.kind & 3 == _ONLY_ASKS:
            return request(self, wanted)
        mishaps.before()
        answers = request(self, wanted)
        mishaps.after()
        return answers

    def one_by_one(self: NetlinkSocket, requests: Sequence[Request]) -> dict[int, NetlinkError]:
        failures: dict[int, NetlinkError] = {}
        for index, wanted in enumerate(requests):
            mishaps.before()
            failures.update((index, error) for error in send_batch(self, [wanted]).values())
            mishaps.after()
        return failures

    def transaction(self: NetlinkSocket, begin: Request, requests: Sequence[Request], end: Request) -> None:
        mishaps.before(nft=True)
        send_transaction(self, begin, requests, end)
        mishaps.after()

    def each_sysctl(self: Sysctls, wanted: Iterable[Sysctl]) -> list[str]:
        failures: list[str] = []
        for sysctl in wanted:
            mishaps.before()
            written = self.operations
            failures += apply(self, [sysctl])
            if self.operations > written:
                mishaps.after()
        return failures

    def calculated(self: Datastore) -> Changes:
        mishaps.ponder()
        return news(self)

    for owner, name, harmed in (
        (NetlinkSocket, "request", one_request),
        (NetlinkSocket, "send_batch", one_by_one),
        (NetlinkSocket, "send_transaction", transaction),
        (Sysctls, "apply", each_sysctl),
        (Datastore, "news", calculated),
    ):
        setattr(owner, name, harmed)


if __name__ == "__main__":
    install(Mishaps(Path(os.environ[VARIABLE])))
    sys.exit(main())
