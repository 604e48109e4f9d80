"""What a rule can look at: parts of a packet and of its context, with their nftables types.

The numbers are nftables' own (`enum datatypes` in nft's datatype.h, NFT_META_* and NFT_PAYLOAD_* in
linux/netfilter/nf_tables.h): they are the same in text, in netlink and in the packet walker, so this is the
one place where they are written down.
"""

from __future__ import annotations

from typing import NamedTuple

from calico_openstack.model.net import Net

V4, V6 = b"\x02", b"\x0a"
"""Values of `NFPROTO`."""

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
IPIP = 4
DCCP, UDPLITE = 33, 136
PORT_PROTOCOLS = (TCP, UDP, SCTP, DCCP, UDPLITE)


class DataType(NamedTuple):
    """A type of set keys and map data. `width` in bytes; in a concatenation each part is padded to 4."""

    name: str
    code: int
    width: int


IPV4 = DataType("ipv4_addr", 7, 4)
IPV6 = DataType("ipv6_addr", 8, 16)
ETHER = DataType("ether_addr", 9, 6)
ARP_OP = DataType("arp_op", 11, 2)
PROTOCOL = DataType("inet_proto", 12, 1)
PORT = DataType("inet_service", 13, 2)
ICMP_TYPE = DataType("icmp_type", 14, 1)
ICMPV6_TYPE = DataType("icmpv6_type", 29, 1)
ICMP_CODE = DataType("icmp_code", 32, 1)
ICMPV6_CODE = DataType("icmpv6_code", 33, 1)
IFNAME = DataType("ifname", 41, 16)
FAMILY = DataType("nf_proto", 2, 1)
VERDICT = DataType("verdict", 0xFFFFFF00, 16)

META, LINK, NETWORK, TRANSPORT = -1, 0, 1, 2


class Field(NamedTuple):
    """One readable part: `text` as nft writes it, `base` META or a packet header, `where` the meta key or
    byte offset."""

    text: str
    type: DataType
    base: int
    where: int


IN = Field("iifname", IFNAME, META, 6)
OUT = Field("oifname", IFNAME, META, 7)
NFPROTO = Field("meta nfproto", FAMILY, META, 15)
L4PROTO = Field("meta l4proto", PROTOCOL, META, 16)
MAC_SOURCE = Field("ether saddr", ETHER, LINK, 6)
SOURCE4 = Field("ip saddr", IPV4, NETWORK, 12)
DESTINATION4 = Field("ip daddr", IPV4, NETWORK, 16)
SOURCE6 = Field("ip6 saddr", IPV6, NETWORK, 8)
DESTINATION6 = Field("ip6 daddr", IPV6, NETWORK, 24)
SOURCE_PORT = Field("th sport", PORT, TRANSPORT, 0)
DESTINATION_PORT = Field("th dport", PORT, TRANSPORT, 2)
TYPE4 = Field("icmp type", ICMP_TYPE, TRANSPORT, 0)
CODE4 = Field("icmp code", ICMP_CODE, TRANSPORT, 1)
TYPE6 = Field("icmpv6 type", ICMPV6_TYPE, TRANSPORT, 0)
CODE6 = Field("icmpv6 code", ICMPV6_CODE, TRANSPORT, 1)
ARP_OPERATION = Field("arp operation", ARP_OP, NETWORK, 6)
ARP_SENDER_MAC = Field("arp saddr ether", ETHER, NETWORK, 8)
ARP_SENDER = Field("arp saddr ip", IPV4, NETWORK, 14)

SOURCE = {4: SOURCE4, 6: SOURCE6}
DESTINATION = {4: DESTINATION4, 6: DESTINATION6}
FAMILY_OF = {4: V4, 6: V6}
ADDRESS = {4: IPV4, 6: IPV6}


def ifname(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", "").replace("-", ""))


def byte(value: int) -> bytes:
    return bytes((value,))


def port(value: int) -> bytes:
    return value.to_bytes(2, "big")


def last_address(net: Net) -> bytes:
    """The highest address of the network."""
    return (net.value | (1 << net.width - net.length) - 1).to_bytes(net.width // 8, "big")


def joined(*parts: bytes) -> bytes:
    """Several values as one set key: each padded to whole registers of 4 bytes, as the kernel stores a
    concatenation."""
    if len(parts) == 1:
        return parts[0]
    return b"".join(part + b"\0" * (-len(part) & 3) for part in parts)
