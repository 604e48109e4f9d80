"""The kernel's ipsets by nfnetlink: names, and removal (linux/netfilter/ipset/ip_set.h). Needs CAP_NET_ADMIN.

A kernel that has no ipset loaded is not asked: the question would load it. A set that a rule uses cannot be
removed (IPSET_ERR_BUSY), also for a moment after that rule is gone. Each removal waits for the packets under way, some
milliseconds.
"""

from __future__ import annotations

import errno
import time
from pathlib import Path

from calico_openstack.netlink.socket import NetlinkError, NetlinkSocket
from calico_openstack.netlink.wire import Request, attributes, be32, read_text, text, u8

_SUBSYSTEM = 6 << 8
_DESTROY, _LIST = 3, 7
_PROTOCOL, _NAME, _FLAGS = 1, 2, 6
_NAMES_ONLY = 1 << 1  # IPSET_FLAG_LIST_SETNAME
_HEADER = bytes(4)
_VERSION = 6
_BUSY = 4100  # IPSET_ERR_BUSY


def loaded(sys: Path = Path("/sys/module/ip_set")) -> bool:
    return sys.exists()


def names(connection: NetlinkSocket) -> list[str]:
    """The names of all sets of this network namespace; none where ipset is not loaded."""
    if not loaded():
        return []
    body = _HEADER + u8(_PROTOCOL, _VERSION) + be32(_FLAGS, _NAMES_ONLY)
    found = (attributes(answer.body, len(_HEADER)) for answer in connection.dump(Request(_SUBSYSTEM | _LIST, 0, body)))
    return [read_text(one[_NAME]) for one in found if _NAME in one]


def destroy(connection: NetlinkSocket, unwanted: list[str], seconds: float) -> dict[str, str]:
    """Remove sets, one after the other, for so long at most; those that are still there, and why."""
    left = {}
    begun = time.monotonic()
    for name in unwanted:
        if time.monotonic() - begun > seconds:
            left[name] = "its turn comes"
            continue
        try:
            connection.request(Request(_SUBSYSTEM | _DESTROY, 0, _HEADER + u8(_PROTOCOL, _VERSION) + text(_NAME, name)))
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                left[name] = "in use by rules" if error.errno == _BUSY else str(error)
    return left
