"""Frames by which a guest tells that it is here, or that an address is its own now: the kernel's filter, and reading.

| Frame | tells |
|---|---|
| RARP (EtherType 0x8035) | I run here: QEMU sends it for a guest that has moved (net/announce.c) |
| ARP with an address of mine as sender | I run here |
| IPv4 or IPv6 packet from an address of mine | I run here |
| gratuitous ARP: sender and target address are the same (RFC 5227) | this address is mine now |
| unsolicited neighbour advertisement (RFC 4861) | this address is mine now |

A packet socket sees a frame before the firewall does, so everything that the firewall asks of senders is asked here
too: the endpoint's own MAC, as sender of the frame and within ARP, and addresses that the endpoint has. Frames with
VLAN tags are of no interest. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_openstack.felix.wanted.watch import Heard, Watch
from calico_openstack.model.net import Net
from calico_openstack.netlink import bpf
from calico_openstack.netlink.bpf import Program

KEPT = 128
"""Bytes of a frame that are looked at."""

MOST_ADDRESSES = 64
"""Addresses of each kind and family in one filter; a guest with more is not heard for the others."""

_IPV4, _ARP, _RARP, _IPV6 = 0x0800, 0x0806, 0x8035, 0x86DD
_SOURCE_MAC, _KIND = 6, 12
_ARP_MAC, _ARP_SENDER, _ARP_TARGET = 22, 28, 38
_SENDER4, _SENDER6 = 26, 22
_NEXT_HEADER, _HOP_LIMIT, _ICMPV6, _ICMPV6_CODE, _FLAGS, _SUBJECT = 20, 21, 54, 55, 58, 62
_ADVERTISEMENT, _PROTOCOL_ICMPV6, _SOLICITED = 136, 58, 0x40


def frame_filter(watch: Watch) -> Program:
    """What the kernel is to hand over."""
    own4, own6 = _by_family(watch.arriving or ())
    claimable4, claimable6 = _by_family(watch.claimable)
    found = bpf.accept(KEPT)
    if watch.arriving is not None:
        yes = _among(_ARP_SENDER, own4, found)
        arp = yes + _among_claims(claimable4, found)
        ipv4 = _among(_SENDER4, own4, found)
        # An advertisement for an own address may come from a link-local one.
        ipv6 = _among(_SENDER6, own6, found) + _advertised((*own6, *claimable6), found)
        rarp: Program = found
    else:
        arp, ipv4, ipv6, rarp = _among_claims(claimable4, found), (), _advertised(claimable6, found), ()
    if watch.mac is not None:
        arp = bpf.sequence(_ARP_MAC, _mac(watch.mac), arp)
    body: Program = ()
    for kind, part in ((_RARP, rarp), (_ARP, arp), (_IPV4, ipv4), (_IPV6, ipv6)):
        if part:
            body += bpf.unless(bpf.half(_KIND, kind), part + bpf.drop())
    if watch.mac is not None:
        body = bpf.sequence(_SOURCE_MAC, _mac(watch.mac), body)
    return bpf.unless(bpf.received(), body) + bpf.drop()


def read_frame(frame: bytes, watch: Watch) -> Heard:
    """What a frame tells that has passed the filter. The filter may have been another when it was caught."""
    kind = int.from_bytes(frame[_KIND : _KIND + 2])
    if watch.mac is not None and frame[_SOURCE_MAC : _SOURCE_MAC + 6] != _mac(watch.mac):
        return Heard()
    senders: list[bytes] = []
    subject = b""
    if kind == _ARP:
        if watch.mac is not None and frame[_ARP_MAC : _ARP_MAC + 6] != _mac(watch.mac):
            return Heard()
        sender = frame[_ARP_SENDER : _ARP_SENDER + 4]
        senders = [sender]
        subject = sender if sender == frame[_ARP_TARGET : _ARP_TARGET + 4] else b""
    elif kind == _IPV4:
        senders = [frame[_SENDER4 : _SENDER4 + 4]]
    elif kind == _IPV6:
        senders = [frame[_SENDER6 : _SENDER6 + 16]]
        if _is_unsolicited(frame):
            subject = frame[_SUBJECT : _SUBJECT + 16]
            senders.append(subject)
    own = {net.packed for net in watch.arriving or ()}
    running = watch.arriving is not None and (kind == _RARP or not own.isdisjoint(senders))
    return Heard(frozenset(net for net in watch.claimable if net.packed == subject), running)


def _is_unsolicited(frame: bytes) -> bool:
    return (
        len(frame) >= _SUBJECT + 16
        and frame[_NEXT_HEADER] == _PROTOCOL_ICMPV6
        and frame[_HOP_LIMIT] == 255
        and frame[_ICMPV6] == _ADVERTISEMENT
        and not frame[_FLAGS] & _SOLICITED
    )


def _among(offset: int, nets: Iterable[Net], found: Program) -> Program:
    part: Program = ()
    for net in nets:
        part += bpf.sequence(offset, net.packed, found)
    return part


def _among_claims(nets: Iterable[Net], found: Program) -> Program:
    part: Program = ()
    for net in nets:
        part += bpf.sequence(_ARP_SENDER, net.packed, bpf.sequence(_ARP_TARGET, net.packed, found))
    return part


def _advertised(nets: Iterable[Net], found: Program) -> Program:
    """Unsolicited advertisements for one of these; the hop limit says that no router has had it in its hands."""
    part = _among(_SUBJECT, nets, found)
    if not part:
        return ()
    for test in (
        bpf.no_bits(_FLAGS, _SOLICITED),
        bpf.byte(_ICMPV6_CODE, 0),
        bpf.byte(_ICMPV6, _ADVERTISEMENT),
        bpf.byte(_HOP_LIMIT, 255),
        bpf.byte(_NEXT_HEADER, _PROTOCOL_ICMPV6),
    ):
        part = bpf.unless(test, part)
    return part


def _by_family(nets: Iterable[Net]) -> tuple[list[Net], list[Net]]:
    found: dict[int, list[Net]] = {4: [], 6: []}
    for net in nets:
        if len(found[net.version]) < MOST_ADDRESSES:
            found[net.version].append(net)
    return found[4], found[6]


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
