"""The host's own interfaces and their host endpoints, kept together while either changes. Lives in the apply thread.

Without host endpoints it does nothing; addresses are listed only while an endpoint is to be found by them, and after
the kernel told of a change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.retry import Retries
from calico_openstack.felix.wanted.host_interfaces import asks_addresses, idle, in_force
from calico_openstack.felix.wanted.state import Changes, Wanted
from calico_openstack.model.net import Net
from calico_openstack.netlink.rtnl_addresses import Address

log = get_logger("felix.own_interfaces")


class OwnInterfaces:
    """`list_addresses` reads all of them; `name_of` knows an interface's index."""

    def __init__(
        self,
        wanted: Wanted,
        list_addresses: Callable[[], Iterable[Address]],
        name_of: Callable[[int], str | None],
        is_tap: Callable[[str], bool],
    ) -> None:
        self._wanted = wanted
        self._list_addresses = list_addresses
        self._name_of = name_of
        self._is_tap = is_tap
        self._addresses: dict[str, set[Net]] = {}
        self._dirty = True
        self._idle: dict[str, str] = {}
        self.failures = Retries[str]()

    def happened(self) -> None:
        """Some interface or address is another."""
        self._dirty = True

    def settle(self, changes: Changes, now: float) -> None:
        """Add to the batch, and to what is wanted, on which interfaces other endpoints are in force now. If addresses
        cannot be listed, endpoints that ask for them are in force nowhere new until that works again."""
        changed = bool(changes.host_endpoints or changes.host_endpoints_removed)
        endpoints = self._wanted.host_endpoints.values()
        dirty = self._dirty or bool(self.failures.due(now))
        if not changed and not (dirty and endpoints):
            return
        self._dirty = False
        if asks_addresses(endpoints):
            try:
                self._addresses = self._listed()
            except OSError as error:
                failure = self.failures.failed("addresses", str(error), now)
                log.warning("addresses.unread", reason=failure.reason, again_in=failure.pause)
            else:
                self.failures.succeeded("addresses")
        else:
            self.failures.succeeded("addresses")
        found, before = in_force(endpoints, self._addresses, self._is_tap), self._wanted.host_interfaces
        difference = Changes(
            host_interfaces={interface: name for interface, name in found.items() if before.get(interface) != name},
            host_interfaces_removed=before.keys() - found.keys(),
        )
        changes.host_interfaces.update(difference.host_interfaces)
        changes.host_interfaces_removed |= difference.host_interfaces_removed
        self._wanted.apply(difference)
        told, self._idle = self._idle, idle(endpoints, found, self._is_tap)
        for name, reason in sorted(self._idle.items() - told.items()):
            log.warning("host_endpoint.idle", name=name, reason=reason)

    def _listed(self) -> dict[str, set[Net]]:
        found: dict[str, set[Net]] = {}
        for address in self._list_addresses():
            name = self._name_of(address.ifindex)
            if name is not None:
                found.setdefault(name, set()).add(address.address)
        return found
