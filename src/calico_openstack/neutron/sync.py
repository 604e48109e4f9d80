"""Makes etcd agree with the database, for some objects: the one way in which this driver writes documents.

    1. read the stored documents and their revisions       (one etcd transaction)
    2. read the objects from the database                   (after 1)
    3. translate
    4. equal: done; else write, if the revisions of 1 still hold; else again from 1

An event, a retry, the periodic check and an audit all end here, so there is one idea of what should exist. Because 1
comes before 2, a writer that read an old row loses against whoever wrote after reading a newer one; no lock is needed
between processes or controllers. One gap is left: a writer that found nothing to write cannot make a slower one fail
(the row changed and changed back). `Background` closes it by looking at everything written once more.

A port's documents name the policies of its security groups. A policy that is not stored yet is written in the same
transaction, before the endpoint.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, Protocol

from oslo_log import log

from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.errors import EtcdError
from calico_openstack.etcd.values import Delete, Operation, Put, Unchanged
from calico_openstack.neutron.translate.document import Documents, Refusal, Wanted, compose, merged
from calico_openstack.neutron.translate.endpoints import Surroundings, port_documents, slot_keys
from calico_openstack.neutron.translate.labels import Project
from calico_openstack.neutron.translate.security_groups import group_documents, policy_key
from calico_openstack.neutron.translate.site import Site
from calico_openstack.neutron.translate.slots import Slot, slots
from calico_openstack.neutron.translate.subnets import subnet_documents, subnet_key

LOG = log.getLogger(__name__)

Row = Mapping[str, Any]
Kind = Literal["port", "group", "subnet"]
ATTEMPTS: Final = 10
WRITES_PER_TRANSACTION: Final = 100
"""Below etcd's default limit of 128 operations in one transaction."""


class Ref(NamedTuple):
    """One Neutron object whose documents may have to change."""

    kind: Kind
    id: str


Changes = Mapping[Ref, frozenset[Slot]]
"""What may have changed; for a port, the slots that it had before (its row no longer tells)."""


class Unfinished(EtcdError):
    """etcd answers, but there was no end within the time or the number of attempts; trying again may help."""


class Reader(Protocol):
    """The part of `database` that is used here; each call sees what was committed before it."""

    def ports(self, ids: Iterable[str]) -> Mapping[str, Row]: ...
    def surroundings(self, rows: Collection[Row], projects: Mapping[str, Project]) -> Surroundings: ...
    def security_group_rules(self, group_ids: Iterable[str]) -> Mapping[str, Sequence[Row]]: ...
    def address_groups(self, ids: Iterable[str]) -> Mapping[str, Sequence[str]]: ...
    def subnets(self, ids: Iterable[str]) -> Mapping[str, Row]: ...


@dataclass(slots=True)
class Outcome:
    """What a sync did. `failed`: objects that could not be translated, with the reason; everything else is right
    now.
    """

    written: set[Ref] = field(default_factory=set)
    refusals: list[Refusal] = field(default_factory=list)
    failed: dict[Ref, str] = field(default_factory=dict)
    operations: int = 0


