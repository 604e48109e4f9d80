"""Which endpoints are up: said only after the kernel has shown what was programmed for them.

An endpoint is up if its tap carries, the firewall took the batch, nothing of its own failed, and the kernel shows its
routes. What is amiss is kept in a ledger and looked at again after a growing pause. Lives in the apply thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.reconcile import Reconciler
from calico_openstack.daemon.retry import Retries
from calico_openstack.felix.firewall import Firewall
from calico_openstack.felix.kernel.routes import Routes
from calico_openstack.felix.taps import Taps
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.netlink.rtnl_routes import Route

log = get_logger("felix.read_back")

Statuses = list[tuple[EndpointKey, bool]]


class ReadBack:
    """`keepers` are those of routes and neighbours: what failed there for a tap keeps its endpoint down."""

    def __init__(self, taps: Taps, firewall: Firewall, routes: Routes, keepers: Iterable[Reconciler[Any, Any]]) -> None:
        self._taps = taps
        self._firewall = firewall
        self._routes = routes
        self._keepers = tuple(keepers)
        self._up: dict[EndpointKey, bool] = {}
        self.failures = Retries[str]()

    def forget(self, keys: Iterable[EndpointKey]) -> None:
        """These endpoints are gone."""
        for key in keys:
            self._up.pop(key, None)

    def interrupted(self, flapped: set[str]) -> Statuses:
        """Endpoints that were up and whose tap was away, be it only for a moment: Neutron must see that."""
        owners = {self._taps.owners[name].key: name for name in flapped if name in self._taps.owners}
        interrupted = [key for key in owners if self._up.get(key)]
        for key in interrupted:
            log.info("endpoint.interrupted", interface=owners[key])
        self._up.update(dict.fromkeys(interrupted, False))
        return [(key, False) for key in interrupted]

    def prove(self, dirty: set[str], protected: bool, failures: Mapping[str, str], now: float) -> Statuses:
        """Read back what was programmed for these interfaces; the endpoints whose status changed by it."""
        programmed = {name: self._taps.programmed[name].ifindex for name in dirty if name in self._taps.programmed}
        present, unread = self._present(programmed.values())
        changed = []
        for name in dirty:
            owner = self._taps.owners.get(name)
            if owner is None:
                self.failures.succeeded(name)
                continue
            reason = failures.get(name) or self._firewall.refused.get(owner.key)
            if name in programmed:
                reason = reason or unread or self._reason(name, programmed[name], protected, present)
            if reason is not None:
                self.failures.failed(name, reason, now)
            elif self.failures.succeeded(name):
                log.info("endpoint.recovered", interface=name)
            up = name in programmed and reason is None
            if self._up.get(owner.key) is not up:
                self._up[owner.key] = up
                changed.append((owner.key, up))
                if up:
                    log.info("endpoint.up", interface=name)
                else:
                    log.info("endpoint.down", interface=name, reason=reason or "its interface is not there or not up")
        return changed

    def _present(self, ifindexes: Collection[int]) -> tuple[set[Route], str | None]:
        """The routes of these interfaces as the kernel shows them, or why it does not."""
        try:
            return (self._routes.present(ifindexes) if ifindexes else set()), None
        except OSError as error:
            log.warning("routes.unread", reason=str(error))
            return set(), f"the routes cannot be read back: {error}"

    def _reason(self, name: str, ifindex: int, protected: bool, present: set[Route]) -> str | None:
        """Why an endpoint whose tap carries is not up; None if it is."""
        if not protected:
            return self._firewall.trouble or "the firewall could not be programmed"
        for keeper in self._keepers:
            for _, trouble in keeper.trouble:
                return trouble.reason
            for failed, failure in keeper.failures:
                if failed.ifindex == ifindex:
                    return failure.reason
        missing = self._taps.expected_routes(name) - present
        if missing:
            return f"{len(missing)} routes are missing, the first to {min(missing).destination}"
        return None
