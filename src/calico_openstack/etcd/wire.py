"""etcd's wire interface: the messages and field numbers that this room uses, and no others.

The numbers are the public v3 API (etcd `api/etcdserverpb/rpc.proto`, `api/mvccpb/kv.proto`). The classes are
built when the module is imported, in a *private* descriptor pool: no generated code whose version could
disagree with the installed protobuf, and no name in protobuf's global pool, where a second etcd client in the
same process (Neutron's is not ours alone) would collide with it. Enumerations travel as plain integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Message: TypeAlias = Any
"""A protobuf message of the classes below. They are made at run time, so a type checker cannot know their fields."""

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bytes": _Field.TYPE_BYTES,
    "string": _Field.TYPE_STRING,
    "int64": _Field.TYPE_INT64,
    "uint64": _Field.TYPE_UINT64,
    "bool": _Field.TYPE_BOOL,
    "enum": _Field.TYPE_INT32,
}

# One field per entry: number, type, name; `*` before the type = repeated, `name/oneof` = member of that oneof.
_MESSAGES: dict[str, str] = {
    "ResponseHeader": "1 uint64 cluster_id, 2 uint64 member_id, 3 int64 revision, 4 uint64 raft_term",
    "KeyValue": (
        "1 bytes key, 2 int64 create_revision, 3 int64 mod_revision, 4 int64 version, 5 bytes value, 6 int64 lease"
    ),
    "Event": "1 enum type, 2 KeyValue kv",
    "RangeRequest": (
        "1 bytes key, 2 bytes range_end, 3 int64 limit, 4 int64 revision, 7 bool serializable, 8 bool keys_only,"
        " 9 bool count_only"
    ),
    "RangeResponse": "1 ResponseHeader header, 2 *KeyValue kvs, 3 bool more, 4 int64 count",
    "PutRequest": "1 bytes key, 2 bytes value, 3 int64 lease",
    "PutResponse": "1 ResponseHeader header",
    "DeleteRangeRequest": "1 bytes key, 2 bytes range_end",
    "DeleteRangeResponse": "1 ResponseHeader header, 2 int64 deleted",
    "RequestOp": (
        "1 RangeRequest request_range/request, 2 PutRequest request_put/request,"
        " 3 DeleteRangeRequest request_delete_range/request"
    ),
    "ResponseOp": (
        "1 RangeResponse response_range/response, 2 PutResponse response_put/response,"
        " 3 DeleteRangeResponse response_delete_range/response"
    ),
    "Compare": (
        "1 enum result, 2 enum target, 3 bytes key, 4 int64 version/target_union,"
        " 5 int64 create_revision/target_union, 6 int64 mod_revision/target_union"
    ),
    "TxnRequest": "1 *Compare compare, 2 *RequestOp success, 3 *RequestOp failure",
    "TxnResponse": "1 ResponseHeader header, 2 bool succeeded, 3 *ResponseOp responses",
    "CompactionRequest": "1 int64 revision, 2 bool physical",
    "CompactionResponse": "1 ResponseHeader header",
    "WatchCreateRequest": (
        "1 bytes key, 2 bytes range_end, 3 int64 start_revision, 4 bool progress_notify, 7 int64 watch_id,"
        " 8 bool fragment"
    ),
    "WatchRequest": "1 WatchCreateRequest create_request/request_union",
    "WatchResponse": (
        "1 ResponseHeader header, 2 int64 watch_id, 3 bool created, 4 bool canceled, 5 int64 compact_revision,"
        " 6 string cancel_reason, 7 bool fragment, 11 *Event events"
    ),
    "LeaseGrantRequest": "1 int64 TTL, 2 int64 ID",
    "LeaseGrantResponse": "1 ResponseHeader header, 2 int64 ID, 3 int64 TTL, 4 string error",
    "LeaseRevokeRequest": "1 int64 ID",
    "LeaseRevokeResponse": "1 ResponseHeader header",
    "LeaseKeepAliveRequest": "1 int64 ID",
    "LeaseKeepAliveResponse": "1 ResponseHeader header, 2 int64 ID, 3 int64 TTL",
    "LeaseTimeToLiveRequest": "1 int64 ID, 2 bool keys",
    "LeaseTimeToLiveResponse": "1 ResponseHeader header, 2 int64 ID, 3 int64 TTL, 4 int64 grantedTTL",
    "AuthenticateRequest": "1 string name, 2 string password",
    "AuthenticateResponse": "1 ResponseHeader header, 2 string token",
    "StatusRequest": "",
    "StatusResponse": "1 ResponseHeader header, 2 string version, 3 int64 dbSize, 4 uint64 leader",
}


def _build() -> dict[str, Callable[..., Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="calico_etcd.proto", package="calico_etcd", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        oneofs: list[str] = []
        for entry in fields.split(","):
            if not entry.strip():
                continue
            number, kind, field_name = entry.split()
            field_name, _, oneof = field_name.partition("/")
            field = message.field.add(name=field_name, number=int(number), label=_Field.LABEL_OPTIONAL)
            if kind.startswith("*"):
                field.label = _Field.LABEL_REPEATED
                kind = kind[1:]
            if oneof:
                if oneof not in oneofs:
                    oneofs.append(oneof)
                    message.oneof_decl.add(name=oneof)
                field.oneof_index = oneofs.index(oneof)
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type = _Field.TYPE_MESSAGE
                field.type_name = f".calico_etcd.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"calico_etcd.{name}")) for name in _MESSAGES
    }


_CLASSES: dict[str, Any] = _build()


def new(name: str, /, **fields: Any) -> Message:
    """A message by its etcd name: `new("RangeRequest", key=b"/a")`."""
    return _CLASSES[name](**fields)


@dataclass(frozen=True, slots=True)
class Method:
    """One gRPC method; `streaming` ones are spoken with one request and one answer here, except `WATCH`."""

    path: str
    request: str
    response: str
    streaming: bool = False

    @property
    def serialize(self) -> Any:
        return _CLASSES[self.request].SerializeToString

    @property
    def parse(self) -> Any:
        return _CLASSES[self.response].FromString


def _method(service: str, name: str, message: str, streaming: bool = False) -> Method:
    return Method(f"/etcdserverpb.{service}/{name}", f"{message}Request", f"{message}Response", streaming)


RANGE = _method("KV", "Range", "Range")
PUT = _method("KV", "Put", "Put")
DELETE_RANGE = _method("KV", "DeleteRange", "DeleteRange")
TXN = _method("KV", "Txn", "Txn")
COMPACT = _method("KV", "Compact", "Compaction")
LEASE_GRANT = _method("Lease", "LeaseGrant", "LeaseGrant")
LEASE_REVOKE = _method("Lease", "LeaseRevoke", "LeaseRevoke")
LEASE_KEEP_ALIVE = _method("Lease", "LeaseKeepAlive", "LeaseKeepAlive", streaming=True)
LEASE_TIME_TO_LIVE = _method("Lease", "LeaseTimeToLive", "LeaseTimeToLive")
AUTHENTICATE = _method("Auth", "Authenticate", "Authenticate")
STATUS = _method("Maintenance", "Status", "Status")
WATCH = _method("Watch", "Watch", "Watch", streaming=True)
