"""Changed settings of interfaces (RTM_NEWNETCONF; linux/netconf.h): of those below /proc/sys/net/ipv{4,6}/conf, the few
that the kernel tells about: `forwarding`, `rp_filter`, `proxy_arp`.
"""

from __future__ import annotations

from typing import NamedTuple

from calico_openstack.netlink import rtnl, wire
from calico_openstack.netlink.wire import Message

NEWNETCONF = 80
GROUP_IPV4_NETCONF, GROUP_IPV6_NETCONF = 24, 25

_HEADER = 4
"""One byte, the family, and padding."""
_IFINDEX = 1
_NAMES = {4: {2: "forwarding", 3: "rp_filter", 5: "proxy_arp"}, 6: {2: "forwarding"}}


class Setting(NamedTuple):
    """What `ipv<version>/conf/<interface>/<name>` says now. `ifindex` is negative for `all` and `default`."""

    ifindex: int
    version: int
    name: str
    value: int


def read_settings(message: Message) -> list[Setting]:
    """The settings in a NEWNETCONF; none in other messages, and none that is not known here."""
    version = rtnl.version_of(message.body[0]) if message.kind == NEWNETCONF else None
    if version is None:
        return []
    found = wire.attributes(message.body, _HEADER)
    ifindex = wire.read_s32(found[_IFINDEX]) if _IFINDEX in found else 0
    names = _NAMES[version].items()
    return [Setting(ifindex, version, name, wire.read_s32(found[kind])) for kind, name in names if kind in found]
