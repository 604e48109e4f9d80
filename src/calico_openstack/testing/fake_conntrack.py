"""Connection tracking in memory, spoken to through the dataplane's own door (`felix.kernel.conntrack`).

Each flow that is ended is one operation. Flows are told as messages in the kernel's own form.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from calico_openstack.felix.kernel.conntrack import Conntrack
from calico_openstack.model.net import Net
from calico_openstack.netlink import rtnl, wire
from calico_openstack.netlink.conntrack import Ends, Tracked
from calico_openstack.netlink.wire import Message

_ORIG, _REPLY, _ID = 1, 2, 12


@dataclass(slots=True)
class FlowTable:
    """The flows by their id."""

    tracked: dict[int, Tracked] = field(default_factory=dict)
    _last: int = 0

    def track(self, flow: Tracked) -> int:
        self._last += 1
        self.tracked[self._last] = flow
        return self._last


class FakeConntrack(Conntrack):
    def __init__(self, table: FlowTable, did: Callable[[], None]) -> None:
        self._table = table
        self._did = did
        self.ended = 0

    def release(self, addresses: Iterable[Net]) -> None:
        for address in addresses:
            self._end([number for number, flow in self._table.tracked.items() if address in _sources(flow)])

    def parts(self, addresses: Collection[Net]) -> Iterator[list[Message]]:
        yield [
            _message(number, flow)
            for number, flow in self._table.tracked.items()
            if any(net.contains(source) for net in addresses for source in _sources(flow))
        ]

    def end(self, flows: Sequence[Message]) -> None:
        self._end([wire.read_be32(wire.attributes(flow.body, 4)[_ID]) for flow in flows])

    def close(self) -> None:
        pass

    def _end(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if self._table.tracked.pop(number, None) is not None:
                self.ended += 1
                self._did()


def _sources(flow: Tracked) -> tuple[Net, Net]:
    """What the kernel is asked for: the source of either direction."""
    return flow.original.source, flow.reply.source


def _message(number: int, flow: Tracked) -> Message:
    version = flow.original.source.version
    body = bytes((rtnl.family_of(version), 0, 0, 0))
    body += wire.nest(_ORIG, _ends(flow.original)) + wire.nest(_REPLY, _ends(flow.reply)) + wire.be32(_ID, number)
    return Message(1 << 8, 0, 0, body)


def _ends(ends: Ends) -> bytes:
    source, destination = (1, 2) if ends.source.version == 4 else (3, 4)
    addresses = wire.nest(1, wire.attr(source, ends.source.packed), wire.attr(destination, ends.destination.packed))
    protocol = wire.u8(1, ends.protocol)
    if ends.ports is not None:
        protocol += wire.be16(2, ends.ports[0]) + wire.be16(3, ends.ports[1])
    elif ends.icmp is not None:
        kind, code = (5, 6) if ends.protocol == 1 else (8, 9)
        protocol += wire.u8(kind, ends.icmp[0]) + wire.u8(code, ends.icmp[1])
    return addresses + wire.nest(2, protocol)
