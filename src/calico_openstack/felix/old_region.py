"""What this host's reports leave behind when `OpenstackRegion` becomes another: its keys below the old region.

An endpoint that still lives in the old region keeps its word there, as a region that was changed by mistake must not
cost its ports: Neutron takes a missing key of a port for an error. All else of this host goes, above all the sign
of life, which nobody renews there any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set

from calico_openstack.daemon.logs import get_logger
from calico_openstack.etcd.aio import AsyncClient
from calico_openstack.etcd.errors import EtcdError
from calico_openstack.etcd.values import Delete, Operation
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import EndpointStatusKey, parse_key, status_prefix
from calico_openstack.model.names import namespace_for, region_string

log = get_logger("felix.status")

_TRIES = 5
_PAUSE = 1.0
_AT_ONCE = 100


async def leave(client: AsyncClient, region: str | None, host: str, living: Set[EndpointKey]) -> None:
    """Delete them; tried a few times, then left to the operator with a warning. `living`: endpoints of this host."""
    prefix = f"{status_prefix(region)}{host}/"
    for _ in range(_TRIES):
        try:
            snapshot = await client.snapshot(prefix)
            gone = stale([item.key for item in snapshot.items], region, living)
            operations: list[Operation] = [Delete(key) for key in gone]
            for start in range(0, len(operations), _AT_ONCE):
                await client.txn((), operations[start : start + _AT_ONCE])
        except EtcdError as error:
            reason = str(error)
            await asyncio.sleep(_PAUSE)
            continue
        log.info("region.left", region=region_string(region), keys=len(gone))
        return
    log.warning("region.not_left", reason=reason, cure=f"delete what is below {prefix} by hand")


def stale(keys: list[str], region: str | None, living: Set[EndpointKey]) -> list[str]:
    """Those of the keys that nobody needs in a region that the host has left."""
    here = {EndpointStatusKey(region, key).path for key in living if key.namespace == namespace_for(region)}
    return [key for key in keys if key not in here and parse_key(key) is not None]
