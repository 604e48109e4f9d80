"""Frames made by hand, for tests: what a guest may put on its wire if it wants.

`send` runs a few lines of Python in the guest's namespace. They find `wire` (a packet socket on eth0), `MAC` (the
guest's), `a(text)` (an address as bytes), and functions that make frames: `ethernet`, `v4`, `v6`, `udp`, `icmp6`,
`fragments6`, `fragments4`, `solicit`, `udp4`.
"""

from __future__ import annotations

import subprocess

PRELUDE = r"""
import socket, struct, sys
MAC = bytes.fromhex(sys.argv[1].replace(":", ""))
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0))
ALL, ROUTER = b"\xff" * 6, bytes.fromhex("eeeeeeeeeeee")

def a(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)

def total(data):
    if len(data) % 2:
        data += b"\0"
    found = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while found >> 16:
        found = (found & 0xFFFF) + (found >> 16)
    return ~found & 0xFFFF

def ethernet(packet, to=ROUTER, kind=None, tag=b""):
    kind = kind or (b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\0")
    return to + MAC + tag + kind + packet

def v6(source, destination, protocol, body, hops=255):
    return b"\x60\0\0\0" + struct.pack("!HBB", len(body), protocol, hops) + source + destination + body

def v4(source, destination, protocol, body, options=b"", fragment=0, identity=0):
    size = 20 + len(options)
    head = struct.pack("!BBHHHBBH", 0x40 | size // 4, 0, size + len(body), identity, fragment, 64, protocol, 0)
    head += source + destination + options
    return head[:10] + struct.pack("!H", total(head)) + head[12:] + body

def fragments4(source, destination, protocol, body, first, identity=7):
    yield v4(source, destination, protocol, body[:first], fragment=0x2000, identity=identity)
    yield v4(source, destination, protocol, body[first:], fragment=first // 8, identity=identity)

def fragments6(source, destination, protocol, body, first, identity=7):
    for offset, more, part in ((0, 1, body[:first]), (first, 0, body[first:])):
        yield v6(source, destination, 44, struct.pack("!BxHI", protocol, offset | more, identity) + part)

def summed(source, destination, protocol, body, where):
    pseudo = source + destination + struct.pack("!I3xB" if len(source) == 16 else "!HxB", len(body), protocol)
    if len(source) == 4:
        pseudo = source + destination + struct.pack("!xBH", protocol, len(body))
    return body[:where] + struct.pack("!H", total(pseudo + body) or 0xFFFF) + body[where + 2 :]

def udp(source, destination, ports, data=b"x" * 64):
    return summed(source, destination, 17, struct.pack("!4H", *ports, 8 + len(data), 0) + data, 6)

def icmp6(source, destination, kind, rest):
    return summed(source, destination, 58, bytes((kind, 0, 0, 0)) + rest, 2)

def solicit(source, target):
    group = bytes.fromhex("ff0200000000000000000001ff") + target[13:]
    body = icmp6(source, group, 135, bytes(4) + target + b"\1\1" + MAC)
    return ethernet(v6(source, group, 58, body), b"\x33\x33\xff" + target[13:])

def udp4(source, destination, ports, data):
    return ethernet(v4(source, destination, 17, struct.pack("!4H", *ports, 8 + len(data), 0) + data), ALL)
"""


def send(namespace: str, mac: str, script: str) -> None:
    """Run the lines in the network namespace of that name; AssertionError with their complaint if they fail."""
    command = ["ip", "netns", "exec", namespace, "python3", "-c", PRELUDE + script, mac]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
