"""Which part an endpoint of this host plays in a live migration.

A LiveMigration names two endpoints: the one that the guest leaves and the one that it comes to. It is named after the
target, so several may name one endpoint as their source, or, for a moment, name it on both sides. To be a target counts
more (upstream felix/calc/live_migration_calculator.go): a host that announces a guest which has not arrived does harm,
one that keeps announcing a guest which leaves does not.
"""

from __future__ import annotations

from calico_openstack.felix.wanted.state import Role
from calico_openstack.model.endpoint import EndpointKey, LiveMigration

Name = tuple[str, str]
"""Namespace and name of the resource."""


class MigrationRoles:
    """Live migrations by their name, and by the endpoints that they name."""

    def __init__(self) -> None:
        self._migrations: dict[Name, LiveMigration] = {}
        self._targets: dict[EndpointKey, set[Name]] = {}
        self._sources: dict[EndpointKey, set[Name]] = {}

    def set_migration(self, name: Name, migration: LiveMigration | None) -> set[EndpointKey]:
        """What is stored under the name now; the endpoints whose role may be another by it."""
        touched: set[EndpointKey] = set()
        before = self._migrations.pop(name, None)
        if before is not None:
            for index, key in ((self._targets, before.target), (self._sources, before.source)):
                if key is not None:
                    touched.add(key)
                    index[key].discard(name)
                    if not index[key]:
                        del index[key]
        if migration is not None:
            self._migrations[name] = migration
            for index, key in ((self._targets, migration.target), (self._sources, migration.source)):
                if key is not None:
                    touched.add(key)
                    index.setdefault(key, set()).add(name)
        return touched

    def role(self, key: EndpointKey) -> Role:
        if key in self._targets:
            return "target"
        return "source" if key in self._sources else "none"
