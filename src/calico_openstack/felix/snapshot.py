"""A running Felix at one instant, copied so that it can be read in peace.

The copies are made in the loop, while the apply thread may go on changing the originals: each is one step of the
interpreter, and one object may be a step newer than another. A dataplane that hangs can be looked at, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from calico_openstack.felix.dataplane import Dataplane
from calico_openstack.felix.rows import words
from calico_openstack.felix.running import Running
from calico_openstack.felix.tables import Move, Pending, Snapshot
from calico_openstack.felix.wanted.migration import Phase
from calico_openstack.felix.wanted.state import Wanted
from calico_openstack.model.endpoint import EndpointKey


def snapshot(running: Running, now: float) -> Snapshot:
    """`now` in monotonic seconds."""
    dataplane = running.dataplane
    known = dataplane.wanted if dataplane is not None else Wanted()
    endpoints = known.endpoints.copy()
    return Snapshot(
        settings=running.settings,
        origins=dict(running.origins),
        endpoints=endpoints,
        statuses=dict(running.statuses),
        downs=_downs(running),
        host_endpoints=known.host_endpoints.copy(),
        host_interfaces=known.host_interfaces.copy(),
        policies=known.policies.copy(),
        profiles=known.profiles.copy(),
        sets={set_id: len(members) for set_id, members in known.sets.copy().items()},
        pending=tuple(_pending(running, now)),
        documents=dict(running.store.complaints),
        health=running.health.table(),
        obstacles=dataplane.surroundings.obstacles if dataplane is not None else (),
        moves=tuple(_moves(dataplane, now)) if dataplane is not None else (),
    )


def _moves(dataplane: Dataplane, now: float) -> Iterator[Move]:
    endpoints = dataplane.wanted.endpoints.copy()
    for key, progress in dataplane.arrivals.moving().items():
        interface = endpoints[key].interface if key in endpoints else "-"
        state = progress.role if progress.phase is Phase.BASE else progress.phase.value
        yield Move(interface, words(key), state, progress.until - now if progress.until is not None else None)
    for interface, watch in dataplane.arrivals.listening().items():
        if watch.claimable:
            yield Move(interface, words(watch.claimable), "may claim")


def _downs(running: Running) -> dict[EndpointKey, str]:
    """Why endpoints of this host are not programmed, or not up."""
    downs = dict.fromkeys(running.store.living - running.programmed, "not programmed")
    if running.store.not_ready is not None:
        downs = dict.fromkeys(downs, running.store.not_ready)
    downs.update(running.absences)
    dataplane = running.dataplane
    if dataplane is None:
        return downs
    reasons = dict(dataplane.ledgers()["interface"])
    for interface, endpoint in dataplane.taps.owners.copy().items():
        if running.statuses.get(endpoint.key):
            continue
        failure = reasons.get(interface)
        if failure is not None:
            downs[endpoint.key] = failure.reason
        elif interface not in dataplane.taps.programmed:
            downs[endpoint.key] = "its interface is not there or does not carry"
    return downs


def _pending(running: Running, now: float) -> list[Pending]:
    if running.dataplane is None:
        return []
    return [
        Pending(kind, words(key), now - failure.since, failure.due - now, failure.reason)
        for kind, ledger in running.dataplane.ledgers().items()
        for key, failure in ledger
    ]
