"""The statements of a rule: a condition lets the packet go on to the next statement, an action does
something.

Kept to what we use, so that each has exactly one text, one netlink form and one meaning in the packet
walker. Nothing is implied: a rule about ports or addresses states the protocol and the family itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from calico_openstack.felix.ruleset.fields import Field

ESTABLISHED, RELATED, INVALID, NEW, UNTRACKED = 2, 4, 1, 8, 64
"""Bits of conntrack's state (NF_CT_STATE_BIT)."""


@dataclass(frozen=True, slots=True)
class Equal:
    """The field is (`negate`: is not) `value`. A value shorter than an interface name matches names that
    begin with it."""

    field: Field
    value: bytes
    negate: bool = False


@dataclass(frozen=True, slots=True)
class Within:
    """The address is (not) in the network of `length` bits."""

    field: Field
    address: bytes
    length: int
    negate: bool = False


@dataclass(frozen=True, slots=True)
class Between:
    """The value is (not) in the range, both ends included."""

    field: Field
    first: bytes
    last: bytes
    negate: bool = False


@dataclass(frozen=True, slots=True)
class InSet:
    """The fields together are (not) an element of the named set. A field that the packet lacks matches
    neither way."""

    fields: tuple[Field, ...]
    name: str
    negate: bool = False


@dataclass(frozen=True, slots=True)
class CtState:
    """Conntrack's state is one of `states` (bits)."""

    states: int


@dataclass(frozen=True, slots=True)
class Translated:
    """The flow's destination has been translated (IPS_DST_NAT)."""


@dataclass(frozen=True, slots=True)
class NoTrack:
    """Conntrack is not to look at this packet. Before it does only (priority raw)."""


@dataclass(frozen=True, slots=True)
class HasMark:
    """The packet's mark has (`negate`: has not) this bit."""

    bit: int
    negate: bool = False


@dataclass(frozen=True, slots=True)
class SetMark:
    """Give the packet's mark these bits, or take them away."""

    bits: int
    clear: bool = False


@dataclass(frozen=True, slots=True)
class ByMap:
    """Do what the verdict map says for the fields; go on when it says nothing."""

    fields: tuple[Field, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Verdict:
    kind: Literal["accept", "drop", "return", "jump", "goto"]
    chain: str = ""


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse with ICMP(v6) port unreachable."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Refuse a TCP connection with a reset. The rule must say TCP."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket of the rule's own, of packets: `rate` tokens a unit of time, at most `burst` of them.

    Goes on while there are tokens, or (`over`) when there is none.
    """

    rate: int
    unit: Literal["second", "minute", "hour", "day"]
    burst: int
    over: bool = False


@dataclass(frozen=True, slots=True)
class RateOf:
    """As `Rate`, with a token bucket for each value of the fields, which the dynamic set keeps. When the set is full, a
    new value counts as not met."""

    fields: tuple[Field, ...]
    name: str
    rate: int
    unit: Literal["second", "minute", "hour", "day"]
    burst: int
    over: bool = False


@dataclass(frozen=True, slots=True)
class Remember:
    """Put the fields into the dynamic set. Goes on unless the set is full. `refresh`: what is there already begins its
    time anew."""

    fields: tuple[Field, ...]
    name: str
    refresh: bool = False


@dataclass(frozen=True, slots=True)
class MoreConnections:
    """The rule has been met by more than `limit` connections that still live, this one counted. Closed TCP
    connections leave the count at the next look (nf_conncount)."""

    limit: int


@dataclass(frozen=True, slots=True)
class SetDscp:
    """Write the differentiated services code point (RFC 2474)."""

    version: int
    value: int


@dataclass(frozen=True, slots=True)
class Masquerade:
    """The source becomes an address of the outgoing interface; `ports`: and a port of this range (the rule
    must say TCP or UDP)."""

    ports: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Snat:
    """The source becomes `address`; `ports` as in `Masquerade`."""

    version: int
    address: bytes
    ports: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """Write a kernel log line of level info; `prefix` as given."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Dnat:
    """Send to one address and port."""

    version: int
    address: bytes
    port: int


@dataclass(frozen=True, slots=True)
class NatByMap:
    """Translate the destination (`dnat`) or source (`snat`) to what the map gives for the fields."""

    kind: Literal["dnat", "snat"]
    version: int
    fields: tuple[Field, ...]
    name: str


Statement = (
    Equal | Within | Between | InSet | CtState | ByMap | Verdict | Reject | Log | Dnat | NatByMap
    | Translated | NoTrack | HasMark | SetMark | Reset | Rate | RateOf | Remember | MoreConnections | SetDscp
    | Masquerade | Snat
)  # fmt: skip

ACCEPT, DROP, RETURN = Verdict("accept"), Verdict("drop"), Verdict("return")


def jump(chain: str) -> Verdict:
    return Verdict("jump", chain)


def goto(chain: str) -> Verdict:
    return Verdict("goto", chain)
