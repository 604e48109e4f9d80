"""The interfaces of this host, as the kernel last told.

A name that comes back with another index is another interface, so it shows as gone and then as new. `flapped` keeps
what a look at the present state alone cannot tell: interfaces that were away for a moment between two looks, and lost
their routes by it.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_openstack.netlink.rtnl_links import Link, LinkEvent, dump_links, read_link
from calico_openstack.netlink.socket import NetlinkSocket


class Links:
    """By name and by index. Not thread-safe: it lives in the apply thread."""

    def __init__(self) -> None:
        self.by_name: dict[str, Link] = {}
        self.by_index: dict[int, Link] = {}
        self._changed: set[str] = set()
        self._flapped: set[str] = set()

    def read(self, connection: NetlinkSocket) -> None:
        """List all interfaces and note the differences."""
        found: dict[str, Link] = {}
        for message in connection.dump(dump_links()):
            event = read_link(message)
            if event is not None:
                found[event.link.name] = event.link
        for name in [name for name in self.by_name if name not in found]:
            self._remove(name)
        for link in found.values():
            self._put(link)

    def apply(self, events: Iterable[LinkEvent]) -> None:
        for link, deleted in events:
            known = self.by_index.get(link.ifindex)
            if known is not None and (deleted or known.name != link.name):
                self._remove(known.name)
            if not deleted:
                self._put(link)

    def take_changes(self) -> tuple[set[str], set[str]]:
        """Names that changed since the last call, and those among them that were away in between."""
        changed, self._changed = self._changed, set()
        flapped, self._flapped = self._flapped, set()
        return changed, flapped

    def carrying(self, name: str) -> Link | None:
        """The interface, if it is there and carries."""
        link = self.by_name.get(name)
        return link if link is not None and link.carries else None

    def _put(self, link: Link) -> None:
        before = self.by_name.get(link.name)
        if before == link:
            return
        if before is not None:
            if before.ifindex != link.ifindex:
                self._remove(link.name)
            elif before.carries and not link.carries:
                self._flapped.add(link.name)
        self.by_name[link.name] = link
        self.by_index[link.ifindex] = link
        self._changed.add(link.name)

    def _remove(self, name: str) -> None:
        link = self.by_name.pop(name)
        # Unless that interface has taken another's name since: then it is known by that.
        if self.by_index.get(link.ifindex) == link:
            del self.by_index[link.ifindex]
        self._changed.add(name)
        self._flapped.add(name)