class Synchroniser:
    """`known_projects` answers, without waiting, what is known of some project ids (and may go and ask for the
    rest).
    """

    def __init__(
        self,
        store: BlockingClient,
        site: Site,
        reader: Reader,
        known_projects: Callable[[set[str]], Mapping[str, Project]] = lambda ids: {},
    ) -> None:
        self.store = store
        self.site = site
        self._known_projects = known_projects
        self._reader = reader

    def sync(self, changes: Changes, timeout: float | None = None) -> Outcome:
        """Raises EtcdError: `Unavailable` if etcd does not answer, `Unfinished` if something else took the `timeout`
        seconds or other writers were always faster. What was written until then is right.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pending = dict(changes)
        keys = set(self._first_keys(pending))
        conflicts, touched = 0, set[str]()
        while True:
            stored = self.store.get_many(sorted(keys), timeout=_left(deadline)).items
            outcome = Outcome()
            documents, policies = self.translate(pending, outcome)
            by_key = merged(documents.values())
            unread = by_key.keys - keys
            if unread:
                # The row has moved to where nobody expected it: those keys must be read before the row is.
                keys |= unread
                continue
            groups = self._groups_without_policy(policies, stored, deadline) - pending.keys()
            if groups:
                pending.update((ref, frozenset()) for ref in groups)
                keys.update(policy_key(self.site, ref.id) for ref in groups)
                continue
            if self._write(by_key, stored, outcome, touched, deadline):
                outcome.written = {ref for ref, own in documents.items() if own.keys & touched}
                return outcome
            conflicts += 1
            if conflicts >= ATTEMPTS:
                raise Unfinished(f"{ATTEMPTS} writes in a row met a newer one", about=str(next(iter(pending))))

    def _groups_without_policy(
        self, policies: Mapping[str, str], stored: Mapping[str, Any], deadline: float | None
    ) -> set[Ref]:
        """Groups of the ports at hand whose policy is not stored. A stored one is kept right by the group's own
        events.
        """
        unread = policies.keys() - stored.keys()
        found = self.store.get_many(sorted(unread), timeout=_left(deadline)).items if unread else {}
        return {Ref("group", policies[key]) for key in unread if key not in found}

    def translate(self, changes: Changes, outcome: Outcome) -> tuple[dict[Ref, Documents], dict[str, str]]:
        """The documents of each object by the database as it is now, and the policy keys (with group ids) that they
        rely on. An object that cannot be translated is noted in `outcome` and left out.
        """
        ids: dict[str, set[str]] = {"port": set(), "group": set(), "subnet": set()}
        for ref in changes:
            ids[ref.kind].add(ref.id)
        rows = self._reader.ports(ids["port"]) if ids["port"] else {}
        wanted_rows = [row for row in rows.values() if slots(row).wanted]
        project_ids = {str(row.get("project_id") or "") for row in wanted_rows} - {""}
        around = self._reader.surroundings(wanted_rows, self._known_projects(project_ids))
        rules = self._reader.security_group_rules(ids["group"]) if ids["group"] else {}
        address_group_ids = {
            str(rule["remote_address_group_id"])
            for some in rules.values()
            for rule in some
            if rule.get("remote_address_group_id")
        }
        address_groups = self._reader.address_groups(address_group_ids) if address_group_ids else {}
        subnets = self._reader.subnets(ids["subnet"]) if ids["subnet"] else {}
        documents: dict[Ref, Documents] = {}
        for ref, seen in sorted(changes.items()):
            try:
                if ref.kind == "group":
                    documents[ref] = group_documents(self.site, ref.id, rules.get(ref.id), address_groups)
                elif ref.kind == "subnet":
                    documents[ref] = subnet_documents(self.site, ref.id, subnets.get(ref.id))
                else:
                    documents[ref] = port_documents(self.site, ref.id, rows.get(ref.id), around, seen)
            except Exception as error:
                LOG.exception("Cannot translate %s %s; its documents stay as they are", ref.kind, ref.id)
                outcome.failed[ref] = f"{type(error).__name__}: {error}"
            else:
                outcome.refusals.extend(documents[ref].refusals)
        policies = {
            policy_key(self.site, str(group)): str(group)
            for row in wanted_rows
            if documents.get(Ref("port", str(row["id"])), Documents()).present
            for group in row.get("security_groups") or ()
        }
        return documents, policies

    def keys(self, changes: Changes) -> set[str]:
        """Every key that these objects have or may have had, by the database as it is now."""
        documents, _ = self.translate(changes, Outcome())
        return set(self._first_keys(changes)).union(*(own.keys for own in documents.values()))

    def operations(
        self, wanted: Iterable[Wanted], absent: Iterable[str], stored: Mapping[str, Any]
    ) -> list[tuple[Unchanged, Operation]]:
        """What differs from `stored` (KeyValues by key), in the order to write: documents first, then deletions."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        result: list[tuple[Unchanged, Operation]] = []
        for document in wanted:
            old = stored.get(document.key)
            value = compose(old.value if old else None, document, now, str(uuid.uuid4()))
            if value is not None:
                result.append((Unchanged(document.key, old.mod_revision if old else 0), Put(document.key, value)))
        for key in sorted(absent):
            if key in stored:
                result.append((Unchanged(key, stored[key].mod_revision), Delete(key)))
        return result

    def _write(
        self,
        by_key: Documents,
        stored: Mapping[str, Any],
        outcome: Outcome,
        touched: set[str],
        deadline: float | None,
    ) -> bool:
        """Whether all is written; False after a conflict. `touched` collects the keys that were tried, in all attempts:
        one that fails may have written (several transactions, or an answer that was lost).
        """
        # Policies first, then the rest in the order of translation: a Felix never meets an endpoint before its policy.
        ordered = sorted(by_key.present, key=lambda wanted: wanted.kind not in ("NetworkPolicy", "Profile"))
        todo = self.operations(ordered, by_key.absent, stored)
        for at in range(0, len(todo), WRITES_PER_TRANSACTION):
            some = todo[at : at + WRITES_PER_TRANSACTION]
            touched |= {compare.key for compare, _ in some}
            result = self.store.txn(
                [compare for compare, _ in some], [operation for _, operation in some], timeout=_left(deadline)
            )
            if not result.succeeded:
                return False
        outcome.operations = len(todo)
        return True

    def _first_keys(self, changes: Changes) -> Iterable[str]:
        for ref, seen in changes.items():
            if ref.kind == "group":
                yield policy_key(self.site, ref.id)
            elif ref.kind == "subnet":
                yield subnet_key(self.site, ref.id)
            else:
                for slot in seen:
                    yield from slot_keys(self.site, ref.id, slot)


def _left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise Unfinished("no time left for this request")
    return left
