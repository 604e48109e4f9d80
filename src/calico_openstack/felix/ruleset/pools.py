"""Address pools as sets: what is inside the cloud, which of it is translated on its way out, who the hosts are.

A disabled pool counts like any other: "disabled" is for address management, and operators use such pools to say
"these destinations are inside". Pools are few, so each change writes the sets anew; the draft sends what differs.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_openstack.felix.ruleset import named_sets
from calico_openstack.felix.ruleset.draft import Draft
from calico_openstack.felix.ruleset.fields import last_address
from calico_openstack.felix.ruleset.objects import Key, SetSpec, Value
from calico_openstack.felix.ruleset.ranges import disjoint
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.state import Wanted
from calico_openstack.model.net import Net


def write_pools(draft: Draft, wanted: Wanted, settings: RulesetSettings) -> None:
    """The sets are there afterwards, perhaps empty."""
    hosts = [net for nets in wanted.hosts.values() for net in nets] if settings.nat_excludes_hosts else []
    for version in (4, 6):
        inside = [pool.cidr for pool in wanted.pools.values()]
        translated = [pool.cidr for pool in wanted.pools.values() if pool.nat_outgoing]
        _write(draft, named_sets.POOLS[version], _of(version, inside))
        _write(draft, named_sets.TRANSLATED[version], _of(version, translated))
        _write(draft, named_sets.HOSTS[version], _of(version, hosts))


def _of(version: int, nets: Iterable[Net]) -> Iterable[Net]:
    return disjoint(net for net in nets if net.version == version)


def _write(draft: Draft, spec: SetSpec, nets: Iterable[Net]) -> None:
    elements: dict[Key, Value] = {(net.packed, last_address(net)): None for net in nets}
    draft.put_set(spec)
    draft.put_elements(spec.name, elements)
