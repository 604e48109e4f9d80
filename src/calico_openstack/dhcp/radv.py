"""The router of every tap: answers solicitations and advertises itself.

dnsmasq could do it, but it keeps one timer for all interfaces that share a prefix and advertises on the first of them
only, and here every tap of a subnet shares its prefix. This is one raw ICMPv6 socket (CAP_NET_RAW) that hears
solicitations from all interfaces, and per tap a socket whose only work is to be a member of "all routers" (ff02::2)
there. What is sent is decided in `advertise`, when in `ra_timing`. When the agent ends nothing is taken back: guests
keep their router for half an hour.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import time
from collections.abc import Mapping

from calico_openstack.daemon.logs import get_logger
from calico_openstack.dhcp.advertise import Advertisement
from calico_openstack.dhcp.ra_packet import HOP_LIMIT, SOLICITATION, advertisement, is_solicitation
from calico_openstack.dhcp.ra_timing import Schedule
from calico_openstack.netlink.rtnl_links import Link

log = get_logger("dhcp.radv")

_ALL_NODES, _ALL_ROUTERS = "ff02::1", socket.inet_pton(socket.AF_INET6, "ff02::2")
_ICMP6_FILTER = 1  # linux/icmpv6.h; level IPPROTO_ICMPV6
_GONE = frozenset({errno.ENODEV, errno.ENXIO, errno.ENETDOWN})
_PER_WAKE = 64


class RouterAdvertiser:
    """Opened in the host's network namespace; `set` says what to advertise, `run` does it until cancelled."""

    def __init__(self) -> None:
        self._wanted: dict[str, Advertisement] = {}
        self._links: dict[str, Link] = {}
        self._names: dict[int, str] = {}
        self._members: dict[str, tuple[int, socket.socket]] = {}
        self._schedule = Schedule()
        self._changed = asyncio.Event()
        self._socket = _open()
        self.sent = 0

    def set(self, wanted: Mapping[str, Advertisement], links: Mapping[str, Link]) -> None:
        """Advertise exactly this from now on, on the taps that are up. Taps that do not change are not disturbed."""
        now = time.monotonic()
        ready = {tap: links[tap] for tap in wanted if tap in links and links[tap].up}
        for tap in [tap for tap in self._wanted if tap not in ready]:
            self._drop(tap)
        for tap, link in ready.items():
            if self._joined(tap, link) and (self._wanted.get(tap), self._links.get(tap)) == (wanted[tap], link):
                continue
            self._wanted[tap], self._links[tap] = wanted[tap], link
            self._schedule.announce(tap, now)
        self._names = {link.ifindex: tap for tap, link in ready.items()}
        self._changed.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, self._hear)
        try:
            while True:
                self._changed.clear()
                now = time.monotonic()
                for tap in self._schedule.due(now):
                    self._send(tap, now)
                wake = self._schedule.wake_at()
                timeout = None if wake is None else max(0.0, wake - time.monotonic())
                try:
                    await asyncio.wait_for(self._changed.wait(), timeout)
                except TimeoutError:
                    pass
        finally:
            loop.remove_reader(self._socket)

    def close(self) -> None:
        self._socket.close()
        for _, member in self._members.values():
            member.close()

    def _joined(self, tap: str, link: Link) -> bool:
        """Member of ff02::2 on this very interface; False if it had to be joined now."""
        old = self._members.get(tap)
        if old is not None and old[0] == link.ifindex:
            return True
        if old is not None:
            old[1].close()
            del self._members[tap]
        try:
            member = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            try:
                group = _ALL_ROUTERS + struct.pack("@i", link.ifindex)
                member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
            except OSError:
                member.close()
                raise
        except OSError as error:
            if error.errno not in _GONE:
                log.warning("radv.not_listening", tap=tap, reason=str(error), cure="guests wait for the periodic RA")
            return False
        self._members[tap] = (link.ifindex, member)
        return False

    def _drop(self, tap: str) -> None:
        del self._wanted[tap], self._links[tap]
        self._schedule.forget(tap)
        member = self._members.pop(tap, None)
        if member is not None:
            member[1].close()

    def _hear(self) -> None:
        now = time.monotonic()
        for _ in range(_PER_WAKE):
            try:
                packet, ancillary, _, _ = self._socket.recvmsg(2048, 256)
            except BlockingIOError:
                break
            except OSError as error:
                log.warning("radv.receive_failed", reason=str(error))
                break
            ifindex, hop_limit = _arrival(ancillary)
            if is_solicitation(packet, hop_limit) and ifindex in self._names:
                self._schedule.solicited(self._names[ifindex], now)
        self._changed.set()

    def _send(self, tap: str, now: float) -> None:
        wanted, link = self._wanted[tap], self._links[tap]
        source = wanted.source.packed if wanted.source is not None else bytes(16)
        control = [
            (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, source + struct.pack("@i", link.ifindex)),
            (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, struct.pack("@i", HOP_LIMIT)),
        ]
        try:
            self._socket.sendmsg([advertisement(wanted, link.mac)], control, 0, (_ALL_NODES, 0, 0, link.ifindex))
        except OSError as error:
            self._schedule.failed(tap, now)
            if error.errno not in _GONE | {errno.EADDRNOTAVAIL, errno.EINVAL, errno.EAGAIN}:
                log.warning("radv.send_failed", tap=tap, reason=str(error))
            return
        self._schedule.sent(tap, now)
        self.sent += 1


def _open() -> socket.socket:
    opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6)
    try:
        # A set bit blocks a type (RFC 3542, 3.2).
        blocked = [0xFFFFFFFF] * 8
        blocked[SOLICITATION >> 5] &= ~(1 << (SOLICITATION & 31)) & 0xFFFFFFFF
        opened.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("@8I", *blocked))
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        opened.setblocking(False)
    except BaseException:
        opened.close()
        raise
    return opened


def _arrival(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int]:
    """Interface index and hop limit of a received packet; 0 for what is missing."""
    ifindex = hop_limit = 0
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(data) >= 20:
            (ifindex,) = struct.unpack_from("@i", data, 16)
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_HOPLIMIT and len(data) >= 4:
            (hop_limit,) = struct.unpack_from("@i", data)
    return ifindex, hop_limit
