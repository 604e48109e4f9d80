"""Requests from values, and values from answers. Pure; the only file besides `feed` that names protobuf fields."""

from __future__ import annotations

from collections.abc import Sequence

from calico_openstack.etcd import wire
from calico_openstack.etcd.errors import Rejected
from calico_openstack.etcd.values import (
    MAX_OPERATIONS,
    Compare,
    CreatedAt,
    Delete,
    DeletePrefix,
    Event,
    Get,
    KeyValue,
    Operation,
    Put,
    TxnResult,
)
from calico_openstack.etcd.wire import Message

_EQUAL = 0  # Compare.CompareResult
_VERSION, _CREATE, _MOD = 0, 1, 2  # Compare.CompareTarget
_DELETED = 1  # Event.EventType


def raw(key: str) -> bytes:
    """A key as bytes. Keys of other writers that are no UTF-8 survive the way through text (PEP 383)."""
    return key.encode(errors="surrogateescape")


def text(key: bytes) -> str:
    return key.decode(errors="surrogateescape")


def prefix_end(prefix: str) -> bytes:
    """The first key after all keys with this prefix (etcd's `range_end`); `\\0` means "to the end of all keys"."""
    end = bytearray(raw(prefix))
    while end:
        if end[-1] < 0xFF:
            end[-1] += 1
            return bytes(end)
        end.pop()
    return b"\0"


def get_request(key: str, revision: int = 0) -> Message:
    return wire.new("RangeRequest", key=raw(key), revision=revision)


def page_request(start: bytes, end: bytes, revision: int, limit: int) -> Message:
    """One page of the keys from `start` to before `end`. Linearizable: never older than the last finished write."""
    return wire.new("RangeRequest", key=start, range_end=end, revision=revision, limit=limit)


def put_request(key: str, value: bytes, lease: int) -> Message:
    return wire.new("PutRequest", key=raw(key), value=value, lease=lease)


def delete_request(key: str) -> Message:
    return wire.new("DeleteRangeRequest", key=raw(key))


def delete_prefix_request(prefix: str) -> Message:
    return wire.new("DeleteRangeRequest", key=raw(prefix) or b"\0", range_end=prefix_end(prefix))


def txn_request(
    compares: Sequence[Compare], operations: Sequence[Operation], otherwise: Sequence[Operation]
) -> Message:
    """Raises `Rejected`, before anything is sent, if a part has more than etcd's 128 members."""
    for what, part in (("compares", compares), ("operations", operations), ("operations", otherwise)):
        if len(part) > MAX_OPERATIONS:
            first = getattr(part[0], "key", "")
            raise Rejected(
                f"{len(part)} {what} in one transaction, etcd takes {MAX_OPERATIONS}: split it", about=str(first)
            )
    return wire.new(
        "TxnRequest",
        compare=[_compare(compare) for compare in compares],
        success=[_operation(operation) for operation in operations],
        failure=[_operation(operation) for operation in otherwise],
    )


def key_value(kv: Message) -> KeyValue:
    return KeyValue(text(kv.key), kv.value, kv.mod_revision, kv.version, kv.create_revision, kv.lease)


def event(message: Message) -> Event:
    kv = message.kv
    return Event(text(kv.key), None if message.type == _DELETED else kv.value, kv.mod_revision)


def txn_result(answer: Message) -> TxnResult:
    found = {
        kv.key: kv
        for response in answer.responses
        if response.WhichOneof("response") == "response_range"
        for kv in map(key_value, response.response_range.kvs)
    }
    return TxnResult(answer.succeeded, answer.header.revision, found)


def _compare(compare: Compare) -> Message:
    key = raw(compare.key)
    if isinstance(compare, CreatedAt):
        return wire.new("Compare", result=_EQUAL, target=_CREATE, key=key, create_revision=compare.create_revision)
    if compare.mod_revision == 0:
        # "Absent" is asked as version == 0, as upstream's clients do.
        return wire.new("Compare", result=_EQUAL, target=_VERSION, key=key, version=0)
    return wire.new("Compare", result=_EQUAL, target=_MOD, key=key, mod_revision=compare.mod_revision)


def _operation(operation: Operation) -> Message:
    match operation:
        case Put(key, value, lease):
            return wire.new("RequestOp", request_put=put_request(key, value, lease))
        case Delete(key):
            return wire.new("RequestOp", request_delete_range=delete_request(key))
        case DeletePrefix(prefix):
            return wire.new("RequestOp", request_delete_range=delete_prefix_request(prefix))
        case Get(key):
            return wire.new("RequestOp", request_range=get_request(key))
