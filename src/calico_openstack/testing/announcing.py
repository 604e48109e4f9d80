"""Frames that guests send when they arrive or take an address over, as bytes; and sending them from a namespace."""

from __future__ import annotations

import ipaddress
import socket

from calico_openstack.testing.compute_host import in_namespace

BROADCAST = b"\xff" * 6
ALL_NODES = bytes.fromhex("333300000001")


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def rarp(source: str) -> bytes:
    """QEMU's announcement of a guest that goes on (net/announce.c)."""
    body = b"\0\1\x08\0\6\4\0\3" + (mac(source) + bytes(4)) * 2
    return (BROADCAST + mac(source) + b"\x80\x35" + body).ljust(60, b"\0")


def gratuitous_arp(source: str, address: str, operation: int = 1) -> bytes:
    """RFC 5227's announcement, which keepalived and Linux guests send."""
    own = ipaddress.IPv4Address(address).packed
    body = b"\0\1\x08\0\6\4" + operation.to_bytes(2, "big") + mac(source) + own + bytes(6) + own
    return (BROADCAST + mac(source) + b"\x08\x06" + body).ljust(60, b"\0")


def advertisement(source: str, address: str, flags: int = 0x20) -> bytes:
    """An unsolicited neighbour advertisement (RFC 4861, 7.2.6) with its checksum."""
    own, everybody = ipaddress.IPv6Address(address).packed, ipaddress.IPv6Address("ff02::1").packed
    message = bytes((136, 0, 0, 0, flags, 0, 0, 0)) + own + b"\2\1" + mac(source)
    total = own + everybody + len(message).to_bytes(4, "big") + b"\0\0\0\x3a" + message
    number = sum(int.from_bytes(total[at : at + 2]) for at in range(0, len(total), 2))
    while number >> 16:
        number = (number & 0xFFFF) + (number >> 16)
    message = message[:2] + (number ^ 0xFFFF).to_bytes(2, "big") + message[4:]
    header = b"\x60\0\0\0" + len(message).to_bytes(2, "big") + b"\x3a\xff" + own + everybody
    return ALL_NODES + mac(source) + b"\x86\xdd" + header + message


def send(namespace: str, frame: bytes, device: str = "eth0") -> None:
    """Send a frame as it is by a device of that named namespace."""
    with in_namespace(f"/run/netns/{namespace}"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind((device, 0))
        raw.send(frame)
