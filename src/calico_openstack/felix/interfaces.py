"""The host's interfaces as the dataplane asks for them: listed once, followed by events, listed again when in doubt.

Until a list can be read, those known are all that there are. Lives in the apply thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.retry import Retries
from calico_openstack.felix.kernel.links import Links
from calico_openstack.netlink.rtnl_links import Link, LinkEvent
from calico_openstack.netlink.socket import NetlinkSocket

log = get_logger("felix.interfaces")


class Interfaces:
    """`is_tap_name`: whether an interface of that name is a guest's. `failures`: why they cannot be listed."""

    def __init__(self, connection: NetlinkSocket, is_tap_name: Callable[[str], bool]) -> None:
        self._connection = connection
        self.is_tap_name = is_tap_name
        self.links = Links()
        self.failures = Retries[str]()
        self._listed = False

    def doubt(self) -> None:
        """Events may have been missed."""
        self._listed = False

    def update(self, events: Iterable[LinkEvent], now: float) -> None:
        self.links.apply(events)
        if self._listed:
            return
        try:
            self.links.read(self._connection)
        except OSError as error:
            failure = self.failures.failed("links", str(error), now)
            log.warning("links.unread", reason=failure.reason, again_in=failure.pause)
        else:
            self.failures.succeeded("links")
            self._listed = True

    def name_of(self, ifindex: int) -> str | None:
        link = self.links.by_index.get(ifindex)
        return link.name if link is not None else None

    def is_tap(self, ifindex: int) -> bool:
        name = self.name_of(ifindex)
        return name is not None and self.is_tap_name(name)

    def carrying_tap(self, name: str) -> Link | None:
        """The interface if it carries and belongs to guests: an endpoint cannot claim one of the host's own."""
        return self.links.carrying(name) if self.is_tap_name(name) else None
