"""Compare and swap, so that many writers need no lock: read the keys, decide, write if nobody else has, else again.

`decide` is called *after* the keys were read; a caller that reads its source of truth (Neutron's database)
inside `decide` has therefore always seen everything that the last writer of the keys had seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.errors import EtcdError
from calico_openstack.etcd.values import Compare, KeyValue, Operation, TxnResult, Unchanged

ATTEMPTS = 5
"""Upstream's driver gives up after as many (MAX_CAS_ATTEMPTS) and leaves the rest to its next resync."""

Decide = Callable[[Mapping[str, KeyValue]], Sequence[Operation]]


class Contended(EtcdError):
    """Other writers were faster each time; the keys are as one of them left them."""


def swap(
    client: BlockingClient,
    keys: Iterable[str],
    decide: Decide,
    *,
    fence: Sequence[Compare] = (),
    attempts: int = ATTEMPTS,
    timeout: float | None = None,
) -> TxnResult | None:
    """Read `keys` (at most 128), ask `decide`, and write its operations if none of the keys has changed meanwhile.

    None when `decide` wants nothing. `fence`: further compares, such as "I am still the leader"; if one of these does
    not hold, trying again is in vain as well and ends in `Contended`. `timeout` is per call. Safe after an ambiguous
    failure: the next reading shows whether the write had happened.
    """
    wanted = list(dict.fromkeys(keys))
    for _ in range(attempts):
        found = client.get_many(wanted, timeout=timeout).items
        operations = decide(found)
        if not operations:
            return None
        compares = [Unchanged(key, found[key].mod_revision if key in found else 0) for key in wanted]
        result = client.txn([*compares, *fence], operations, timeout=timeout)
        if result.succeeded:
            return result
    raise Contended(f"others changed it {attempts} times in a row; try later", about=wanted[0] if wanted else "")
