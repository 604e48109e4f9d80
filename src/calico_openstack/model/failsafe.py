"""Failsafe ports: what a host endpoint's policies cannot close, so that nobody locks himself out of a host.

    tcp:22,udp:68,tcp:10.0.0.0/8:5473,tcp:[2001:db8::/32]:22,6443

An entry without a protocol is of TCP, as with the oldest upstream versions. `none` or nothing empties the list.
Inbound ones are ports of the host, and a network is where they are open to; outbound ones are ports of others, and a
network is where those are (upstream felix/config, PortListParam).
"""

from __future__ import annotations

from typing import NamedTuple

from calico_openstack.model.net import Net, parse_net

_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}


class Failsafe(NamedTuple):
    """`net` None: any address, of both families."""

    protocol: int
    port: int
    net: Net | None = None


def parse_failsafes(text: str) -> tuple[Failsafe, ...]:
    """The entries, without repetition, in their order. ValueError with the entry and what is expected."""
    if text.strip().lower() == "none":
        return ()
    return tuple(dict.fromkeys(_entry(part.strip()) for part in text.split(",") if part.strip()))


def _entry(text: str) -> Failsafe:
    protocol, colon, rest = text.partition(":")
    if not colon:
        protocol, rest = "tcp", text
    number = _PROTOCOLS.get(protocol.lower())
    if number is None:
        raise ValueError(f"{text!r}: the protocol must be one of {', '.join(_PROTOCOLS)}")
    network, _, port = rest.rpartition(":")
    if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r}: a port from 1 to 65535 is expected at the end")
    try:
        net = parse_net(network.removeprefix("[").removesuffix("]")) if network else None
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error
    return Failsafe(number, int(port), net)


INBOUND = parse_failsafes("tcp:22,udp:68,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667")
"""Upstream's default: SSH, DHCP, BGP, etcd and what Kubernetes and Typha need."""

NEIGHBOUR_DISCOVERY = frozenset((130, 131, 132, 133, 134, 135, 136, 143))
"""ICMPv6 types without which there is no IPv6, so policies cannot close them either: of multicast listeners (RFC 2710,
3810), routers and neighbours (RFC 4861)."""

OUTBOUND = parse_failsafes("udp:53,udp:67,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667")
"""Upstream's default: DNS, DHCP, BGP, etcd and what Kubernetes and Typha need."""
