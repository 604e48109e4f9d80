"""The doors to the kernel that a dataplane goes through, opened together.

Whoever wants to stop a dataplane between any two operations, or to let it run on a kernel in memory, puts other doors
in their place.
"""

from __future__ import annotations

from dataclasses import dataclass

from calico_openstack.daemon.logs import get_logger
from calico_openstack.felix.kernel.barred import Barred
from calico_openstack.felix.kernel.captures import Captures
from calico_openstack.felix.kernel.conntrack import Conntrack
from calico_openstack.felix.kernel.events import KernelEvents
from calico_openstack.felix.kernel.nft import NftTables
from calico_openstack.felix.kernel.others import Others
from calico_openstack.felix.kernel.sysctl_watch import SysctlWatch
from calico_openstack.felix.kernel.sysctls import Sysctls
from calico_openstack.netlink.socket import ROUTE, NetlinkSocket

log = get_logger("felix.kernel")


@dataclass(slots=True)
class KernelAccess:
    """`route` is a strict rtnetlink socket. What is here belongs to the dataplane, which closes it. Without
    `sysctl_watch` nobody tells at once who writes to sysctls, without `others` nothing of other software is looked at,
    without `captures` no guest is listened to."""

    route: NetlinkSocket
    events: KernelEvents
    tables: NftTables
    sysctls: Sysctls
    conntrack: Conntrack
    barred: Barred
    sysctl_watch: SysctlWatch | None = None
    others: Others | None = None
    captures: Captures | None = None

    @classmethod
    def open(cls) -> KernelAccess:
        """The kernel of this thread's network namespace. OSError if it grants no netlink socket."""
        route = NetlinkSocket(ROUTE, strict=True)
        try:
            watch = SysctlWatch()
        except OSError as error:
            log.warning("sysctls.not_followed", reason=str(error), cure="raise fs.inotify.max_user_instances")
            watch = None
        return cls(route, KernelEvents(), NftTables(), Sysctls(), Conntrack(), Barred(), watch, Others(), Captures())
