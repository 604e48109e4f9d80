"""What goes into etcd and comes out of it, as plain values.

Keys are text, values are bytes; a revision is etcd's store-wide counter, a key's `mod_revision` the store
revision of its last change, and 0 stands for "absent". Nothing here knows gRPC, a clock or a connection; the
errors are in `calico_openstack.etcd.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

MAX_OPERATIONS = 128
"""How many compares, and how many operations, one transaction may have (etcd's default `--max-txn-ops`)."""

DEFAULT_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """How etcd is reached.

    An endpoint is `http://host:port`, `https://host:port`, or `host:port`; the bare form means TLS when one of the
    three files is set. `timeout` is the time one call may take altogether, in seconds, with all its retries.
    """

    endpoints: tuple[str, ...] = ("http://127.0.0.1:2379",)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: float = DEFAULT_TIMEOUT


class KeyValue(NamedTuple):
    """One stored key. `version` counts the changes since creation (1 = just created); `lease` is 0 for none."""

    key: str
    value: bytes
    mod_revision: int
    version: int
    create_revision: int
    lease: int = 0


class Event(NamedTuple):
    """One change of one key; `value` is None when the key was deleted."""

    key: str
    value: bytes | None
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All keys under some prefixes as they were at one revision, in key order within each prefix."""

    items: list[KeyValue]
    revision: int


class Found(NamedTuple):
    """The answer of `get_many`: the keys that exist, and the revision at which all were read.

    It unpacks: `items, revision = client.get_many(keys)`.
    """

    items: dict[str, KeyValue]
    revision: int


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A compare: the key still has this `mod_revision`; 0 = the key must be absent."""

    key: str
    mod_revision: int


@dataclass(frozen=True, slots=True)
class CreatedAt:
    """A compare: the key exists and is the one created at this revision (a fence: not deleted and made anew since)."""

    key: str
    create_revision: int


Compare: TypeAlias = Unchanged | CreatedAt


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    key: str


@dataclass(frozen=True, slots=True)
class DeletePrefix:
    prefix: str


@dataclass(frozen=True, slots=True)
class Get:
    key: str


Operation: TypeAlias = Put | Delete | DeletePrefix | Get


@dataclass(frozen=True, slots=True)
class TxnResult:
    """What a transaction did.

    `succeeded`: all compares held and `operations` ran; otherwise `otherwise` ran. `found` has the answers of the
    `Get`s among the operations that ran, by key; a key that was absent is missing. `revision` is the store revision
    after the transaction.
    """

    succeeded: bool
    revision: int
    found: Mapping[str, KeyValue] = field(default_factory=dict)


class WatchBatch(NamedTuple):
    """Events of one prefix that belong together: whole revisions, in order of revision.

    An empty batch is news too: nothing happened under the prefix up to `revision`.
    """

    prefix: str
    events: list[Event]
    revision: int
